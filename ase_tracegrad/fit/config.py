"""TrainingConfig: one YAML file, one frozen dataclass; an unknown key is an error that names it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..damage import DAMAGE
from ..nn.config import ConfigError, NetworkConfig, config_from_dict


@dataclass(frozen=True)
class LossConfig:
    """elements: 'l1', 'mse' or 'mse+l1' (their sum in Hartree, as published for QH9); onsite_weight: weight of on-site elements;
    trace_weight: lambda of TraceGrad's joint loss (loss_H + lambda * stopgrad(loss_H / loss_T) * loss_T), lowered to zero over
    the run if trace_decay; trace_label: 'layer-norm', 'log' or 'raw'; band_weight: the same kind of relative weight for
    first-order band errors, from the fraction band_start of the run on, at band_kpts random k up to band_above_fermi eV over
    the Fermi level."""

    elements: str = "l1"
    onsite_weight: float = 1.0
    trace_weight: float = 0.3
    trace_decay: bool = False
    trace_label: str = "layer-norm"
    band_weight: float = 0.0
    band_start: float = 0.4
    band_kpts: int = 8
    band_above_fermi: float = 4.0

    def __post_init__(self):
        if self.elements not in ("l1", "mse", "mse+l1"):
            raise ConfigError(f"loss.elements must be 'l1', 'mse' or 'mse+l1', found {self.elements!r}")
        if self.trace_label not in ("layer-norm", "log", "raw"):
            raise ConfigError(f"loss.trace_label must be 'layer-norm', 'log' or 'raw', found {self.trace_label!r}")
        for name in ("onsite_weight", "trace_weight", "band_weight"):
            _require("loss", self, name, at_least=0)
        _require("loss", self, "band_kpts", at_least=1)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, which is Adam with a weight_decay of 0; beta1, beta2: decay of its means and mean squares; batch_size: structures
    per step, whose gradients are accumulated, so that memory does not grow with it; together: structures in one pass, as one
    (faster for small molecules; their loss is the mean over all their elements); clip: gradients are cut at this multiple of
    their running norm, and at the norm clip_norm (0: no such limit); ema: decay of the averaged weights."""

    learning_rate: float = 6e-3
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    batch_size: int = 1
    together: int = 1
    clip: float = 1.5
    clip_norm: float = 0.0
    ema: float = 0.995

    def __post_init__(self):
        _require("optimizer", self, "batch_size", at_least=1)
        _require("optimizer", self, "together", at_least=1)
        for name in ("weight_decay", "clip_norm"):
            _require("optimizer", self, name, at_least=0)
        for name in ("learning_rate", "clip"):
            _require("optimizer", self, name, above=0)
        for name in ("beta1", "beta2", "ema"):
            _require("optimizer", self, name, at_least=0, below=1)


@dataclass(frozen=True)
class ScheduleConfig:
    """kind: 'one-cycle' (warm-up over the fraction warmup, then cosine to learning_rate * final), 'polynomial' (linear warm-up
    from 0 over the fraction warmup, then (1 - share of what follows) ** power to learning_rate * final), 'plateau' (times factor
    when the validation error has not improved by the fraction threshold for patience validations, then cooldown validations
    of grace) or 'step' (times factor at epoch step_start and every step_every epochs after it).

    stop_below: end when plateau or step have lowered the learning rate below this; early_stop: end after this many
    validations without a lowest error, with the weights of the best one (0: never).
    """

    epochs: int = 300
    kind: str = "one-cycle"
    warmup: float = 0.1
    final: float = 1e-3
    power: float = 1.0
    factor: float = 0.5
    patience: int = 10
    cooldown: int = 0
    threshold: float = 0.0
    step_start: int = 200
    step_every: int = 200
    stop_below: float = 0.0
    early_stop: int = 0

    def __post_init__(self):
        if self.kind not in ("one-cycle", "polynomial", "plateau", "step"):
            raise ConfigError(f"schedule.kind must be 'one-cycle', 'polynomial', 'plateau' or 'step', found {self.kind!r}")
        for name in ("epochs", "step_every"):
            _require("schedule", self, name, at_least=1)
        for name in ("warmup", "final", "threshold"):
            _require("schedule", self, name, at_least=0, below=1)
        _require("schedule", self, "factor", above=0, below=1)
        _require("schedule", self, "power", above=0)
        for name in ("patience", "cooldown", "step_start", "stop_below", "early_stop"):
            _require("schedule", self, name, at_least=0)


