"""Bands, meshes, windows and DOS of graphene cells against sisl, scipy and ASE: CPU time, one thread, same process.

    python benchmarks/kspace.py [--cases path mesh irreducible dense window tetrahedron] [--sizes 26 208 936 1664]
                                [--window 1664] [--out FILE]

H(R) and S(R) are CP2K's of the two-atom cell (tests/data), repeated n x n for the larger sizes. Every program gets the same
matrices and the same k-points, and each case says how far the answers differ. What is done once for a structure is not
timed: BlochSum here, sisl's finalize there; but the case irreducible times all of it on our side, with the search for the
symmetry and its verification. Columns: torch, mkl where the package is installed, and inversion, which
makes H(k) real and is not part of a gate. Each case is written when it is done; a later run of the same commit on the same
machine adds its cases to the file, so that the largest, --cases window --window 3744, can run alone. Needs sisl.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy
import torch
from ase.dft.dos import lti_dos
from ase.parallel import world
from graphene_cells import read_graphene, repeat, repeat_structure
from measure import describe_machine, fastest, write_result

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.dos import compute_dos_tetrahedron, split_cell
from ase_tracegrad.electronic.eigen import solve_bloch
from ase_tracegrad.electronic.export import to_sisl
from ase_tracegrad.electronic.inversion import find_inversion
from ase_tracegrad.electronic.irreducible import reduce_mesh
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic.mkl import find_mkl
from ase_tracegrad.electronic.resources import Machine
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import symmetrize
from ase_tracegrad.electronic.window import solve_window
from ase_tracegrad.structure import Structure

# Orbitals -> cells along both axes, k-points measured.
REPEATS = {26: (1, 1, 200), 104: (2, 2, 80), 208: (4, 2, 40), 936: (6, 6, 6), 1664: (8, 8, 4), 3744: (12, 12, 1)}
TORCH = Machine(threads=1, library="torch")
# Case, orbitals, column, target: what the column of a row should be at least, for differences at most.
GATES = (
    ("path", 26, "sisl_over_torch", 2.8),
    ("mesh", 26, "sisl_over_torch", 2.3),
    ("irreducible", 26, "sisl_over_torch", 12),
    ("irreducible", 26, "largest_difference_ev", 1e-3),
    ("dense", 208, "sisl_over_torch", 1.1),
    ("dense", 208, "sisl_over_mkl", 1.4),
    ("dense", 936, "sisl_over_torch", 1.6),
    ("dense", 936, "sisl_over_mkl", 2.2),
    ("dense", 1664, "sisl_over_torch", 1.7),
    ("dense", 1664, "sisl_over_mkl", 2.5),
    ("window", 3744, "sisl_over_window", 4),
    ("tetrahedron", 26, "ase_over_ours", 100),
    ("tetrahedron", 26, "largest_difference", 1e-8),
)


def load(n1: int = 1, n2: int = 1, *, symmetric: bool = False) -> tuple[BlockMatrix, BlockMatrix, Structure]:
    """H, S and the structure of an n1 x n2 cell; symmetric: projected onto the space group."""
    sample = read_graphene()
    h, s, structure = sample.hamiltonian, sample.overlap, sample.structure
    if symmetric:
        group = find_space_group(structure)
        h, s = symmetrize(h, group), symmetrize(s, group)
    return repeat(h, n1, n2), repeat(s, n1, n2), repeat_structure(structure, n1, n2)


def random_kpts(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, size=(count, 3)) * [1, 1, 0]


def prepare(n1: int = 1, n2: int = 1, *, symmetric: bool = False):
    """BlochSum, sisl's Hamiltonian and the structure of an n1 x n2 cell, arranged for many k-points."""
    h, s, structure = load(n1, n2, symmetric=symmetric)
    theirs = to_sisl(h, s, structure)
    theirs.finalize()
    return BlochSum(h, s), theirs, structure


def measure_dense(n_orbitals: int, repeats: int = 3) -> dict:
    """All energies at random k-points, seconds of CPU per k-point."""
    n1, n2, count = REPEATS[n_orbitals]
    kpts = random_kpts(count)
    sums, theirs, structure = prepare(n1, n2)
    row = compare_with_sisl("dense", sums, theirs, kpts, repeats)
    real = sums.with_inversion(find_inversion(structure))
    row["inversion_cpu_s"], _ = fastest(lambda: solve_bloch(real, kpts, machine=TORCH), min(repeats, 2))
    pairs = (sums.build([k]) for k in kpts)
    row["scipy_cpu_s"], _ = fastest(lambda: [scipy.linalg.eigh(h[0], s[0], eigvals_only=True) for h, s in pairs], 1)
    return row


def measure_path(count: int = 200, repeats: int = 5) -> dict:
    """A band path of the two-atom cell, seconds in all."""
    sums, theirs, _ = prepare()
    return compare_with_sisl("path", sums, theirs, np.linspace([0, 0, 0], [1 / 3, 1 / 3, 0], count), repeats)


def measure_mesh(n: int = 40, repeats: int = 3) -> dict:
    """An n x n mesh reduced by time reversal, both programs on the same k-points."""
    sums, theirs, _ = prepare()
    return compare_with_sisl("mesh", sums, theirs, make_mesh((n, n, 1), gamma=True).kpts, repeats)


