"""Pictures of bands and density of states. Every function returns matplotlib Axes and changes no global style."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from ase.spectrum.band_structure import BandStructure
from ase.spectrum.doscollection import GridDOSCollection
from ase.spectrum.dosdata import GridDOSData
from matplotlib.axes import Axes

from .electronic import kmesh
from .electronic.gap import BandGap

# Okabe and Ito's colours, told apart by colour-blind eyes and in grey.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
GROUP_COLORS = (BLUE, ORANGE, GREEN, "#E69F00", "#CC79A7", "#56B4E9")  # further groups are grey, together
STYLE = {
    "font.size": 10.0,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "xtick.major.size": 0,
    "ytick.direction": "in",
    "ytick.right": True,
    "mathtext.default": "regular",
}
WINDOW = (-10.0, 6.0)
RIBBON = 0.022  # height of a fat band, as a share of the window
LEGEND_ROOM = 1.2  # above the highest peak, so that no peak runs into the legend


def plot_bands(
    bands: BandStructure, *, gap: BandGap | None = None, window: Sequence[float] = WINDOW, ax: Axes | None = None
) -> Axes:
    """Bands along their path.

    Energies count from the valence-band top if ``gap`` says there is a gap, else from bands.reference
    (the Fermi level); the axis says which. window: lowest and highest energy shown, eV.
    """
    zero, name = find_zero(bands, gap)
    _inside(bands.energies - zero, window)
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(4.2, 4.2), layout="constrained")[1]
        _draw_lines(ax, bands, zero, color=BLUE, label=None)
        _dress_path(ax, bands)
        _dress_energy(ax, window, name)
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
        ax = ax if ax is not None else plt.subplots(figsize=(4.2, 4.2), layout="constrained")[1]
        zero, name = find_zero(bands, gap)
        energies, height = bands.energies[0] - zero, RIBBON * (window[1] - window[0])
        lower = energies - height / 2
        for label, color, part in _select_groups(list(shares), parts.clip(0), _inside(energies, window)):
            _draw_ribbons(ax, bands, lower, lower + height * part, color=color, label=label)
            lower = lower + height * part
        _dress_path(ax, bands)
        _dress_energy(ax, window, name)
        ax.legend(loc="upper right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
        if gap is not None:
            ax.set_title(describe_gap(gap, bands.path), fontsize=9)
    return ax


def plot_projected_dos(parts: GridDOSCollection, *, window: Sequence[float] = WINDOW, ax: Axes | None = None) -> Axes:
    """The density of states and, as coloured lines, those of groups of orbitals, as calc.projected_dos gives them."""
    energies, weights = np.asarray(parts[0].get_energies()), np.array([part.get_weights() for part in parts])
    ax = plot_dos(GridDOSData(energies, weights.sum(axis=0)), window=window, ax=ax)
    with plt.style.context(STYLE):
        ax.lines[0].set(color="black", label="total")
        labels = [part.info["label"] for part in parts]
        for label, color, weight in _select_groups(labels, weights, _inside(energies, window)):
            ax.plot(energies, weight, color=color, label=label)
        ax.legend(loc="best", fontsize=8)
    return ax


def plot_dos(
    dos: GridDOSData, *, shift: float = 0.0, window: Sequence[float] = WINDOW, ax: Axes | None = None, upright: bool = False
) -> Axes:
    """Density of states; its energies count from the Fermi level, ``shift`` eV is added to them.

    upright: energy on the vertical axis, to stand beside bands.
    """
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(4.6, 3.0), layout="constrained")[1]
        energies, weights = np.asarray(dos.get_energies()) + shift, np.asarray(dos.get_weights())
        top = (1.08 if upright else LEGEND_ROOM) * weights[_inside(energies, window)].max(initial=0.0) or 1.0
        filled = energies <= shift
        units = "states / (eV cell)"
        if upright:
            ax.fill_betweenx(energies, weights, where=filled, color=BLUE, alpha=0.25, linewidth=0)
            ax.plot(weights, energies, color=BLUE)
            ax.set(xlim=(0, top), ylim=window, xlabel=f"DOS\n({units})")
            ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        else:
            ax.fill_between(energies, weights, where=filled, color=BLUE, alpha=0.25, linewidth=0, label="occupied")
            ax.plot(energies, weights, color=BLUE)
            zero = "E_F" if shift == 0.0 else "E_{VBM}"
            ax.set(xlim=window, ylim=(0, top), xlabel=f"E $-$ ${zero}$ (eV)", ylabel=f"DOS ({units})")
            ax.axvline(0.0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            ax.legend(loc="upper left", fontsize=8)
        ax.tick_params(axis="x", length=3)
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


def find_zero(bands: BandStructure, gap: BandGap | None) -> tuple[float, str]:
    """Energy zero in eV and its name: the valence-band top of an insulator, else the Fermi level."""
    if gap is not None and not gap.is_metal:
        return gap.vbm, "E_{VBM}"
    return float(bands.reference), "E_F"


def describe_gap(gap: BandGap, path) -> str:
    """One line: size, kind and place of the gap, k-points by their names where they have one."""
    at = [name_kpt(k, path) for k in (gap.k_vbm, gap.k_cbm, gap.k_direct)]
    if not gap.periodic:
        return gap.kind if gap.is_metal else f"gap {gap.gap:.3f} eV"
    if gap.n_filled is None:
        return "metal (a band is partly filled)"
    if not gap.is_metal:
        kind = f"direct at {at[2]}" if gap.is_direct else f"indirect, {at[0]} $\\rightarrow$ {at[1]}"
        return f"gap {gap.gap:.3f} eV, {kind}"
    if gap.is_direct:
        return f"semimetal, bands touch at {at[2]} ({_milli(gap.direct_gap)})"
    return f"semimetal, bands overlap by {-gap.gap:.3f} eV ({at[0]}, {at[1]})"


def name_kpt(kpt, path) -> str:
    """Name of a special point equal to +-k up to a reciprocal vector, else its coordinates."""
    name = kmesh.name_kpt(np.asarray(kpt), {n: np.array([point, -point]) for n, point in path.special_points.items()})
    if name is not None:
        return _greek(name)
    return "(" + ", ".join(f"{x:.3g}" for x in kpt) + ")"


def _draw_lines(ax: Axes, bands: BandStructure, zero: float, *, label: str | None, **style):
    x = bands.path.get_linear_kpoint_axis()[0]
    style.setdefault("linewidth", plt.rcParams["lines.linewidth"])
    marker = "_" if len(x) == 1 else None
    for energies in bands.energies:
        for piece in _split_path(x):
            lines = ax.plot(x[piece], energies[piece] - zero, marker=marker, markersize=40, **style)
            if label is not None:
                lines[0].set_label(label)
                label = None


def _draw_ribbons(ax: Axes, bands: BandStructure, lower: np.ndarray, upper: np.ndarray, *, color: str, label: str | None):
    """Each band filled between its energies (K, n)."""
    x = bands.path.get_linear_kpoint_axis()[0]
    if len(x) == 1:  # a molecule: levels as wide as the axes
        x, lower, upper = x + np.array([-0.5, 0.5]), np.repeat(lower, 2, axis=0), np.repeat(upper, 2, axis=0)
    for piece in _split_path(x):
        for low, high in zip(lower[piece].T, upper[piece].T, strict=True):
            ax.fill_between(x[piece], low, high, color=color, label=label, linewidth=0)
            label = None


def _split_path(x: np.ndarray) -> list[np.ndarray]:
    """Numbers of the k-points of each piece: a path 'U,X' jumps at one place of the axis, and no line may join the two."""
    return np.split(np.arange(len(x)), np.nonzero(np.diff(x) < 1e-12)[0] + 1)


def _select_groups(labels: list[str], values: np.ndarray, inside: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """Label, colour and values of the largest groups where ``inside``, in their own order, and of the rest together."""
    largest = np.argsort(-values[:, inside].sum(axis=1), kind="stable")[: len(GROUP_COLORS)]
    chosen = [(labels[g], color, values[g]) for g, color in zip(sorted(largest.tolist()), GROUP_COLORS, strict=False)]
    rest = np.setdiff1d(np.arange(len(labels)), largest)
    return [*chosen, ("other", GREY, values[rest].sum(axis=0))] if len(rest) else chosen


def _dress_path(ax: Axes, bands: BandStructure):
    x, ticks, names = bands.path.get_linear_kpoint_axis()
    labels: dict[float, list[str]] = {}
    for tick, name in zip(ticks, names, strict=True):
        labels.setdefault(round(float(tick), 9), []).append(_greek(name))
    ax.set_xticks(list(labels), ["|".join(dict.fromkeys(group)) for group in labels.values()])
    for tick in labels:
        ax.axvline(tick, color=GREY, linewidth=0.5, zorder=0)
    if x[-1] > x[0]:
        ax.set_xlim(x[0], max(x[-1], *labels))  # labels are rounded, and the last must not fall off


def _dress_energy(ax: Axes, window: Sequence[float], zero: str):
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


def _inside(energies: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Which energies lie in the window; ValueError if all lie on one side of it. (A window inside a gap shows the gap.)"""
    low, high = np.min(energies), np.max(energies)
    if window[1] < low or window[0] > high:
        raise ValueError(
            f"no states in the window {window[0]:g} to {window[1]:g} eV; the energies lie from {low:.2f} to {high:.2f}"
        )
    return (energies >= window[0]) & (energies <= window[1])


def _milli(energy: float) -> str:
    return f"{1000 * energy:.2f} meV"


def _greek(name: str) -> str:
    """'G' -> Gamma, 'X1' -> X with a lower 1."""
    letter, index = name[:1], name[1:]
    letter = "Γ" if letter == "G" else letter
    return f"{letter}$_{{{index}}}$" if index else letter
