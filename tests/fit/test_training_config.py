from dataclasses import replace
from pathlib import Path

import pytest

from ase_tracegrad.fit.config import TrainingConfig, load_config
from ase_tracegrad.fit.run import split_stages
from ase_tracegrad.nn.config import ConfigError

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = "data: a.h5\nout: run\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults(write):
    assert load_config(write(MINIMAL)) == TrainingConfig("a.h5", "run")


def test_overrides(write):
    config = load_config(
        write(MINIMAL + "schedule: {epochs: 5}\n"),
        ["schedule.epochs=7", "network.tracegrad.full=true", "optimizer.learning_rate=1e-4", "card.name = x", "out=other"],
    )
    assert config.schedule.epochs == 7
    assert config.network.tracegrad.full is True
    assert config.optimizer.learning_rate == 1e-4
    assert (config.card.name, config.out) == ("x", "other")


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_are_valid(path):
    assert load_config(path).card.name != "unnamed"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL + "sheduler: {}", [], "unknown key 'sheduler'; did you mean 'schedule'"),
        (MINIMAL + "loss: {onsite_wieght: 2}", [], "unknown key 'loss.onsite_wieght'; did you mean 'onsite_weight'"),
        (MINIMAL + "network: {tracegrad: {ranc: 2}}", [], "unknown key 'network.tracegrad.ranc'; did you mean 'rank'"),
        (MINIMAL, ["optimizer.lr=1"], "unknown key 'optimizer.lr'"),
        (MINIMAL, ["seed"], "--set expects section.key=value, found 'seed'"),
        (MINIMAL + "seed: 3", ["seed.x=1"], "--set seed.x=1: 'seed' is not a section"),
        (MINIMAL + "loss: {elements: l2}", [], "loss.elements must be 'l1', 'mse' or 'mse.l1', found 'l2'"),
        (MINIMAL + "loss: {trace_label: square}", [], "loss.trace_label must be"),
        (MINIMAL + "schedule: {kind: cosine}", [], "schedule.kind must be 'one-cycle', .*, found 'cosine'"),
        (MINIMAL + "schedule: {power: 0}", [], "schedule.power must be above 0, found 0"),
        (MINIMAL + "optimizer: {clip_norm: -1}", [], "optimizer.clip_norm must be at least 0, found -1"),
        (MINIMAL + "optimizer: {beta1: 1}", [], "optimizer.beta1 must be at least 0 and below 1, found 1"),
        (MINIMAL + "schedule: {step_every: 0}", [], "schedule.step_every must be at least 1, found 0"),
        (MINIMAL + "schedule: {threshold: 1.5}", [], "schedule.threshold must be at least 0 and below 1, found 1.5"),
        (MINIMAL + "standardize: twice", [], "standardize must be true, 'per-channel' or false, found 'twice'"),
        (MINIMAL + "standardize: 2", [], "standardize must be of type bool | str, found 2"),
        (MINIMAL + "memory_gb: -1", [], "memory_gb must be at least 0, found -1"),
        (MINIMAL + "schedule: {epochs: 0}", [], "schedule.epochs must be at least 1"),
        (MINIMAL + "optimizer: {batch_size: 0}", [], "optimizer.batch_size must be at least 1, found 0"),
        (MINIMAL + "optimizer: {learning_rate: -1}", [], "optimizer.learning_rate must be above 0, found -1.0"),
        (MINIMAL + "optimizer: {ema: 1.5}", [], "optimizer.ema must be at least 0 and below 1, found 1.5"),
        (MINIMAL + "optimizer: {clip: 0}", [], "optimizer.clip must be above 0, found 0"),
        (MINIMAL + "loss: {trace_weight: -1}", [], "loss.trace_weight must be at least 0, found -1"),
        (MINIMAL + "loss: {band_kpts: 0}", [], "loss.band_kpts must be at least 1, found 0"),
        (MINIMAL + "schedule: {warmup: 2}", [], "schedule.warmup must be at least 0 and below 1, found 2"),
        (MINIMAL + "validate_bands: -1", [], "validate_bands must be at least 0, found -1"),
        (MINIMAL + "validate_every: 0", [], "validate_every must be at least 1, found 0"),
        (MINIMAL + "loss: ", [], "loss: expected a mapping"),
        ("out: run", [], "missing .*'data'"),
        ("- a\n- b", [], "expected a mapping"),
        ("- a\n- b", ["seed=1"], "expected a mapping"),
        ("a: [", [], "not valid YAML"),
        (MINIMAL, ["seed=["], "not valid YAML"),
    ],
)
def test_errors_name_the_setting(write, text, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(text), overrides)


def test_a_base_gives_what_the_file_does_not_name(write, tmp_path):
    (tmp_path / "base.yaml").write_text(MINIMAL + "schedule: {epochs: 5, kind: step}\nseed: 3\n")
    config = load_config(write("base: base.yaml\nout: other\nschedule: {epochs: 7}\n"), ["seed=4"])
    assert (config.data, config.out, config.seed) == ("a.h5", "other", 4)
    assert (config.schedule.epochs, config.schedule.kind) == (7, "step")


@pytest.mark.parametrize(("text", "message"), [("base: config.yaml\n", "circle"), ("base: no.yaml\n", "no.yaml, the base of")])
def test_a_base_that_cannot_be(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


@pytest.mark.parametrize("name", ["mg", "mm", "bg", "bb", "bt", "bs"])
def test_harmose_is_the_set_s_own_configuration_and_a_second_stage(name):
    """Stage 1 is trained exactly as without a second stage."""
    folder = ROOT / "training" / "configs"
    plain, both = (load_config(folder / f"{file}.yaml") for file in (name, f"{name}_harmose"))
    first, last = split_stages(both)
    assert replace(first, out=plain.out, card=plain.card) == plain
    assert last.network.harmose.n_blocks > 0
    assert (last.schedule.epochs, last.optimizer.learning_rate) == (both.refine.epochs, both.refine.learning_rate)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration file at .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
