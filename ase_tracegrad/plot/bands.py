"""Pictures of bands, of what they are made of, and of bands beside their density of states."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from ase.dft.kpoints import BandPath
from ase.spectrum.band_structure import BandStructure
from ase.spectrum.dosdata import GridDOSData
from matplotlib.axes import Axes

from ..electronic.gap import BandGap
from .dos import plot_dos
from .labels import describe_gap, find_zero, gather_ticks, write_greek
from .style import BLUE, GREEN, GREY, ORANGE, RIBBON, STYLE, WINDOW, find_inside, select_groups


def plot_bands(
    bands: BandStructure, *, gap: BandGap | None = None, window: Sequence[float] = WINDOW, ax: Axes | None = None
) -> Axes:
    """Bands along their path.

    Energies count from the valence-band top if ``gap`` says there is a gap, else from bands.reference
    (the Fermi level); the axis says which. window: lowest and highest energy shown, eV.
    """
    zero, name = find_zero(bands, gap)
    find_inside(bands.energies - zero, window)
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(4.2, 4.2), layout="constrained")[1]
        draw_lines(ax, bands, zero, color=BLUE, label=None)
        dress_kpts(ax, bands.path)
        dress_energy(ax, window, name)
        if gap is not None:
            _mark_edges(ax, bands, gap, zero)
            ax.set_title(describe_gap(gap, bands.path), fontsize=9)
    return ax


def plot_fat_bands(
    bands: BandStructure,
    shares: Mapping[str, np.ndarray],
    *,
    gap: BandGap | None = None,
    window: Sequence[float] = WINDOW,
    ax: Axes | None = None,
) -> Axes:
    """Bands as ribbons of one height, each divided in the colours of its groups as their shares are.

    shares: {group: (K, n)}, as calc.fat_bands gives them; what is negative (Mulliken) is drawn as zero.
    The six largest groups in the window have a colour, the others are grey together.
    """
    parts = np.array(list(shares.values()), dtype=float)
    if parts.shape[1:] != bands.energies.shape[1:]:
        raise ValueError(f"expected shares of shape {bands.energies.shape[1:]} for these bands, found {parts.shape[1:]}")
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(5.2, 4.2), layout="constrained")[1]
        zero, name = find_zero(bands, gap)
        energies, height = bands.energies[0] - zero, RIBBON * (window[1] - window[0])
        lower = energies - height / 2
        for label, color, part in select_groups(list(shares), parts.clip(0), find_inside(energies, window)):
            _draw_ribbons(ax, bands, lower, lower + height * part, color=color, label=label)
            lower = lower + height * part
        dress_kpts(ax, bands.path)
        dress_energy(ax, window, name)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)  # beside the bands, which may be anywhere
        if gap is not None:
            ax.set_title(describe_gap(gap, bands.path), fontsize=9)
    return ax


def plot_bands_and_dos(
    bands: BandStructure, dos: GridDOSData, *, gap: BandGap | None = None, window: Sequence[float] = WINDOW
) -> tuple[Axes, Axes]:
    """Bands and density of states on one energy axis."""
    with plt.style.context(STYLE):
        _, (left, right) = plt.subplots(1, 2, figsize=(6.2, 4.2), width_ratios=(3, 1), sharey=True, layout="constrained")
        plot_bands(bands, gap=gap, window=window, ax=left)
        plot_dos(dos, shift=bands.reference - find_zero(bands, gap)[0], window=window, ax=right, upright=True)
    return left, right


def draw_lines(ax: Axes, bands: BandStructure, zero: float, *, label: str | None, **style):
    """Every band as a line, interrupted where the path jumps; label: of all together."""
    x = bands.path.get_linear_kpoint_axis()[0]
    style.setdefault("linewidth", plt.rcParams["lines.linewidth"])
    marker = "_" if len(x) == 1 else None
    for energies in bands.energies:
        for piece in split_path(x):
            lines = ax.plot(x[piece], energies[piece] - zero, marker=marker, markersize=40, **style)
            if label is not None:
                lines[0].set_label(label)
                label = None


def _draw_ribbons(ax: Axes, bands: BandStructure, lower: np.ndarray, upper: np.ndarray, *, color: str, label: str | None):
    """Each band filled between its energies (K, n)."""
    x = bands.path.get_linear_kpoint_axis()[0]
    if len(x) == 1:  # a molecule: levels as wide as the axes
        x, lower, upper = x + np.array([-0.5, 0.5]), np.repeat(lower, 2, axis=0), np.repeat(upper, 2, axis=0)
    for piece in split_path(x):
        for low, high in zip(lower[piece].T, upper[piece].T, strict=True):
            ax.fill_between(x[piece], low, high, color=color, label=label, linewidth=0)
            label = None


def split_path(x: np.ndarray) -> list[np.ndarray]:
    """Numbers of the k-points of each piece: a path 'U,X' jumps at one place of the axis, and no line may join the two."""
    return np.split(np.arange(len(x)), np.nonzero(np.diff(x) < 1e-12)[0] + 1)


def dress_kpts(ax: Axes, path: BandPath):
    """Names of the special points below the axes, and a line at each."""
    x, labels = path.get_linear_kpoint_axis()[0], gather_ticks(path)
    ax.set_xticks(list(labels), ["|".join(dict.fromkeys(write_greek(name) for name in group)) for group in labels.values()])
    for tick in labels:
        ax.axvline(tick, color=GREY, linewidth=0.5, zorder=0)
    if x[-1] > x[0]:
        ax.set_xlim(x[0], max(x[-1], *labels))  # labels are rounded, and the last must not fall off


def dress_energy(ax: Axes, window: Sequence[float], zero: str):
    """The energy axis and a line at its zero, whose name is e.g. 'E_F'."""
    ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    ax.set(ylim=(window[0], window[1]), ylabel=f"E $-$ ${zero}$ (eV)")


def _mark_edges(ax: Axes, bands: BandStructure, gap: BandGap, zero: float):
    """Dots on the band edges, wherever the path meets them."""
    if gap.is_metal or gap.n_filled is None:
        return
    x = bands.path.get_linear_kpoint_axis()[0]
    for band, edge, color in ((gap.n_filled - 1, gap.vbm, GREEN), (gap.n_filled, gap.cbm, ORANGE)):
        energies = bands.energies[0, :, band]
        at = np.nonzero(np.abs(energies - edge) < 1e-3)[0]
        ax.plot(x[at], energies[at] - zero, "o", color=color, markersize=4.5, zorder=3)
