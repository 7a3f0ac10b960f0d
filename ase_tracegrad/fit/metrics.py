"""Errors of a predicted H: elements (raw and gauge-aligned) and bands. All in meV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..blocks import BlockMatrix
from ..electronic.bands import compute_bands
from ..electronic.eigen import solve_bands
from ..electronic.kmesh import make_mesh
from ..io.sample import Sample


@dataclass(frozen=True)
class HamiltonianError:
    """Mean absolute errors of one structure in meV over the predicted pairs.

    Of complex elements the modulus counts, over all four spin parts, as in the literature (DeepH-E3's analyzer.py: maskmae).
    gauge: after removing mu S with mu = <dH, S> / <S, S>; mu in meV; largest_block: the worst shell pair (cha_b).
    """

    all: float
    onsite: float
    offsite: float
    gauge: float
    mu: float
    largest_block: float


def hamiltonian_error(predicted: BlockMatrix, sample: Sample) -> HamiltonianError:
    """Compare a prediction with the label on the predicted pairs."""
    label = sample.hamiltonian.restricted_to(predicted)
    overlap = sample.overlap.with_spin(predicted.spin).restricted_to(predicted)
    error = 1000 * (predicted.values - label.values)
    mu = float(np.vdot(overlap.values, error).real / np.vdot(overlap.values, overlap.values).real)
    onsite = (predicted.pairs[:, 0] == predicted.pairs[:, 1]) & (predicted.shifts == 0).all(axis=1)
    on_element = np.repeat(onsite, np.diff(predicted.offsets))
    magnitude = np.abs(error)
    return HamiltonianError(
        all=float(magnitude.mean()),
        onsite=float(magnitude[on_element].mean()),
        offsite=float(magnitude[~on_element].mean()) if (~on_element).any() else 0.0,
        gauge=float(np.abs(error - mu * overlap.values).mean()),
        mu=mu,
        largest_block=_largest_shell_pair(predicted, magnitude),
    )


def _largest_shell_pair(predicted: BlockMatrix, magnitude: np.ndarray) -> float:
    """Largest mean error over (shells of i, shells of j), averaged over all pairs of equal shell lists and over the spin parts."""
    total: dict[tuple, list] = {}
    for b, (i, j) in enumerate(predicted.pairs):
        rows, columns = predicted.layout.sizes[[i, j]]
        block = magnitude[predicted.offsets[b] : predicted.offsets[b + 1]]
        block = block.reshape(predicted.n_spin, rows, predicted.n_spin, columns).mean(axis=(0, 2))
        key = (predicted.layout.shells[i], predicted.layout.shells[j])
        total.setdefault(key, [0, 0])
        total[key][0] = total[key][0] + block
        total[key][1] += 1
    largest = 0.0
    for (rows, columns), (summed, count) in total.items():
        row_edges = np.concatenate([[0], np.cumsum([2 * l + 1 for l in rows])])
        column_edges = np.concatenate([[0], np.cumsum([2 * l + 1 for l in columns])])
        for a in range(len(rows)):
            for b in range(len(columns)):
                part = summed[row_edges[a] : row_edges[a + 1], column_edges[b] : column_edges[b + 1]]
                largest = max(largest, float(part.mean() / count))
    return largest


@dataclass(frozen=True)
class BandError:
    """Errors of the bands in meV below a limit: sums, so that structures can be pooled with equal weight per state.

    gap: |error| of the lowest empty minus the highest filled energy on the mesh.
    """

    sum_of_squares: float
    sum_of_squares_aligned: float
    weight: float
    largest: float
    gap: float


class BandReference:
    """Bands of the label on a 6 x 6 mesh, computed once and compared with many predictions.

    above_fermi: states below fermi_level + this (eV) count.
    """

    def __init__(self, sample: Sample, *, points: int = 6, above_fermi: float = 3.0):
        self.sample = sample
        coupled = np.atleast_1d(sample.hamiltonian.shifts.any(axis=0))  # a slab's blocks never couple cells along its normal
        self.mesh = make_mesh([points if along else 1 for along in coupled], gamma=True)
        self.energies = compute_bands(sample.hamiltonian, sample.overlap, self.mesh.kpts)
        fermi_level = self._fermi_level()
        self.counted = self.energies < fermi_level + above_fermi
        # As many as lie below E_F in the mean over the mesh: the number of pairs of electrons, or of electrons of a spinor.
        self.n_filled = round(float(self.mesh.weights @ (self.energies < fermi_level).sum(axis=1)))

    def _fermi_level(self) -> float:
        """eV, of the label; of a molecule whose label has none, as in QH9, the middle of its gap."""
        info = self.sample.info
        if "fermi_level" in info:
            return info["fermi_level"]
        if self.sample.structure.pbc.any() or "n_electrons" not in info:
            raise ValueError(
                "a label without a Fermi level: errors of bands count states below E_F + 3 eV, so it must be in the data"
            )
        occupied = round(info["n_electrons"] / 2)
        return float(self.energies[0, occupied - 1 : occupied + 1].mean())

    def error(self, predicted: BlockMatrix, elements: HamiltonianError | None = None) -> BandError:
        """Bands of the prediction with the exact overlap; the aligned figure is without the shift elements.mu.

        The solver is told the mean error of H, as the calculator tells it the one in the model's card: where S is
        nearly singular it drops the modes that this error would turn into ghost states.
        """
        elements = elements or hamiltonian_error(predicted, self.sample)
        energies = solve_bands(predicted, self.sample.overlap, self.mesh.kpts, hamiltonian_error=elements.all / 1000).energies
        n = min(energies.shape[1], self.energies.shape[1])  # fewer for a hopeless model: most modes of S were dropped
        error, inside = 1000 * (energies[:, :n] - self.energies[:, :n]), self.counted[:, :n]
        weights = np.broadcast_to(self.mesh.weights[:, None], error.shape)[inside]
        counted = error[inside]
        return BandError(
            sum_of_squares=float(weights @ counted**2),
            sum_of_squares_aligned=float(weights @ (counted - elements.mu) ** 2),
            weight=float(weights.sum()),
            largest=float(np.abs(counted).max()),
            gap=1000 * abs(self._gap(energies) - self._gap(self.energies)),
        )

    def _gap(self, energies: np.ndarray) -> float:
        """eV; negative where bands overlap; infinite where all bands are filled or empty."""
        if not 0 < self.n_filled < energies.shape[1]:
            return math.inf
        return float(energies[:, self.n_filled].min() - energies[:, self.n_filled - 1].max())


def pool_errors(elements: Sequence[HamiltonianError], bands: Sequence[BandError]) -> dict[str, float]:
    """The figures of a set of structures, meV: means of the element errors, cha_s, cha_b, band RMSE and maximum, mean gap error."""
    figures = {
        f"mae_{name}": float(np.mean([getattr(e, name) for e in elements])) for name in ("all", "onsite", "offsite", "gauge")
    }
    figures["cha_s"] = max(e.all for e in elements)
    figures["cha_b"] = max(e.largest_block for e in elements)
    figures["structures"] = len(elements)
    if bands:
        weight = sum(b.weight for b in bands)
        figures["band_rmse"] = float(np.sqrt(sum(b.sum_of_squares for b in bands) / weight))
        figures["band_rmse_gauge"] = float(np.sqrt(sum(b.sum_of_squares_aligned for b in bands) / weight))
        figures["band_max"] = max(b.largest for b in bands)
        figures["gap_error"] = float(np.mean([b.gap for b in bands]))
    return figures
