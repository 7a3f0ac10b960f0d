"""Bands, meshes, windows and DOS of graphene cells against sisl, scipy and ASE: CPU time, one thread, same process.

    python benchmarks/kspace.py [--cases path mesh irreducible dense window tetrahedron] [--sizes 26 208 936 1664] [--out FILE]

H(R) and S(R) are CP2K's of the two-atom cell (tests/data), repeated n x n for the larger sizes. Every
program gets the same matrices and the same k-points, and each case says how far the answers differ. Needs sisl: pip install sisl
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy
import torch
from ase.dft.dos import lti_dos
from ase.parallel import world
from measure import describe_machine, fastest, write_result

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.dos import compute_dos_tetrahedron, split_cell
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.export import to_sisl
from ase_tracegrad.electronic.irreducible import reduce_mesh
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import symmetrize
from ase_tracegrad.electronic.window import solve_window
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.structure import Structure

FIXTURE = Path(__file__).resolve().parents[1] / "tests" / "data" / "graphene_cp2k.h5"
# Orbitals -> cells along both axes, k-points measured.
REPEATS = {26: (1, 1, 200), 104: (2, 2, 80), 208: (4, 2, 40), 936: (6, 6, 6), 1664: (8, 8, 4), 3744: (12, 12, 1)}


def load(n1: int = 1, n2: int = 1, *, symmetric: bool = False) -> tuple[BlockMatrix, BlockMatrix, Structure]:
    """H, S and the structure of an n1 x n2 cell; symmetric: projected onto the space group."""
    with StoreReader(FIXTURE) as store:
        sample = store["perfect"]
    h, s, structure = sample.hamiltonian, sample.overlap, sample.structure
    if symmetric:
        group = find_space_group(structure)
        h, s = symmetrize(h, group), symmetrize(s, group)
    return repeat(h, n1, n2), repeat(s, n1, n2), repeat_structure(structure, n1, n2)


def repeat(matrix: BlockMatrix, n1: int, n2: int) -> BlockMatrix:
    """The same crystal as a matrix of an n1 x n2 cell; atoms cell by cell."""
    sizes, n_atoms = np.array([n1, n2, 1]), matrix.layout.n_atoms
    pairs, shifts = [], []
    for cell in np.ndindex(n1, n2):
        over, inside = np.divmod(matrix.shifts + np.array([*cell, 0]), sizes)
        first = n_atoms * (cell[0] * n2 + cell[1])
        second = n_atoms * (inside[:, 0] * n2 + inside[:, 1])
        pairs.append(np.column_stack([matrix.pairs[:, 0] + first, matrix.pairs[:, 1] + second]))
        shifts.append(over)
    layout = OrbitalLayout(matrix.layout.shells * (n1 * n2))
    return BlockMatrix(layout, np.concatenate(pairs), np.concatenate(shifts), np.tile(matrix.values, n1 * n2), matrix.spin)


def repeat_structure(structure: Structure, n1: int, n2: int) -> Structure:
    """The atoms of an n1 x n2 cell in the order of ``repeat``."""
    origins = np.array([[a, b, 0] for a, b in np.ndindex(n1, n2)]) @ structure.cell
    positions = (origins[:, None] + structure.positions).reshape(-1, 3)
    return Structure(np.tile(structure.numbers, n1 * n2), positions, structure.cell * np.array([[n1], [n2], [1]]), structure.pbc)


def random_kpts(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, size=(count, 3)) * [1, 1, 0]


def measure_dense(n_orbitals: int, repeats: int = 3) -> dict:
    """All energies at random k-points, seconds of CPU per k-point."""
    n1, n2, count = REPEATS[n_orbitals]
    h, s, structure = load(n1, n2)
    kpts = random_kpts(count)
    theirs = to_sisl(h, s, structure)
    theirs.finalize()
    sums = BlochSum(h, s)
    our_seconds, ours = fastest(lambda: solve_bands(h, s, kpts).energies, repeats)
    sisl_seconds, expected = fastest(lambda: np.array([theirs.eigh(k) for k in kpts]), min(repeats, 2))
    scipy_seconds, _ = fastest(lambda: [scipy.linalg.eigh(*(m[0] for m in sums.build([k])), eigvals_only=True) for k in kpts], 1)
    return {
        "case": "dense",
        "orbitals": h.n_orbitals,
        "kpts": count,
        "largest_difference_ev": float(np.abs(ours - expected).max()),
        "ours_cpu_s_per_k": our_seconds / count,
        "sisl_cpu_s_per_k": sisl_seconds / count,
        "scipy_cpu_s_per_k": scipy_seconds / count,
        "sisl_over_ours": sisl_seconds / our_seconds,
    }


def measure_path(count: int = 200, repeats: int = 5) -> dict:
    """A band path of the two-atom cell, seconds in all."""
    h, s, structure = load()
    kpts = np.linspace([0, 0, 0], [1 / 3, 1 / 3, 0], count)
    theirs = to_sisl(h, s, structure)
    theirs.finalize()
    our_seconds, ours = fastest(lambda: solve_bands(h, s, kpts).energies, repeats)
    sisl_seconds, expected = fastest(lambda: np.array([theirs.eigh(k) for k in kpts]), repeats)
    return _compare("path", count, our_seconds, sisl_seconds, np.abs(ours - expected).max())


def measure_mesh(n: int = 40, repeats: int = 3) -> dict:
    """An n x n mesh reduced by time reversal, both programs on the same k-points."""
    h, s, structure = load()
    mesh = make_mesh((n, n, 1), gamma=True)
    theirs = to_sisl(h, s, structure)
    theirs.finalize()
    our_seconds, ours = fastest(lambda: solve_bands(h, s, make_mesh((n, n, 1), gamma=True).kpts).energies, repeats)
    sisl_seconds, expected = fastest(lambda: np.array([theirs.eigh(k) for k in mesh.kpts]), repeats)
    return _compare("mesh", len(mesh), our_seconds, sisl_seconds, np.abs(ours - expected).max())


def measure_irreducible(n: int = 40, repeats: int = 3) -> dict:
    """The same mesh of a Hamiltonian with the symmetry of its crystal: search, verification and irreducible k-points are ours."""
    h, s, structure = load(symmetric=True)
    full = make_mesh((n, n, 1), gamma=True)
    theirs = to_sisl(h, s, structure)
    theirs.finalize()

    def solve():
        mesh = reduce_mesh(make_mesh((n, n, 1), gamma=True), BlochSum(h, s), structure)
        return mesh, solve_bands(h, s, mesh.kpts).energies

    our_seconds, (mesh, ours) = fastest(solve, repeats)
    sisl_seconds, expected = fastest(lambda: np.array([theirs.eigh(k) for k in full.kpts]), repeats)
    row = _compare("irreducible", len(full), our_seconds, sisl_seconds, np.abs(mesh.unfold(ours) - full.unfold(expected)).max())
    return row | {"irreducible_kpts": len(mesh)}


def measure_window(n_orbitals: int = 1664, n_states: int = 40) -> dict:
    """The states next to the Fermi level at one k-point, against all states by the dense solver."""
    n1, n2, _ = REPEATS[n_orbitals]
    h, s, _ = load(n1, n2)
    kpts = random_kpts(1)
    window_seconds, window = fastest(lambda: solve_window(h, s, kpts, 0.0, n_states), 1)
    dense_seconds, bands = fastest(lambda: solve_bands(h, s, kpts).energies[0], 1)
    nearest = np.sort(bands[np.argsort(np.abs(bands))[:n_states]])
    return {
        "case": "window",
        "orbitals": h.n_orbitals,
        "states": n_states,
        "largest_difference_ev": float(np.abs(window.energies[0] - nearest).max()),
        "window_cpu_s": window_seconds,
        "dense_cpu_s": dense_seconds,
        "dense_over_window": dense_seconds / window_seconds,
    }


def measure_tetrahedron(n: int = 24, points: int = 1000) -> dict:
    """The tetrahedron DOS of an n x n mesh against ASE's on the same tetrahedra.

    Ours are means over bins, ASE's values at points: the agreement is that of our values at points, which are timed too.
    """
    h, s, structure = load()
    mesh = make_mesh((n, n, 1), gamma=True)
    energies = mesh.unfold(solve_bands(h, s, mesh.kpts).energies)[..., :12]
    grid = np.linspace(-20, 15, points)
    our_seconds, _ = fastest(lambda: compute_dos_tetrahedron(energies, structure.cell, grid, spin_degeneracy=1), 3)
    point_seconds, ours = fastest(
        lambda: compute_dos_tetrahedron(energies, structure.cell, grid, spin_degeneracy=1, pointwise=True), 3
    )
    expected = np.empty((1, points))
    corners, weights = split_cell(structure.cell, mesh.size), np.ones((*energies.shape, 1))
    ase_seconds, _ = fastest(lambda: lti_dos(corners, energies, weights, grid, expected, world), 1)
    return {
        "case": "tetrahedron",
        "kpts": n * n,
        "grid": points,
        "largest_difference": float(np.abs(ours - expected[0] / n**2).max()),
        "ours_cpu_s": our_seconds,
        "ours_pointwise_cpu_s": point_seconds,
        "ase_cpu_s": ase_seconds,
        "ase_over_ours": ase_seconds / our_seconds,
    }


def _compare(case: str, kpts: int, ours: float, theirs: float, difference: float) -> dict:
    return {
        "case": case,
        "orbitals": 26,
        "kpts": kpts,
        "largest_difference_ev": float(difference),
        "ours_cpu_s": ours,
        "sisl_cpu_s": theirs,
        "sisl_over_ours": theirs / ours,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    single = {"path": measure_path, "mesh": measure_mesh, "irreducible": measure_irreducible, "tetrahedron": measure_tetrahedron}
    parser.add_argument("--cases", nargs="+", choices=[*single, "dense", "window"], default=[*single, "dense", "window"])
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(REPEATS), default=[26, 208, 936, 1664])
    parser.add_argument("--window", type=int, choices=list(REPEATS), default=1664, help="orbitals of the window case")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kspace.json")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    calls = [single[case] for case in options.cases if case in single]
    calls += [lambda n=n: measure_dense(n) for n in options.sizes if "dense" in options.cases]
    calls += [lambda: measure_window(options.window)] if "window" in options.cases else []
    rows = []
    for call in calls:
        rows.append(call())
        print(
            "  ".join(f"{key} {value if isinstance(value, str) else format(value, '.3g')}" for key, value in rows[-1].items()),
            flush=True,
        )
    write_result(options.out, describe_machine("numpy", "scipy", "torch", "sisl") | {"cases": rows})


if __name__ == "__main__":
    main()
