"""Picture of H(R) by distance: how strongly which shells couple, and how far; or where a prediction is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ..blocks import BlockMatrix
from ..electronic.projections import group_orbitals, name_group
from ..structure import Structure
from ..symbols import symbol_of
from .style import STYLE

DECADES = 5  # of the colours, below the largest coupling


@dataclass(frozen=True, eq=False)
class Couplings:
    """Root mean square of matrix elements by pair of shells and distance.

    edges (D+1,) Angstrom; names (P,): 'C s - C p'; rms (P, D) eV, nan where there is no pair of atoms; onsite (P,) eV, nan
    for pairs of different elements.
    """

    edges: np.ndarray
    names: tuple[str, ...]
    rms: np.ndarray
    onsite: np.ndarray

    def tabulate(self) -> dict[str, np.ndarray]:
        """Columns for write_numbers: distance (the middle of each bin, 0 for on-site) and one column per pair of shells, eV."""
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        rows = np.column_stack([self.onsite, self.rms])
        columns = {f"{name} (eV)": row for name, row in zip(self.names, rows, strict=True)}
        return {"distance (Angstrom)": np.concatenate([[0.0], middle]), **columns}


def measure_couplings(
    matrix: BlockMatrix, structure: Structure, *, reference: BlockMatrix | None = None, step: float = 0.25
) -> Couplings:
    """The root mean square element of ``matrix`` (eV), or of its difference from ``reference``, in bins of ``step`` Angstrom."""
    if reference is not None:
        matrix = matrix - reference
    symbols = [symbol_of(z) for z in structure.numbers.tolist()]
    groups = group_orbitals(matrix.layout, symbols, "shell")
    members, names = groups.members.astype(bool), [name_group(label) for label in groups.labels]
    n = len(names)
    distances = matrix.distances(structure.positions, structure.cell)
    edges = np.arange(0.0, distances.max() + step, step)
    if len(edges) < 2:  # an atom alone
        edges = np.array([0.0, step])
    bins = np.minimum((distances / step).astype(int), len(edges) - 2) + 1
    onsite = (matrix.pairs[:, 0] == matrix.pairs[:, 1]) & ~matrix.shifts.any(axis=1)
    bins[onsite] = 0
    squares, counts = np.zeros((2, n, n, len(edges)))
    for (i, j), b, (_, block) in zip(matrix.pairs.tolist(), bins.tolist(), matrix.items(), strict=True):
        rows, columns = (members[:, o : o + size].astype(float) for o, size in _orbitals(matrix, i, j))
        element_squares = np.abs(block.reshape(matrix.n_spin, len(rows[0]), matrix.n_spin, len(columns[0]))) ** 2
        squares[:, :, b] += rows @ element_squares.sum(axis=(0, 2)) @ columns.T
        counts[:, :, b] += np.outer(rows.sum(axis=1), columns.sum(axis=1)) * matrix.n_spin**2
    squares, counts = (0.5 * (x + x.swapaxes(0, 1)) for x in (squares, counts))
    first, second = np.triu_indices(n)
    with np.errstate(invalid="ignore"):
        rms = np.sqrt(squares / counts)[first, second]
    pairs = tuple(f"{names[a]} - {names[b]}" for a, b in zip(first.tolist(), second.tolist(), strict=True))
    return Couplings(edges, pairs, rms[:, 1:], rms[:, 0])


def plot_couplings(couplings: Couplings, *, limits: Sequence[float] | None = None, ax: Axes | None = None) -> Axes:
    """Pairs of shells over distance, on-site left of the line; colour: root mean square element in eV, logarithmic.

    limits: lowest and highest energy of the colours, eV; what is below has the lowest colour. White: no such pair of atoms.
    """
    table = np.column_stack([couplings.onsite, couplings.rms])
    largest = np.nanmax(table)
    if not largest > 0:
        raise ValueError("all matrix elements are zero: there is nothing to draw")
    low, high = limits if limits is not None else (largest * 10.0**-DECADES, largest)
    with plt.style.context(STYLE):
        if ax is None:
            height = 1.2 + 0.19 * len(couplings.names)
            ax = plt.subplots(figsize=(5.6, max(2.4, height)), layout="constrained")[1]
        step = couplings.edges[1] - couplings.edges[0]
        width = max(2 * step, 0.06 * couplings.edges[-1])  # of the on-site column
        x = np.concatenate([[-width], couplings.edges])
        y = np.arange(len(couplings.names) + 1)
        colors = ax.pcolormesh(x, y, np.clip(table, low, None), norm=LogNorm(low, high), cmap="viridis", rasterized=True)
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.set(xlabel="distance (Å)", ylim=(len(couplings.names), 0))
        ticks = [tick for tick in ax.get_xticks() if 0 < tick <= couplings.edges[-1]]
        ax.set_xticks([-width / 2, *ticks], ["on-\nsite", *(f"{tick:g}" for tick in ticks)])
        ax.set_yticks(y[:-1] + 0.5, couplings.names, fontsize=8)
        ax.tick_params(axis="y", length=0)
        ax.figure.colorbar(colors, ax=ax, label="RMS element (eV)", extend="min" if np.nanmin(table) < low else "neither")
    return ax


def _orbitals(matrix: BlockMatrix, i: int, j: int) -> list[tuple[int, int]]:
    """First orbital and number of orbitals of the two atoms of a block."""
    return [(int(matrix.layout.offsets[atom]), int(matrix.layout.sizes[atom])) for atom in (i, j)]
