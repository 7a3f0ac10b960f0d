"""Make the MoS2 data set: CP2K labels of every structure in mos2_structures.py, packed into one file.

    python training/prepare_mos2.py [--out training/data/mos2] [--workers N]

Mo has CP2K's DZVP-MOLOPT-SR-GTH basis without its most diffuse Gaussian (exponent 0.053, which alone makes H reach 11 A
instead of 8.5) and without f functions, 19 orbitals; S has the stock basis, 13. It is a label basis of its own: bands differ
from the stock basis by about 70 meV. Interrupted at will, the same command goes on. Needs CP2K (apt-get install cp2k cp2k-data).
"""

import argparse
import logging
from functools import partial
from pathlib import Path

from label_sets import make_label_set
from mos2_structures import N_2X2, N_3X3, make_structures

from ase_tracegrad.labels.cp2k import Cp2kSettings, find_cp2k
from ase_tracegrad.replace_file import replace_text

MOLYBDENUM, SULFUR = "DZVP-MOLOPT-SR-GTH-q14", "DZVP-MOLOPT-SR-GTH-q6"
COMPACT = "DZVP-MOLOPT-SR-GTH-COMPACT-q14"


def compact_basis() -> str:
    """CP2K's basis of S, and that of Mo less its last exponent and its f functions, as the text of a CP2K basis file."""
    lines = (find_cp2k()[1] / "BASIS_MOLOPT").read_text().splitlines()

    def take(symbol: str, name: str) -> list[str]:
        first = next(n for n, line in enumerate(lines) if line.split()[:1] == [symbol] and name in line.split())
        return lines[first : first + 3 + int(lines[first + 2].split()[3])]

    molybdenum = take("Mo", MOLYBDENUM)
    n, _, _, exponents, *functions = molybdenum[2].split()  # functions of l = 0, 1, 2, 3
    shape = f"{n} 0 2 {int(exponents) - 1} {' '.join(functions[:3])}"
    columns = 1 + sum(int(f) for f in functions[:3])
    rows = [" ".join(line.split()[:columns]) for line in molybdenum[3:-1]]
    return "\n".join([f"Mo {COMPACT}", molybdenum[1], shape, *rows, *take("S", SULFUR)]) + "\n"


def settings(kpoints: tuple[int, int, int], basis_file: Path) -> Cp2kSettings:
    """What CP2K is told; 280 / 40 Ry leave 0.05 meV of noise in the bands, for a third of the time of 350 / 60."""
    return Cp2kSettings(
        kpoints,
        cutoff=280.0,
        rel_cutoff=40.0,
        eps_default=1e-10,
        eps_scf=1e-6,
        mixing_alpha=0.4,
        mixing_beta=0.1,  # 17 steps where the default takes 31
        mixing_history=12,
        basis_file=str(basis_file.resolve()),
        basis={"Mo": COMPACT, "S": SULFUR},
        potential={"Mo": "GTH-PBE-q14", "S": "GTH-PBE-q6"},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "mos2")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--n-2x2", type=int, default=N_2X2)
    parser.add_argument("--n-3x3", type=int, default=N_3X3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    basis_file = options.out / "BASIS"
    options.out.mkdir(parents=True, exist_ok=True)
    replace_text(basis_file, compact_basis())
    structures = make_structures(options.n_2x2, options.n_3x3)
    make_label_set(options.out / "mos2.h5", structures, partial(settings, basis_file=basis_file), options.workers)


if __name__ == "__main__":
    main()