def compare_with_sisl(case: str, sums: BlochSum, theirs, kpts: np.ndarray, repeats: int) -> dict:
    """All energies at kpts by torch, by MKL where it is installed, and by sisl, in turns."""
    machines = {"torch": TORCH} | ({"mkl": Machine(threads=1, library="mkl")} if find_mkl() is not None else {})
    seconds: dict[str, float] = {}
    expected, difference = None, 0.0
    for _ in range(repeats):
        taken, expected = fastest(lambda: np.array([theirs.eigh(k) for k in kpts]), 1)
        seconds["sisl"] = min(seconds.get("sisl", np.inf), taken)
        for name, machine in machines.items():
            taken, found = fastest(lambda machine=machine: solve_bloch(sums, kpts, machine=machine).energies, 1)
            seconds[name] = min(seconds.get(name, np.inf), taken)
            difference = max(difference, float(np.abs(found - expected).max()))
    row = {"case": case, "orbitals": sums.n_orbitals, "kpts": len(kpts), "largest_difference_ev": difference}
    row |= {f"{name}_cpu_s": taken for name, taken in seconds.items()}
    return row | {f"sisl_over_{name}": seconds["sisl"] / seconds[name] for name in machines}


def measure_irreducible(n: int = 40, repeats: int = 3) -> dict:
    """The same mesh of a Hamiltonian with the symmetry of its crystal, reduced and solved; sisl on the points of time reversal."""
    sums, theirs, structure = prepare(symmetric=True)
    full = make_mesh((n, n, 1), gamma=True)

    def solve():
        ours = BlochSum(sums.hamiltonian, sums.overlap).with_inversion(find_inversion(structure))
        mesh = reduce_mesh(make_mesh((n, n, 1), gamma=True), ours, structure)
        return mesh, solve_bloch(ours, mesh.kpts, machine=TORCH).energies

    seconds, (mesh, found) = fastest(solve, repeats)
    sisl_seconds, expected = fastest(lambda: np.array([theirs.eigh(k) for k in full.kpts]), repeats)
    return {
        "case": "irreducible",
        "orbitals": sums.n_orbitals,
        "kpts": len(full),
        "irreducible_kpts": len(mesh),
        "largest_difference_ev": float(np.abs(mesh.unfold(found) - full.unfold(expected)).max()),
        "sisl_cpu_s": sisl_seconds,
        "torch_cpu_s": seconds,
        "sisl_over_torch": sisl_seconds / seconds,
    }


def measure_window(n_orbitals: int = 1664, n_states: int = 40) -> dict:
    """The states next to the Fermi level at one k-point, against all states by the dense solver and by sisl."""
    n1, n2, _ = REPEATS[n_orbitals]
    sums, theirs, _ = prepare(n1, n2)
    kpts, one = random_kpts(1), Machine(threads=1)
    h, s = sums.hamiltonian, sums.overlap
    window_seconds, window = fastest(lambda: solve_window(h, s, kpts, 0.0, n_states, machine=one), 1)
    dense_seconds, bands = fastest(lambda: solve_bloch(sums, kpts, machine=one).energies[0], 1)
    sisl_seconds, _ = fastest(lambda: theirs.eigh(kpts[0]), 1)
    nearest = np.sort(bands[np.argsort(np.abs(bands))[:n_states]])
    return {
        "case": "window",
        "orbitals": sums.n_orbitals,
        "states": n_states,
        "route": window.route,
        "largest_difference_ev": float(np.abs(window.energies[0] - nearest).max()),
        "window_cpu_s": window_seconds,
        "dense_cpu_s": dense_seconds,
        "sisl_cpu_s": sisl_seconds,
        "dense_over_window": dense_seconds / window_seconds,
        "sisl_over_window": sisl_seconds / window_seconds,
    }


def measure_tetrahedron(n: int = 24, points: int = 1000) -> dict:
    """The tetrahedron DOS of an n x n mesh against ASE's on the same tetrahedra.

    Ours are means over bins, ASE's values at points: the agreement is that of our values at points, which are timed too.
    """
    h, s, structure = load()
    mesh = make_mesh((n, n, 1), gamma=True)
    energies = mesh.unfold(solve_bloch(BlochSum(h, s), mesh.kpts).energies)[..., :12]
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
        "orbitals": h.n_orbitals,
        "kpts": n * n,
        "grid": points,
        "largest_difference": float(np.abs(ours - expected[0] / n**2).max()),
        "ours_cpu_s": our_seconds,
        "ours_pointwise_cpu_s": point_seconds,
        "ase_cpu_s": ase_seconds,
        "ase_over_ours": ase_seconds / our_seconds,
    }


def compare_with_gates(rows: list[dict]) -> dict:
    """Target and what was found for each gate whose case was run with its column."""
    found = {(row["case"], row["orbitals"]): row for row in rows}
    return {
        f"{case}, N = {orbitals}, {column.replace('_', ' ')}": {"target": target, "found": found[case, orbitals][column]}
        for case, orbitals, column, target in GATES
        if column in found.get((case, orbitals), {})
    }


def read_rows(path: Path, machine: dict) -> list[dict]:
    """Cases that were measured before by the same program on the same machine."""
    before = json.loads(path.read_text()) if path.is_file() else {}
    same = all(before.get(key) == machine[key] for key in ("commit", "uncommitted", "machine", "versions"))
    return before["cases"] if same and not machine["uncommitted"] else []


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
    machine = describe_machine("numpy", "scipy", "torch", "sisl")
    rows = read_rows(options.out, machine)
    for call in calls:
        row = {**call(), "load": os.getloadavg()[0]}
        print("  ".join(f"{key} {x if isinstance(x, str) else format(x, '.3g')}" for key, x in row.items()), flush=True)
        rows = [other for other in rows if (other["case"], other["orbitals"]) != (row["case"], row["orbitals"])] + [row]
        write_result(options.out, machine | {"gates": compare_with_gates(rows), "cases": rows})


if __name__ == "__main__":
    main()
