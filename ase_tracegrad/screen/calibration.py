"""What distances in feature space and the spread of models are worth: errors on labelled structures that were not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from ..electronic.kmesh import make_list
from ..electronic_structure import ElectronicStructure
from ..io.sample import Sample
from ..io.store import StoreReader, content_hash
from ..kpoints import special_points
from ..models import find_model
from ..nn.trust import Trust, fit_scalars, hash_model, trust_file
from ..warn import warn_caller
from .analysis import describe_gap
from .shards import ScreenError
from .uncertainty import Uncertainty

if TYPE_CHECKING:
    from ..nn.predictor import Predictor

# Structures of training that mean and covariance are taken from; more change nothing.
LARGEST_SAMPLE = 300
# Fewer structures say nothing about errors.
FEWEST = 5


@dataclass(frozen=True)
class Errors:
    """Of one labelled structure: error of the mean |H| element (meV) and of the gap (eV).

    The gap is that between the special points of the lattice; uncertainty: {'distance' or 'spread': {quantity: value}},
    without factors.
    """

    name: str
    error: dict[str, float]
    uncertainty: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Calibration:
    """The file that was written, and what it says."""

    path: Path
    trust: Trust

    def __str__(self) -> str:
        facts = self.trust.data
        lines = [f"wrote {self.path}: {facts['n_train']} structures of training, {facts['n_validation']} of validation"]
        for kind, factors in self.trust.factors.items():
            for name, factor in factors.items():
                rank = facts["rank_correlation"][kind][name]
                lines.append(f"{kind:>9}: {factor:.3g} per unit is the median error of the {name}; rank correlation {rank:.2f}")
        return "\n".join(lines)


def calibrate(models, data, *, progress: bool = True) -> Calibration:
    """Write the trust of a model (name or file, or a list: the first and the rest of its ensemble) from a packed file of labels.

    The splits 'train' and 'validation' of the file are used. Raises ScreenError, and what models and files raise.
    """
    from ..nn.predictor import load_model

    first, *others = [load_model(m) for m in ([models] if isinstance(models, (str, Path)) else models)]
    if first.path is None:
        raise ScreenError("a model without a file has no place for its trust")
    with StoreReader(data) as store:
        train, validation = ([n for n in store.names if store.split(n) == split] for split in ("train", "validation"))
        if len(validation) < FEWEST or not train:
            raise ScreenError(
                f"{data} holds {len(train)} structures to train and {len(validation)} to validate, expected at least {FEWEST}"
            )
        if first.card.data_sha256 and content_hash(store) != first.card.data_sha256:
            warn_caller(f"{first.card.name} was trained on other data than {data}", UserWarning)
        chosen = [train[n] for n in np.unique(np.linspace(0, len(train) - 1, LARGEST_SAMPLE).astype(int))]
        rows = [_describe(first, store[name]) for name in tqdm(chosen, desc="training", disable=None if progress else True)]
        trust = _start_trust(first, others, rows)
        farthest = max(float(trust.distances(*row).max()) for row in rows)
        judge, bar = Uncertainty(first, others, trust), tqdm(validation, desc="validation", disable=None if progress else True)
        found = [measure_errors(judge, store[name], name) for name in bar]
    farthest = max(farthest, *(errors.uncertainty["distance"]["hamiltonian"] for errors in found))
    kinds = ("distance", "spread") if others else ("distance",)
    trust = replace(trust, farthest=farthest, factors={kind: _fit_factors(found, kind) for kind in kinds})
    trust.data.update(file=Path(data).name, n_train=len(chosen), n_validation=len(found))
    ranks = {kind: {name: rank_correlation(found, kind, name) for name in trust.factors[kind]} for kind in kinds}
    trust.data["rank_correlation"] = ranks
    path = trust_file(find_model(first.path))
    trust.write(path)
    return Calibration(path, trust)


def measure_errors(judge: Uncertainty, label: Sample, name: str) -> Errors:
    """Predict a labelled structure and compare."""
    (hamiltonian,), (scalars,) = judge.predictor.predict_described([label.structure], [label.overlap])
    info = {"scalars": scalars, "n_electrons": ElectronicStructure(label).n_electrons}
    predicted = replace(label, hamiltonian=hamiltonian, info=info)
    structure = label.structure
    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
    points = make_list(special_points(atoms))
    gap, reference = (ElectronicStructure(sample).find_band_gap(points) for sample in (predicted, label))
    error = {
        "hamiltonian": 1000 * float(np.abs((hamiltonian - label.hamiltonian).values).mean()),
        "gap": abs(gap.gap - reference.gap),
    }
    row = describe_gap(gap) | {"n_electrons": info["n_electrons"]}
    return Errors(name, error, judge.explain(structure, predicted, row))


def rank_correlation(found: Sequence[Errors], kind: str, quantity: str) -> float:
    """Spearman's, between uncertainty and error."""
    pairs = [(e.uncertainty[kind][quantity], e.error[quantity]) for e in found]
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def _describe(predictor: "Predictor", sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    _, (scalars,) = predictor.predict_described([sample.structure], [sample.overlap])
    return sample.structure.numbers, scalars


def _start_trust(first: "Predictor", others: "list[Predictor]", rows: list[tuple[np.ndarray, np.ndarray]]) -> Trust:
    numbers, scalars = (np.concatenate(part) for part in zip(*rows, strict=True))
    means, whitening = fit_scalars(numbers, scalars)
    members = tuple(sorted(hash_model(other.path) for other in others))
    data: dict[str, Any] = {}
    return Trust(hash_model(first.path), means, whitening, np.inf, members, {}, data)


def _fit_factors(found: Sequence[Errors], kind: str) -> dict[str, float]:
    """The median of error / uncertainty: half of the errors are larger."""
    factors = {}
    for quantity in found[0].uncertainty[kind]:
        ratios = [e.error[quantity] / max(e.uncertainty[kind][quantity], 1e-12) for e in found]
        factors[quantity] = float(np.median(ratios))
    return factors
