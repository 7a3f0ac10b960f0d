"""Force constants of monolayer MoS2 by CP2K, with the settings of its labels, as a phonopy file.

    python training/mos2_force_constants.py [--supercell 3] [--out examples/mos2_phonopy.yaml]

Four runs, some CPU minutes each; finished forces are kept in the folder --work and not computed again.
Needs CP2K (apt-get install cp2k cp2k-data).
"""

import argparse
import hashlib
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from mos2_structures import K_DENSITY, make_layer
from prepare_mos2 import compact_basis, settings

from ase_tracegrad.labels.cp2k_forces import compute_forces
from ase_tracegrad.replace_file import replace_file, replace_text
from ase_tracegrad.thermal.phonons import compute_force_constants, save_phonons

log = logging.getLogger(__name__)


class KeptForces(Calculator):
    """Forces of CP2K as an ASE calculator; each result is a file named after the positions."""

    implemented_properties = ["forces"]

    def __init__(self, told, folder: Path):
        super().__init__()
        self.told, self.folder = told, folder

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        key = hashlib.sha256(np.round(self.atoms.positions, 8).tobytes()).hexdigest()[:16]
        file = self.folder / f"x{len(atoms)}-{key}.npy"
        if not file.exists():
            start = time.perf_counter()
            forces = compute_forces(self.atoms, self.told)
            with replace_file(file) as part, part.open("wb") as stream:
                np.save(stream, forces)
            log.info("%s: %.0f s", file.name, time.perf_counter() - start)
        self.results = {"forces": np.load(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supercell", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "examples" / "mos2_phonopy.yaml")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "data" / "mos2_forces")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    n = options.supercell
    options.work.mkdir(parents=True, exist_ok=True)
    basis_file = options.work / "BASIS"
    replace_text(basis_file, compact_basis())
    told = replace(settings((K_DENSITY // n, K_DENSITY // n, 1), basis_file), eps_scf=1e-7)
    phonons = compute_force_constants(make_layer(1), KeptForces(told, options.work), (n, n, 1))
    save_phonons(phonons, options.out)


if __name__ == "__main__":
    main()
