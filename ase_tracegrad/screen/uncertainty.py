"""How wrong a row may be: distance from the training in the model's features, and the spread of several models."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..electronic.bloch import BlochSum
from ..electronic.eigen import solve_bloch
from ..io.sample import Sample
from ..models import find_model
from ..nn.trust import FARTHER, Trust, hash_model, mean_spread, read_trust
from ..structure import Structure
from .settings import ScreenSettings
from .shards import ScreenError
from .workers import WORKER

if TYPE_CHECKING:
    from ..nn.predictor import Predictor


class Uncertainty:
    """predictor: the model that answers; others: the rest of the ensemble; trust: what was learned about it, or None."""

    def __init__(self, predictor: "Predictor", others: "list[Predictor]", trust: Trust | None):
        self.predictor, self.others, self.trust = predictor, others, trust
        for other in others:
            if other.basis != predictor.basis:
                raise ScreenError(
                    f"the models {predictor.card.name} and {other.card.name} have different orbitals: an ensemble shares them"
                )
        members = tuple(sorted(hash_model(other.path) for other in others if other.path is not None))
        calibrated = trust is not None and trust.members == members and "spread" in trust.factors
        self._factors = trust.factors["spread"] if calibrated and trust is not None else {"hamiltonian": 1.0, "gap": 1.0}

    def estimate(self, structure: Structure, sample: Sample, row: dict[str, Any]) -> dict[str, Any]:
        """Columns feature_distance, h_uncertainty (meV), gap_uncertainty (eV) and, if the structure is far away, 'reasons'.

        row: with the k-points of the gap, if it was computed.
        """
        found = self._measure_distance(structure, sample.info["scalars"])
        if not self.others:
            return found
        predictions = [other.predict([structure], [sample.overlap])[0] for other in self.others]
        spread = 1000 * mean_spread([sample.hamiltonian.values, *(h.values for h in predictions)])
        found["h_uncertainty"] = self._factors["hamiltonian"] * spread
        if row.get("k_vbm") is not None:
            edges = np.array([row["k_vbm"], row["k_cbm"]])
            n_filled = round(row["n_electrons"] / (2 if sample.hamiltonian.n_spin == 1 else 1))
            gaps = [solve_gap(BlochSum(h, sample.overlap), edges, n_filled) for h in (sample.hamiltonian, *predictions)]
            found["gap_uncertainty"] = self._factors["gap"] * float(np.std(gaps, ddof=1))
        return found

    def _measure_distance(self, structure: Structure, scalars: np.ndarray) -> dict[str, Any]:
        if self.trust is None:
            return {}
        distances = self.trust.distances(structure.numbers, scalars)
        largest = float(distances.max())
        factors = self.trust.factors["distance"]
        found = {"feature_distance": largest}
        found |= {f"{short}_uncertainty": factors[name] * largest for short, name in (("h", "hamiltonian"), ("gap", "gap"))}
        if largest <= FARTHER * self.trust.farthest:
            return found
        atom = int(distances.argmax())
        reason = f"atom {atom} is at a distance of {largest:.1f} in the model's features, at most {self.trust.farthest:.1f} in training"
        return found | {"reasons": [reason]}


def solve_gap(sums: BlochSum, edges: np.ndarray, n_filled: int) -> float:
    """Conduction band at the second k-point of ``edges`` (2, 3) minus valence band at the first, eV."""
    energies = solve_bloch(sums, edges).energies
    return float(energies[1, n_filled] - energies[0, n_filled - 1])


def load_uncertainty(settings: ScreenSettings) -> Uncertainty:
    """The models of a screening, loaded once in each worker process. Raises what loading raises, ScreenError."""
    return _load(settings.models, settings.device or WORKER.get("device"), settings.dtype)


@lru_cache(maxsize=2)
def _load(models: tuple[str, ...], device: str | None, dtype: str) -> Uncertainty:
    from ..nn.predictor import load_model

    first, *others = (load_model(model, device=device, dtype=dtype) for model in models)
    return Uncertainty(first, others, read_trust(find_model(models[0])))
