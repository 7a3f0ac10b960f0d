"""Picture of a running mean: are there enough snapshots?"""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import GROUP_COLORS, STYLE


def plot_convergence(
    means: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray], *, name: str = "gap", ax: Axes | None = None
) -> Axes:
    """Running means (P,) eV over the first 1, 2, ... pairs of displacements and their standard errors as ribbons.

    One line for each label, e.g. '300 K'; errors: nan where there is none yet.
    """
    with plt.style.context(STYLE):
        ax = ax if ax is not None else plt.subplots(figsize=(4.6, 3.4), layout="constrained")[1]
        for (label, values), color in zip(means.items(), cycle(GROUP_COLORS), strict=False):
            counts, error = np.arange(1, len(values) + 1), np.asarray(errors[label])
            ax.plot(counts, values, "o-", color=color, markersize=3.5, label=label)
            known = np.isfinite(error)
            ax.fill_between(counts[known], (values - error)[known], (values + error)[known], color=color, alpha=0.2, linewidth=0)
        ax.set(xlabel="pairs of displacements", ylabel=f"mean {name} (eV)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.tick_params(axis="x", length=3)
        ax.legend(loc="best", fontsize=8)
    return ax
