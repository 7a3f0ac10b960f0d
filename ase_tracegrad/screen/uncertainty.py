"""How wrong a row may be: distance from the training in the model's features, and the spread of several models."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..basis_json import basis_to_json
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
            if basis_to_json(other.basis) != basis_to_json(predictor.basis):
                raise ScreenError(
                    f"the models {predictor.card.name} and {other.card.name} have different orbitals: an ensemble shares them"
                )
        self.members = tuple(sorted(hash_model(other.path) for other in others if other.path is not None))

    def estimate(self, structure: Structure, sample: Sample, row: dict[str, Any]) -> dict[str, Any]:
        """Columns feature_distance, h_uncertainty (meV), gap_uncertainty (eV, of an ensemble) and, if it is far away, 'reasons'.

        row: n_electrons, and where the gap is if it was computed. The spread of an ensemble goes before the distance.
        """
        known = self.explain(structure, sample, row)
        found: dict[str, Any] = {}
        for kind in ("distance", "spread"):
            factors = self._factors(kind)
            for name, value in known.get(kind, {}).items():
                column = {"hamiltonian": "h_uncertainty", "gap": "gap_uncertainty"}[name]
                found[column] = factors[name] * value
        if self.trust is None:
            return found
        distances = self.trust.distances(structure.numbers, sample.info["scalars"])
        found["feature_distance"] = float(distances.max())
        if found["feature_distance"] > FARTHER * self.trust.farthest:
            found["reasons"] = [
                f"atom {distances.argmax()} is at a distance of {distances.max():.1f} in the model's features, "
                f"at most {self.trust.farthest:.1f} in training"
            ]
        return found

    def explain(self, structure: Structure, sample: Sample, row: dict[str, Any]) -> dict[str, dict[str, float]]:
        """{'distance' (of the farthest atom) or 'spread' (meV, eV): {'hamiltonian', 'gap'}}, as they are, without factors."""
        found: dict[str, dict[str, float]] = {}
        if self.trust is not None:
            largest = float(self.trust.distances(structure.numbers, sample.info["scalars"]).max())
            # Not the gap: its errors do not grow with the distance (benchmarks/results/uncertainty_*.json).
            found["distance"] = {"hamiltonian": largest}
        if not self.others:
            return found
        predictions = [other.predict([structure], [sample.overlap])[0] for other in self.others]
        found["spread"] = {"hamiltonian": 1000 * mean_spread([sample.hamiltonian.values, *(h.values for h in predictions)])}
        filled = row["n_electrons"] / (2 if sample.hamiltonian.n_spin == 1 else 1)
        n_filled = round(filled)
        if row.get("k_vbm") is not None and abs(filled - n_filled) < 1e-6:
            edges = np.array([row["k_vbm"], row["k_cbm"]])
            gaps = [solve_gap(BlochSum(h, sample.overlap), edges, n_filled) for h in (sample.hamiltonian, *predictions)]
            found["spread"]["gap"] = float(np.std(gaps, ddof=1))
        return found

    def _factors(self, kind: str) -> dict[str, float]:
        """What a unit is worth; a spread that nobody has compared with errors counts as it is."""
        known = self.trust is not None and kind in self.trust.factors and (kind == "distance" or self.trust.members == self.members)
        return self.trust.factors[kind] if known and self.trust is not None else {"hamiltonian": 1.0, "gap": 1.0}


def solve_gap(sums: BlochSum, edges: np.ndarray, n_filled: int) -> float:
    """Conduction band at the second k-point of ``edges`` (2, 3) minus valence band at the first, eV."""
    energies = solve_bloch(sums, edges).energies
    return float(energies[1, n_filled] - energies[0, n_filled - 1])


def load_uncertainty(settings: ScreenSettings) -> Uncertainty:
    """The models of a screening. Raises what loading raises, ScreenError.

    load_model keeps them until their files change, as they may between two screenings of one worker (Dask, Parsl, threads).
    """
    from ..nn.predictor import load_model

    device = WORKER.get("device") or settings.device
    first, *others = (load_model(model, device=device, dtype=settings.dtype) for model in settings.models)
    return Uncertainty(first, others, read_trust(find_model(settings.models[0])))
