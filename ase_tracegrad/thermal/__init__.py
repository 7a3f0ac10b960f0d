"""Temperature: phonons, displaced supercells, gap and spectral function against temperature, electron-phonon coupling."""

from .coupling import Couplings, compute_couplings
from .derivatives import MatrixDerivatives, compute_derivatives
from .ensemble import draw_displacements, search_signs
from .gap import SpreadEdgeWarning, gap_vs_temperature
from .harmonic import HarmonicCrystal
from .phonons import ImaginaryModesWarning, compute_force_constants, load_phonons, save_phonons
from .result import GapFit, ThermalGap
from .spectral import SpectralFunction, compute_spectral_functions

__all__ = [
    "Couplings",
    "GapFit",
    "HarmonicCrystal",
    "ImaginaryModesWarning",
    "MatrixDerivatives",
    "SpectralFunction",
    "SpreadEdgeWarning",
    "ThermalGap",
    "compute_couplings",
    "compute_derivatives",
    "compute_force_constants",
    "compute_spectral_functions",
    "draw_displacements",
    "gap_vs_temperature",
    "load_phonons",
    "save_phonons",
    "search_signs",
]
