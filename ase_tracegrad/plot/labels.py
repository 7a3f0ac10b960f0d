"""What stands on the axes and in the titles: the energy zero, the gap in words, names of k-points."""

import re

import numpy as np
from ase.dft.kpoints import BandPath
from ase.spectrum.band_structure import BandStructure

from ..electronic import kmesh
from ..electronic.gap import BandGap

LOWER = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def find_zero(bands: BandStructure, gap: BandGap | None) -> tuple[float, str]:
    """Energy zero in eV and its name: the top of the valence band or the highest filled level where there is a gap, else E_F."""
    if gap is not None and not gap.is_metal:
        return gap.vbm, "E_{VBM}" if gap.periodic else "E_{HOMO}"
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


def gather_ticks(path: BandPath) -> dict[float, list[str]]:
    """{place on the path, 1/Angstrom: names of the special points there}; two names where the path jumps."""
    _, ticks, names = path.get_linear_kpoint_axis()
    labels: dict[float, list[str]] = {}
    for tick, name in zip(ticks, names, strict=True):
        labels.setdefault(round(float(tick), 9), []).append(name)
    return labels


def join_labels(names: list[str]) -> str:
    """Names of special points as plain text: ['U', 'K1'] -> 'U|K₁', ['G'] -> 'Γ'."""
    greek = {"G": "Γ", "Sigma": "Σ", "Delta": "Δ", "Lambda": "Λ"}
    found = [re.match(r"([A-Za-z]+)(.*)", name) for name in names]
    texts = [greek.get(m[1], m[1]) + m[2].translate(LOWER) if m else n for m, n in zip(found, names, strict=True)]
    return "|".join(dict.fromkeys(texts))


def write_milli(energy: float) -> str:
    """eV in meV."""
    return f"{1000 * energy:.2f} meV"


def write_greek(name: str) -> str:
    """'G' -> Gamma, 'X1' -> X with a lower 1."""
    letter, index = name[:1], name[1:]
    letter = "Γ" if letter == "G" else letter
    return f"{letter}$_{{{index}}}$" if index else letter
