"""Picture of a gap (or a band edge) against temperature."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .style import BLUE, GREY, ORANGE, STYLE


def plot_gap_against_temperature(
    temperatures,
    gaps,
    errors=None,
    *,
    fit: tuple | None = None,
    fit_name: str = "fit",
    static: float | None = None,
    name: str = "gap",
    ax: Axes | None = None,
) -> Axes:
    """Mean values as dots with their standard errors.

    temperatures (T,) K; gaps, errors (T,) eV, errors: standard errors of the means; fit: temperatures (F,) K and gaps (F,) eV
    of a fitted curve; static: the gap of the crystal at rest, eV; its distance from the gap at 0 K (of the fit, else of
    the points) is the zero-point renormalization and is written beside it.
    """
    temperatures, gaps = (np.asarray(x, dtype=float) for x in (temperatures, gaps))
    errors = None if errors is None else np.asarray(errors, dtype=float)
    if temperatures.ndim != 1 or gaps.shape != temperatures.shape or (errors is not None and errors.shape != gaps.shape):
        found = f"{temperatures.shape}, {gaps.shape}" + ("" if errors is None else f", {errors.shape}")
        raise ValueError(f"expected temperatures, gaps and errors of one shape (T,), found {found}")
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(4.6, 3.4), layout="constrained")[1]
        ax.errorbar(
            temperatures, gaps, yerr=errors, fmt="o", color=BLUE, markersize=4, capsize=2.5, linewidth=1.0,
            label=name if errors is None else f"{name}, mean and standard error", zorder=3,
        )  # fmt: skip
        if fit is not None:
            ax.plot(*fit, color=ORANGE, label=fit_name)
        if static is not None:
            ax.axhline(static, color=GREY, linestyle="--", linewidth=1.0, label="atoms at rest")
            cold = _find_cold(temperatures, gaps) if fit is None else _find_cold(*fit)
            if cold is not None:
                shift = f"{1000 * (cold - static):+.0f}".replace("-", "−")
                ax.set_title(f"zero-point renormalization {shift} meV", fontsize=9)
        ax.set(xlabel="T (K)", ylabel=f"{name} (eV)")
        ax.tick_params(axis="x", length=3, direction="in")
        ax.margins(y=0.12)
        ax.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
    return ax


def _find_cold(temperatures, gaps) -> float | None:
    """The value at 0 K, if there is one."""
    at = np.nonzero(np.asarray(temperatures) == 0.0)[0]
    return float(np.asarray(gaps)[at[0]]) if len(at) else None
