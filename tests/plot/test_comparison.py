"""The picture of prediction and reference: the error it states, and on which k-points."""

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest
from ase.dft.kpoints import BandPath
from ase.spectrum.band_structure import BandStructure

from ase_tracegrad.plot import plot_comparison
from tests.calculator_cases import make_atoms


@pytest.fixture(scope="module")
def sheet():
    atoms, _ = make_atoms("graphene", kpts=(12, 12, 1))
    return atoms.calc


def test_comparison_states_the_error_in_the_window(sheet):
    reference = sheet.band_structure("GMK", npoints=30)
    shifted = reference.energies + 0.004
    shifted[0, :, -1] += 1.0
    predicted = BandStructure(reference.path, shifted, reference=reference.reference + 0.004)
    axes, below = plot_comparison(predicted, reference)
    assert below.get_title() == "RMSE 4.00 meV, largest 4.00 meV (E < $E_F$ + 3 eV)"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["prediction", "DFT"]
    errors = below.lines[0].get_ydata()
    assert np.allclose(errors, 4.0)
    assert "meV" in below.get_ylabel()
    _, wide = plot_comparison(predicted, reference, error_window=(-30, np.inf))
    assert "largest 1004.00 meV" in wide.get_title()


def test_comparison_refuses_other_kpts_and_empty_windows(sheet):
    reference = sheet.band_structure("GMK", npoints=30)
    with pytest.raises(ValueError, match="same k-points"):
        plot_comparison(sheet.band_structure("GMK", npoints=20), reference)
    with pytest.raises(ValueError, match="no states in the window -900 to -800 eV"):
        plot_comparison(reference, reference, error_window=(-900, -800))


def test_a_finer_prediction_is_compared_where_the_reference_is(sheet):
    finer = sheet.band_structure("GMK", npoints=31)
    path = BandPath(finer.path.cell, kpts=finer.path.kpts[::3], special_points=finer.path.special_points, path="GMK")
    reference = BandStructure(path, finer.energies[:, ::3] + 0.002, reference=finer.reference)
    axes, below = plot_comparison(finer, reference)
    assert np.allclose(below.lines[0].get_ydata(), -2.0)
    assert {len(line.get_xdata()) for line in axes.lines[: finer.energies.shape[2]]} == {31}
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    assert np.allclose(dots.get_xdata(), finer.path.get_linear_kpoint_axis()[0][::3])
    with pytest.raises(ValueError, match="same k-points"):
        plot_comparison(reference, finer)
