"""S(R) from SIESTA's .ion file: ours against HPRO's two-centre integrals, accuracy and CPU time, one thread, same process.

    python benchmarks/overlap_hpro.py [--siesta FOLDER] [--sizes 1 2 3] [--out benchmarks/results/overlap_hpro.json]

FOLDER holds Si.ion and Si.HSX of a SIESTA run of bulk silicon (default: the reference data beside the repository); the
error of both programs is that against SIESTA's own S, and both reach what SIESTA's single-precision file allows. HPRO runs
with its default grids. It builds its tables of radial integrals anew for every structure, we once in a process; the time
that takes inside its call is measured too, so that first, further and evaluation compare like with like. The programs
take turns, and only ratios of CPU times are kept: the machine may be busy.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import time

import numpy as np
from HPRO.io.aodata import AOData
from HPRO.utils.structure import Structure as HproStructure
from HPRO.v2h import twocenter
from measure import describe_machine, write_result

from ase_tracegrad import compute_overlap, overlap, read, read_basis
from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.structure import Structure
from ase_tracegrad.units import BOHR

SIESTA = Path(__file__).parents[2] / "shared" / "data" / "reference" / "siesta" / "Si"
ENERGY = 50.0  # Hartree, HPRO's default for the grid of q


def make_structure(primitive: Structure, n: int) -> Structure:
    """n x n x n cells with displaced atoms; the cell itself for n = 1."""
    from ase import Atoms

    atoms = Atoms(primitive.numbers, primitive.positions, cell=primitive.cell, pbc=True) * (n, n, n)
    if n > 1:
        atoms.rattle(0.03, seed=n)
    return Structure.from_atoms(atoms)


def run_hpro(structure: Structure, folder: Path) -> tuple[float, float, BlockMatrix]:
    """(CPU seconds for the tables of radial integrals, for the rest, S) of HPRO."""
    spent, build = [0.0], twocenter.TwoCenterIntgSplines.__init__

    def timed(self, *arguments, **options):
        start = time.process_time()
        build(self, *arguments, **options)
        spent[0] += time.process_time() - start

    twocenter.TwoCenterIntgSplines.__init__ = timed
    try:
        start = time.process_time()
        theirs = HproStructure(structure.cell / BOHR, structure.numbers, structure.positions / BOHR, atomic_positions_is_cart=True)
        orbitals = AOData(theirs, basis_path_root=str(folder), aocode="siesta")
        orbitals.calc_phiQ(ENERGY)
        spent[0] += time.process_time() - start
        result = twocenter.calc_overlap(orbitals, Ecut=ENERGY)
        seconds = time.process_time() - start
    finally:
        twocenter.TwoCenterIntgSplines.__init__ = build
    layout = OrbitalLayout(tuple(tuple(orbitals.ls_spc[z]) for z in structure.numbers.tolist()))
    values = np.concatenate([np.ravel(block) for block in result.mats])
    return spent[0], seconds - spent[0], BlockMatrix(layout, result.atom_pairs, result.translations, values)


def run_ours(structure: Structure, folder: Path) -> tuple[float, float, BlockMatrix]:
    """The same three of ours, with no table left from earlier runs."""
    overlap._tables.clear()
    overlap._onsite_blocks.clear()
    start = time.process_time()
    basis = read_basis({"Si": folder / "Si.ion"})
    overlap.find_table(basis[14], basis[14])
    overlap.find_onsite_block(basis[14])
    middle = time.process_time()
    result = compute_overlap(structure, basis)
    return middle - start, time.process_time() - middle, result


def measure(n: int, folder: Path = SIESTA, repeats: int = 5) -> dict:
    """Errors against SIESTA (n = 1), difference of the programs, and ratios of CPU times of one n x n x n cell."""
    sample = read(folder / "Si.HSX")
    structure = make_structure(sample.structure, n)
    runs = [(run_ours(structure, folder), run_hpro(structure, folder)) for _ in range(repeats)]
    (table, evaluation), (their_table, their_evaluation) = (
        (min(run[who][0] for run in runs), min(run[who][1] for run in runs)) for who in (0, 1)
    )
    ours, theirs = runs[0][0][2], runs[0][1][2]
    row: dict = {"atoms": len(structure), "pairs": len(ours), "largest_difference": largest_difference(ours, theirs)}
    if n == 1:
        row |= {"our_error": largest_difference(ours, sample.overlap), "hpro_error": largest_difference(theirs, sample.overlap)}
    return row | {
        "hpro_over_ours_first_structure": (their_table + their_evaluation) / (table + evaluation),
        "hpro_over_ours_each_further_structure": (their_table + their_evaluation) / evaluation,
        "hpro_over_ours_evaluation_without_tables": their_evaluation / evaluation,
    }


def largest_difference(a: BlockMatrix, b: BlockMatrix) -> float:
    """On the union of the pairs."""
    return float(np.abs((a - b).values).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--siesta", type=Path, default=SIESTA)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "overlap_hpro.json")
    options = parser.parse_args()
    rows = [measure(n, options.siesta) for n in options.sizes]
    for row in rows:
        print("  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    write_result(options.out, describe_machine("numpy", "scipy", "hpro") | {"cases": rows})


if __name__ == "__main__":
    main()
