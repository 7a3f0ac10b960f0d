"""What stands on the axes and in the titles: the energy zero, the gap in words, names of k-points."""

import numpy as np
from ase.spectrum.band_structure import BandStructure

from ..electronic import kmesh
from ..electronic.gap import BandGap


def find_zero(bands: BandStructure, gap: BandGap | None) -> tuple[float, str]:
    """Energy zero in eV and its name: the valence-band top of an insulator, else the Fermi level."""
    if gap is not None and not gap.is_metal:
        return gap.vbm, "E_{VBM}"
    return float(bands.reference), "E_F"


def describe_gap(gap: BandGap, path) -> str:
    """One line: size, kind and place of the gap, k-points by their names where they have one."""
    at = [name_kpt(k, path) for k in (gap.k_vbm, gap.k_cbm, gap.k_direct)]
    if not gap.periodic:
        return gap.kind if gap.is_metal else f"gap {gap.gap:.3f} eV"
    if gap.n_filled is None:
        return "metal (a band is partly filled)"
    if not gap.is_metal:
        kind = f"direct at {at[2]}" if gap.is_direct else f"indirect, {at[0]} $\\rightarrow$ {at[1]}"
        return f"gap {gap.gap:.3f} eV, {kind}"
    if gap.is_direct:
        return f"semimetal, bands touch at {at[2]} ({write_milli(gap.direct_gap)})"
    return f"semimetal, bands overlap by {-gap.gap:.3f} eV ({at[0]}, {at[1]})"


def name_kpt(kpt, path) -> str:
    """Name of a special point equal to +-k up to a reciprocal vector, else its coordinates."""
    name = kmesh.name_kpt(np.asarray(kpt), {n: np.array([point, -point]) for n, point in path.special_points.items()})
    if name is not None:
        return write_greek(name)
    return "(" + ", ".join(f"{x:.3g}" for x in kpt) + ")"


def write_milli(energy: float) -> str:
    """eV in meV."""
    return f"{1000 * energy:.2f} meV"


def write_greek(name: str) -> str:
    """'G' -> Gamma, 'X1' -> X with a lower 1."""
    letter, index = name[:1], name[1:]
    letter = "Γ" if letter == "G" else letter
    return f"{letter}$_{{{index}}}$" if index else letter
