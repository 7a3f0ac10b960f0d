"""Picture of a spectral function A(k, E), such as that of a supercell unfolded onto its primitive cell."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from ase.dft.kpoints import BandPath
from matplotlib.axes import Axes

from .bands import dress_energy, dress_kpts, split_path
from .style import STYLE, WINDOW

COLORS = "Blues"  # white where there is nothing, darker the more there is, to every eye
BRIGHTEST = 99.5  # per cent of the picture are below full colour: one sharp state must not make the others pale


def plot_spectral_function(
    path: BandPath,
    grid,
    spectrum,
    *,
    zero: str = "E_F",
    window: Sequence[float] = WINDOW,
    brightest: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A(k, E) along a path as colours.

    grid (G,): energies in eV counted from what ``zero`` names; spectrum (K, G) 1/eV, as unfold.compute_spectral_function gives
    it; brightest: A of the full colour, 1/eV.
    """
    grid, spectrum = np.asarray(grid, dtype=float), np.asarray(spectrum, dtype=float)
    if spectrum.shape != (len(path.kpts), len(grid)):
        expected = (len(path.kpts), len(grid))
        raise ValueError(f"expected a spectrum of shape {expected} for this path and grid, found {spectrum.shape}")
    inside = (grid >= window[0]) & (grid <= window[1])
    if not inside.any():
        raise ValueError(f"the window {window[0]:g} to {window[1]:g} eV lies outside of the grid {grid[0]:g} to {grid[-1]:g} eV")
    if brightest is None:
        brightest = float(np.percentile(spectrum[:, inside], BRIGHTEST)) or float(spectrum[:, inside].max()) or 1.0
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(5.0, 4.2), layout="constrained")[1]
        x = path.get_linear_kpoint_axis()[0]
        for piece in split_path(x):
            columns = x[piece] if len(piece) > 1 else x[piece[0]] + np.array([-0.5, 0.5])
            values = spectrum[piece] if len(piece) > 1 else spectrum[[piece[0], piece[0]]]
            colors = ax.pcolormesh(
                columns, grid, values.T, cmap=COLORS, vmin=0.0, vmax=brightest, shading="gouraud", rasterized=True
            )
        dress_kpts(ax, path)
        dress_energy(ax, window, zero)
        ax.figure.colorbar(colors, ax=ax, label="A(k, E) (1/eV)", extend="max")
    return ax
