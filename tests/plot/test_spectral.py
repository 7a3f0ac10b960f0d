"""The picture of A(k, E)."""

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest
from ase.build import bulk

from ase_tracegrad.plot import plot_spectral_function


def test_picture(tmp_path):
    path = bulk("Si").cell.bandpath("LGX,UG", npoints=40)
    grid = np.linspace(-5, 5, 101)
    center = np.linspace(-3, 3, len(path.kpts))
    spectrum = np.exp(-0.5 * ((grid - center[:, None]) / 0.2) ** 2)
    axes = plot_spectral_function(path, grid, spectrum, window=(-4, 4), brightest=0.5)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["L", "Γ", "X|U", "Γ"]
    assert axes.get_ylabel() == "E $-$ $E_F$ (eV)"
    assert axes.get_ylim() == (-4, 4)
    assert axes.figure.axes[1].get_ylabel() == "A(k, E) (1/eV)"
    assert len(axes.collections) == 2, "one for each piece of the path"
    assert axes.collections[0].get_clim() == (0, 0.5)
    drawn = np.concatenate([piece.get_array().reshape(len(grid), -1) for piece in axes.collections], axis=1)
    assert np.allclose(grid[drawn.argmax(axis=0)], center, atol=0.06), "the peak of each k stands at its energy"
    axes.figure.savefig(tmp_path / "spectral.png")


def test_one_kpt_and_wrong_shapes():
    path = bulk("Si").cell.bandpath("G", npoints=1)
    grid = np.linspace(-1, 1, 5)
    plot_spectral_function(path, grid, np.ones((1, 5)), window=(-1, 1)).figure.canvas.draw()
    with pytest.raises(ValueError, match=r"expected a spectrum of shape \(1, 5\)"):
        plot_spectral_function(path, grid, np.ones((5, 1)))
    with pytest.raises(ValueError, match="window 3 to 4 eV lies outside of the grid -1 to 1 eV"):
        plot_spectral_function(path, grid, np.ones((1, 5)), window=(3, 4))
