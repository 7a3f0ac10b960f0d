"""The picture of a gap against temperature."""

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest

from ase_tracegrad.plot import plot_gap_against_temperature

TEMPERATURES = np.array([0.0, 150.0, 300.0])
GAPS = np.array([1.10, 1.08, 1.05])


def test_points_errors_fit_and_renormalization():
    fine = np.linspace(0, 300, 31)
    axes = plot_gap_against_temperature(
        TEMPERATURES, GAPS, [0.01, 0.02, 0.03], fit=(fine, 1.11 - 2e-4 * fine), fit_name="Varshni", static=1.17
    )
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {"gap, mean and standard error", "Varshni", "atoms at rest"}
    assert axes.get_title() == "zero-point renormalization −60 meV", "of the fit, if there is one"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("T (K)", "gap (eV)")
    segments = axes.containers[0][2][0].get_segments()
    assert np.allclose([np.ptp(segment[:, 1]) for segment in segments], [0.02, 0.04, 0.06])
    assert np.allclose(axes.containers[0][0].get_ydata(), GAPS)


def test_renormalization_of_the_points_and_without_zero_kelvin():
    assert plot_gap_against_temperature(TEMPERATURES, GAPS, static=1.0).get_title() == "zero-point renormalization +100 meV"
    assert plot_gap_against_temperature(TEMPERATURES[1:], GAPS[1:], static=1.0).get_title() == ""


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"of one shape \(T,\), found \(3,\), \(2,\)"):
        plot_gap_against_temperature(TEMPERATURES, GAPS[:2])
    with pytest.raises(ValueError, match=r"found \(3,\), \(3,\), \(1,\)"):
        plot_gap_against_temperature(TEMPERATURES, GAPS, [0.1])
