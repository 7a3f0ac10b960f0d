"""Colours, sizes and the rule for what lies in a picture; used through plt.style.context, so nothing global changes."""

from collections.abc import Sequence

import numpy as np

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
    "xtick.major.size": 0,
    "ytick.direction": "in",
    "ytick.right": True,
    "mathtext.default": "regular",
}
WINDOW = (-10.0, 6.0)
RIBBON = 0.022  # height of a fat band, as a share of the window
LEGEND_ROOM = 1.2  # above the highest peak, so that no peak runs into the legend


def select_groups(labels: list[str], values: np.ndarray, inside: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """Label, colour and values of the largest groups where ``inside``, in their own order, and of the rest together."""
    largest = np.argsort(-values[:, inside].sum(axis=1), kind="stable")[: len(GROUP_COLORS)]
    chosen = [(labels[g], color, values[g]) for g, color in zip(sorted(largest.tolist()), GROUP_COLORS, strict=False)]
    rest = np.setdiff1d(np.arange(len(labels)), largest)
    return [*chosen, ("other", GREY, values[rest].sum(axis=0))] if len(rest) else chosen


def find_inside(energies: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Which energies lie in the window; ValueError if all lie on one side of it. (A window inside a gap shows the gap.)"""
    low, high = np.min(energies), np.max(energies)
    if window[1] < low or window[0] > high:
        raise ValueError(
            f"no states in the window {window[0]:g} to {window[1]:g} eV; the energies lie from {low:.2f} to {high:.2f}"
        )
    return (energies >= window[0]) & (energies <= window[1])
