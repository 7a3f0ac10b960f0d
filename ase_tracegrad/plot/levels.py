"""The levels of a molecule as a ladder: filled and empty ones, degenerate ones side by side."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..electronic.molecule import Levels
from .style import BLUE, ORANGE, STYLE

DEGENERATE = 0.02  # eV; closer levels share a rung
BELOW, ABOVE = 25.0, 8.0  # eV below the HOMO and above the LUMO; core levels lie far below


def plot_levels(levels: Levels, *, title: str = "", window: tuple[float, float] | None = None, ax: Axes | None = None) -> Axes:
    """Orbital energies as lines; window: lowest and highest energy, eV, by default valence levels and some empty ones."""
    low, high = (levels.homo - BELOW, levels.lumo + ABOVE) if window is None else window
    if not low < high:
        raise ValueError(f"window: the lowest energy must come first, found {low:g}, {high:g}")
    shown = np.nonzero((levels.energies >= low) & (levels.energies <= high))[0]
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(3.2, 4.6), layout="constrained")[1]
        for rung in np.split(shown, np.nonzero(np.diff(levels.energies[shown]) > DEGENERATE)[0] + 1):
            width = 1.0 / max(len(rung), 1)
            for place, level in enumerate(rung):
                ends = np.array([place + 0.06, place + 0.94]) * width
                ax.plot(ends, 2 * [levels.energies[level]], color=BLUE if levels.occupations[level] else ORANGE, linewidth=2)
        for name, energy in (("HOMO", levels.homo), ("LUMO", levels.lumo)):
            ax.annotate(f"{name} {energy:.2f}".replace("-", "−"), (1.02, energy), va="center", fontsize=8)
        ax.annotate("", (0.5, levels.lumo), (0.5, levels.homo), arrowprops={"arrowstyle": "<->", "linewidth": 0.8})
        ax.annotate(f" {levels.gap:.2f} eV", (0.5, levels.fermi_level), va="center", fontsize=8)
        ax.set(xlim=(0, 1.45), ylim=(low, high), xticks=[], ylabel="E (eV)", title=title)
    return ax
