"""S(R) of displaced graphene: ours against PySCF's integrals, accuracy and CPU time, one thread, same process.

    python benchmarks/overlap.py [--sizes 1 3 10] [--out benchmarks/results/overlap.json]

PySCF gets the most favourable form: one rectangular call between the home atoms and all image atoms within
reach of any of them, and only the integral call is timed, not the construction of its molecules. Ours is
timed as a user calls it, neighbour search included; the table of the element pair is built before and
timed on its own.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import numpy as np
import pyscf  # with the tests: pip install ".[test]"
from ase.build import graphene
from measure import describe_machine, fastest, write_result
from pyscf import gto

from ase_tracegrad import overlap
from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, Shell
from ase_tracegrad.conventions import PYSCF
from ase_tracegrad.graph import build_graph
from ase_tracegrad.structure import Structure
from ase_tracegrad.units import BOHR

# Shells like those of CP2K's DZVP-MOLOPT-SR-GTH for carbon: five exponents (1/Bohr^2) shared by 2s2p1d.
EXPONENTS = np.array([5.6, 2.1, 0.82, 0.33, 0.13])
CONTRACTIONS = {
    0: [[0.9, -0.1, -0.5, -0.3, -0.05], [0.1, 0.2, -0.5, 0.4, 0.6]],
    1: [[-0.3, -0.4, -0.4, -0.3, -0.1], [0.1, 0.3, 0.2, -0.5, 0.6]],
}
CONTRACTIONS[2] = [[0.1, 0.3, 0.6, 0.5, 0.05]]


def make_basis() -> Basis:
    """The five shells as a Basis."""
    shells = tuple(
        Shell(l, GaussianRadial(l, EXPONENTS / BOHR**2, np.array(row) * EXPONENTS ** ((2 * l + 3) / 4)))
        for l, rows in CONTRACTIONS.items()
        for row in rows
    )
    return Basis({6: AtomicBasis(6, tuple(s.l for s in shells), shells, 4.0)}, "benchmark")


def make_structure(n: int) -> Structure:
    """An n x n cell of graphene with displaced atoms."""
    atoms = graphene(a=2.46, vacuum=5.0) * (n, n, 1)
    atoms.pbc = True
    atoms.rattle(0.05, seed=n)
    return Structure.from_atoms(atoms)


def make_molecule(positions: np.ndarray, basis: Basis) -> gto.Mole:
    """PySCF's description of carbon atoms at ``positions`` (Angstrom) with this basis."""
    shells = [
        [s.l, *[[a * BOHR**2, c / gto.gto_norm(s.l, a)] for a, c in zip(s.radial.exponents, s.radial.coefficients, strict=True)]]
        for s in basis[6].shells
    ]
    return gto.M(atom=[("C", p / BOHR) for p in positions], basis={"C": shells}, unit="B", spin=None, verbose=0)


def measure(n: int, repeats: int = 5) -> dict:
    """Accuracy and CPU seconds of one n x n cell."""
    basis, structure = make_basis(), make_structure(n)
    overlap._tables.clear()
    table_seconds, _ = fastest(lambda: overlap.find_table(basis[6], basis[6]), 1)
    our_seconds, ours = fastest(lambda: overlap.compute_overlap(structure, basis), repeats)

    graph = build_graph(structure, {6: basis[6].reach})
    images, column = np.unique(np.column_stack([graph.pairs[:, 1], graph.shifts]), axis=0, return_inverse=True)
    home = make_molecule(structure.positions, basis)
    away = make_molecule(structure.positions[images[:, 0]] + images[:, 1:] @ structure.cell, basis)
    their_seconds, theirs = fastest(lambda: gto.intor_cross("int1e_ovlp_sph", home, away), repeats)

    size = basis[6].size
    gather = PYSCF.to_ours(basis[6].angular_momenta)[0]
    norms = np.sqrt(np.diag(home.intor("int1e_ovlp_sph"))[:size])[gather]
    blocks = theirs.reshape(len(structure), size, len(images), size)[graph.pairs[:, 0], :, column.ravel()][:, gather][:, :, gather]
    difference = ours.values.reshape(-1, size, size) - blocks / (norms[:, None] * norms)
    return {
        "atoms": len(structure),
        "pairs": len(ours),
        "largest_difference": float(np.abs(difference).max()),
        "table_cpu_seconds": table_seconds,
        "ours_cpu_seconds": our_seconds,
        "pyscf_cpu_seconds": their_seconds,
        "pyscf_over_ours": their_seconds / our_seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "overlap.json")
    options = parser.parse_args()
    pyscf.lib.num_threads(1)
    rows = [measure(n) for n in options.sizes]
    for row in rows:
        print("  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    write_result(options.out, describe_machine("numpy", "scipy", "pyscf") | {"cases": rows})


if __name__ == "__main__":
    main()
