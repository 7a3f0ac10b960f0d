"""Predicted bands beside those of a DFT code, with the error of every state."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from ase.spectrum.band_structure import BandStructure
from matplotlib.axes import Axes

from .bands import draw_lines, dress_energy, dress_kpts
from .labels import write_milli
from .style import GREY, ORANGE, STYLE, WINDOW, find_inside


def plot_comparison(
    predicted: BandStructure,
    reference: BandStructure,
    *,
    error_window: Sequence[float] = (-np.inf, 3.0),
    window: Sequence[float] = WINDOW,
    labels: Sequence[str] = ("prediction", "DFT"),
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Predicted bands as lines, reference bands as dots and, below, the difference of the states in ``error_window``.

    The k-points of the reference must be among those of the prediction, in the same order; a prediction on a finer path
    shows what the bands do between the dots. Energies are absolute, drawn from one zero: the reference's Fermi level.
    error_window: lowest and highest energy of the states that count, eV from there; axes: for bands and errors.
    """
    at = _find_common_kpts(predicted, reference)
    n = min(predicted.energies.shape[2], reference.energies.shape[2])
    from_zero = reference.energies[0, :, :n] - reference.reference
    error = predicted.energies[0, at, :n] - reference.reference - from_zero
    inside = find_inside(from_zero, error_window)
    with plt.style.context(STYLE):
        if axes is None:
            axes = plt.subplots(2, 1, figsize=(4.6, 5.6), height_ratios=(4, 1), sharex=True, layout="constrained")[1]
        ax, below = axes
        x = predicted.path.get_linear_kpoint_axis()[0]
        draw_lines(ax, predicted, reference.reference, color=ORANGE, label=labels[0], linewidth=1.0)
        dots = ax.plot(x[at], from_zero, "o", color="black", markersize=2.0, markeredgewidth=0)
        dots[0].set_label(labels[1])
        dress_kpts(ax, predicted.path)
        dress_energy(ax, window, "E_F")
        # Outside the bands: in the picture it would hide some.
        ax.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8, borderaxespad=0.2, columnspacing=1.0, markerscale=2
        )
        rmse, largest = np.sqrt(np.mean(error[inside] ** 2)), np.abs(error[inside]).max()
        low, high = error_window
        states = f"E < $E_F$ + {high:g} eV" if np.isinf(low) else f"{low:g} to {high:g} eV"
        below.set_title(f"RMSE {write_milli(rmse)}, largest {write_milli(largest)} ({states})", fontsize=8)
        below.plot(np.broadcast_to(x[at][:, None], error.shape)[inside], 1000 * error[inside], ".", color=ORANGE, markersize=3)
        below.axhline(0.0, color=GREY, linewidth=0.8)
        bound = 1.15 * 1000 * largest or 1.0
        below.set(ylabel="error (meV)", ylim=(-bound, bound))
        dress_kpts(below, predicted.path)
    return ax, below


def _find_common_kpts(predicted: BandStructure, reference: BandStructure) -> np.ndarray:
    """(K,) where each k-point of the reference stands in the path of the prediction."""
    at: list[int] = []
    for k in reference.path.kpts:
        start = at[-1] + 1 if at else 0
        same = np.nonzero(np.abs(predicted.path.kpts[start:] - k).max(axis=1, initial=0.0) < 1e-6)[0]
        if not len(same):
            raise ValueError(
                f"bands can be compared on the same k-points only: {np.round(k, 4)} of the reference is not among the "
                f"{len(predicted.path.kpts)} of the prediction, in this order"
            )
        at.append(start + int(same[0]))
    return np.array(at)
