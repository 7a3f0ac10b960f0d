"""The picture of a running mean."""

import numpy as np

from ase_tracegrad.plot import plot_convergence


def test_every_temperature_is_drawn():
    """More lines than there are colours as well."""
    means = {f"{100 * n} K": np.array([1.0, 1.1, 1.05]) - 0.01 * n for n in range(8)}
    errors = {name: np.array([np.nan, 0.02, 0.01]) for name in means}
    axes = plot_convergence(means, errors)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(means)
    for line, values in zip(axes.get_lines(), means.values(), strict=True):
        assert np.allclose(line.get_ydata(), values)
    assert axes.get_ylabel() == "mean gap (eV)"
