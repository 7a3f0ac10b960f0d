"""Pictures. Every function takes results, returns matplotlib Axes and changes no global style; numbers.py saves what is drawn."""

from .bands import plot_bands, plot_bands_and_dos, plot_fat_bands
from .comparison import plot_comparison
from .convergence import plot_convergence
from .dos import plot_dos, plot_projected_dos
from .labels import describe_gap, find_zero, name_kpt
from .levels import plot_levels
from .matrix import measure_couplings, plot_couplings
from .numbers import tabulate_bands, tabulate_dos, write_numbers
from .spectral import plot_spectral_function
from .style import STYLE, WINDOW
from .temperature import plot_gap_against_temperature

__all__ = [
    "STYLE",
    "WINDOW",
    "describe_gap",
    "find_zero",
    "measure_couplings",
    "name_kpt",
    "plot_bands",
    "plot_bands_and_dos",
    "plot_comparison",
    "plot_convergence",
    "plot_couplings",
    "plot_dos",
    "plot_fat_bands",
    "plot_gap_against_temperature",
    "plot_levels",
    "plot_projected_dos",
    "plot_spectral_function",
    "tabulate_bands",
    "tabulate_dos",
    "write_numbers",
]
