"""Pictures of the density of states and of its parts."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from ase.spectrum.doscollection import GridDOSCollection
from ase.spectrum.dosdata import GridDOSData
from matplotlib.axes import Axes

from .style import BLUE, GREY, LEGEND_ROOM, STYLE, WINDOW, find_inside, select_groups


def plot_projected_dos(parts: GridDOSCollection, *, window: Sequence[float] = WINDOW, ax: Axes | None = None) -> Axes:
    """The density of states and, as coloured lines, those of groups of orbitals, as calc.projected_dos gives them."""
    energies, weights = np.asarray(parts[0].get_energies()), np.array([part.get_weights() for part in parts])
    ax = plot_dos(GridDOSData(energies, weights.sum(axis=0)), window=window, ax=ax)
    with plt.style.context(STYLE):
        ax.lines[0].set(color="black", label="total")
        labels = [part.info["label"] for part in parts]
        for label, color, weight in select_groups(labels, weights, find_inside(energies, window)):
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
        top = (1.08 if upright else LEGEND_ROOM) * weights[find_inside(energies, window)].max(initial=0.0) or 1.0
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
