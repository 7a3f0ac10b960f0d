"""What CP2K is told: the settings that decide a label, and the input file made of them."""

from dataclasses import asdict, dataclass, field

import numpy as np

from ..structure import Structure


@dataclass(frozen=True)
class Cp2kSettings:
    """What decides the label. Energies in CP2K's units as named; the defaults give 0.3 meV of grid noise in bands.

    kpoints: mesh; gamma_centred: with a point at zero, else shifted by half a step along every axis of more than one point.
    basis, potential: names in the data files by element symbol.
    """

    kpoints: tuple[int, int, int]
    gamma_centred: bool = False
    cutoff: float = 350.0  # Ry
    rel_cutoff: float = 60.0  # Ry
    eps_default: float = 1e-12
    eps_scf: float = 1e-7
    electronic_temperature: float = 1000.0  # K, Fermi-Dirac
    max_scf: int = 100
    mixing_alpha: float = 0.3
    mixing_beta: float = 0.5  # 1/Bohr; waves longer than this are damped, as metals need; 0.1 is faster for an insulating layer
    mixing_history: int = 8
    added_mos: int = 20
    threshold: float = 1e-9  # Hartree; smaller elements are not written
    xc: str = "PBE"
    basis_file: str = "BASIS_MOLOPT"
    basis: dict[str, str] = field(default_factory=lambda: {"C": "DZVP-MOLOPT-SR-GTH-q4"})
    potential: dict[str, str] = field(default_factory=lambda: {"C": "GTH-PBE-q4"})


def write_input(structure: Structure, symbols: list[str], settings: Cp2kSettings, band_kpts) -> str:
    """CP2K's input file; band_kpts (K, 3) fractional or None."""
    shift = [0.5 if points > 1 and not settings.gamma_centred else 0.0 for points in settings.kpoints]
    fields = asdict(settings) | {
        "mesh": " ".join(str(x) for x in (*settings.kpoints, *shift)),
        "matrices": "".join(MATRIX_TEMPLATE.format(tag=tag, threshold=settings.threshold) for tag in ("KS", "S")),
        "bands": "",
        "cell": "\n".join(f" {name} {_vector(row)}" for name, row in zip("ABC", structure.cell, strict=True)),
        "coordinates": "\n".join(f" {s} {_vector(p)}" for s, p in zip(symbols, structure.positions, strict=True)),
        "kinds": "".join(
            KIND_TEMPLATE.format(symbol=s, basis=settings.basis[s], potential=settings.potential[s]) for s in sorted(set(symbols))
        ),
    }
    if band_kpts is not None:
        points = "\n".join("SPECIAL_POINT " + _vector(k) for k in np.asarray(band_kpts, dtype=float))
        fields["bands"] = BANDS_TEMPLATE.format(added_mos=settings.added_mos, points=points)
    return INPUT_TEMPLATE.format(**fields)


def _vector(values) -> str:
    return " ".join(f"{x:.14f}" for x in values)


MATRIX_TEMPLATE = """&{tag}_CSR_WRITE ON
 REAL_SPACE T
 THRESHOLD {threshold}
 &EACH
  QS_SCF 0
 &END
&END
"""

BANDS_TEMPLATE = """&BAND_STRUCTURE
 ADDED_MOS {added_mos}
 FILE_NAME label.bs
&KPOINT_SET
 UNITS B_VECTOR
 NPOINTS 1
{points}
&END
&END
"""

KIND_TEMPLATE = """&KIND {symbol}
 BASIS_SET {basis}
 POTENTIAL {potential}
&END
"""

INPUT_TEMPLATE = """&GLOBAL
 PROJECT label
 RUN_TYPE ENERGY
 PRINT_LEVEL MEDIUM
&END
&FORCE_EVAL
METHOD QS
&DFT
 BASIS_SET_FILE_NAME {basis_file}
 POTENTIAL_FILE_NAME GTH_POTENTIALS
&QS
 EPS_DEFAULT {eps_default}
&END
&MGRID
 CUTOFF {cutoff}
 REL_CUTOFF {rel_cutoff}
&END
&XC
&XC_FUNCTIONAL {xc}
&END
&END
&KPOINTS
 SCHEME MACDONALD {mesh}
 SYMMETRY F
 FULL_GRID F
&END
&SCF
 SCF_GUESS ATOMIC
 EPS_SCF {eps_scf}
 MAX_SCF {max_scf}
 ADDED_MOS {added_mos}
 &DIAGONALIZATION
 &END
 &MIXING
  METHOD BROYDEN_MIXING
  ALPHA {mixing_alpha}
  BETA {mixing_beta}
  NBROYDEN {mixing_history}
 &END
 &SMEAR
  METHOD FERMI_DIRAC
  ELECTRONIC_TEMPERATURE {electronic_temperature}
 &END
 &PRINT
  &RESTART OFF
  &END
 &END
&END
&PRINT
{matrices}{bands}&END
&END
&SUBSYS
&CELL
{cell}
 PERIODIC XYZ
&END
&COORD
{coordinates}
&END
{kinds}&END
&END
"""