@dataclass(frozen=True)
class RefineConfig:
    """Training of the second stage of HarmoSE, which network.harmose.n_blocks > 0 asks for, once stage 1 has been trained.

    epochs: of the second stage, one-cycle to learning_rate; joint: stage 1 goes on learning as well (false: it is frozen).
    Examples are turned about random axes by up to weak (in units of pi) from the fraction weak_from of these epochs on, and by
    up to strong from strong_from on; 0 is no turning. The fractions and angles are those of the authors' later code.
    """

    epochs: int = 100
    learning_rate: float = 1e-3
    joint: bool = False
    weak_from: float = 0.6
    weak: float = 0.2
    strong_from: float = 0.7
    strong: float = 0.5

    def __post_init__(self):
        _require("refine", self, "epochs", at_least=1)
        _require("refine", self, "learning_rate", above=0)
        for name in ("weak_from", "weak", "strong_from", "strong"):
            _require("refine", self, name, at_least=0)
            if getattr(self, name) > 1:
                raise ConfigError(f"refine.{name} must be at most 1, found {getattr(self, name)}")

    def largest_angle(self, done: float) -> float:
        """Radians by which examples are turned at most when the fraction ``done`` of the epochs has passed."""
        turn = self.strong if done >= self.strong_from else self.weak if done >= self.weak_from else 0.0
        return math.pi * turn


@dataclass(frozen=True)
class CardConfig:
    """What the model card says that cannot be measured: name, one-sentence description, label noise of bands in meV."""

    name: str = "unnamed"
    description: str = ""
    label_noise_mev: float = 0.0


@dataclass(frozen=True)
class TrainingConfig:
    """data: packed file; limit: samples per split (0: all); start: model (name or file) whose weights to begin with, '' for
    random ones; validate_every: epochs; validate_bands: structures whose bands are compared at each validation; everything
    random follows from seed. standardize: true (deviations from a two-centre baseline, in units of their spread at each
    distance), 'per-channel' (no baseline, one spread of each irrep) or false (raw H). device: 'cpu', 'cuda', 'cuda:1';
    memory_gb: labels that may stay in the memory of each process, the others are read again whenever their turn comes (0: all
    stay); tensorboard: also log there."""

    data: str
    out: str
    start: str = ""
    seed: int = 0
    limit: int = 0
    standardize: bool | str = True
    validate_every: int = 10
    validate_bands: int = 4
    device: str = "cpu"
    memory_gb: float = 0.0
    tensorboard: bool = False
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    card: CardConfig = field(default_factory=CardConfig)

    def __post_init__(self):
        if self.standardize not in (True, False, "per-channel"):
            raise ConfigError(f"standardize must be true, 'per-channel' or false, found {self.standardize!r}")
        _require("", self, "validate_every", at_least=1)
        for name in ("limit", "validate_bands", "memory_gb"):
            _require("", self, name, at_least=0)
        if self.optimizer.together > 1 and (self.loss.band_weight > 0 or self.network.energy_zero != "vacuum"):
            raise ConfigError(
                "optimizer.together > 1 joins molecules: set loss.band_weight to 0 and network.energy_zero to 'vacuum'"
            )

    @property
    def uses_bands(self) -> bool:
        """Whether bands are compared or learned, for which the labels need their Fermi level."""
        return self.validate_bands > 0 or self.loss.band_weight > 0


def _require(section: str, config, name: str, *, at_least: float = -math.inf, above: float = -math.inf, below: float = math.inf):
    value = getattr(config, name)
    if value >= at_least and above < value < below:
        return
    bounds = [
        f"{text} {bound}" for text, bound in (("at least", at_least), ("above", above), ("below", below)) if math.isfinite(bound)
    ]
    raise ConfigError(f"{section}{'.' if section else ''}{name} must be {' and '.join(bounds)}, found {value}")


def load_config(path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read YAML and apply 'section.key=value' overrides (values are YAML).

    A file may begin from another: ``base: other.yaml`` (beside it) gives all settings that it does not name itself.
    """
    data = _read_yaml(Path(path))
    try:
        for override in overrides:
            key, separator, value = override.partition("=")
            if not separator:
                raise ConfigError(f"--set expects section.key=value, found {override!r}")
            _assign(data, key.strip().split("."), yaml.safe_load(value), override)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set: not valid YAML: {error}") from error
    return config_from_dict(TrainingConfig, data)


def _read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a file, those of its base included; above: the files that name this one as their base."""
    if path.resolve() in above:
        raise ConfigError(f"{above[0]}: the bases name each other in a circle")
    if not path.is_file():
        named = f", the base of {above[-1]}" if above else ""
        raise ConfigError(f"no configuration file at {path}{named}")
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, *DAMAGE) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(data).__name__}")
    base = data.pop("base", None)
    return data if base is None else _merge(_read_yaml(path.parent / str(base), (*above, path.resolve())), data)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested settings; those of ``above`` count."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _assign(data: dict[str, Any], keys: list[str], value, override: str):
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set {override}: {key!r} is not a section")
    data[keys[-1]] = value
