"""The k-space benchmark at its smallest sizes: every case runs and the programs agree."""

import numpy as np
import pytest

from ase_tracegrad.electronic.eigen import solve_bands


@pytest.fixture
def benchmark(load_benchmark):
    pytest.importorskip("sisl", reason="sisl is not installed")
    return load_benchmark("kspace")


def test_against_sisl(benchmark):
    rows = [
        benchmark.measure_path(12, repeats=1),
        benchmark.measure_mesh(4, repeats=1),
        benchmark.measure_irreducible(6, repeats=1),
    ]
    assert [row["kpts"] for row in rows] == [12, 10, 20]
    assert rows[2]["irreducible_kpts"] == 7
    assert all(row["largest_difference_ev"] < 1e-9 for row in rows)


def test_dense_window_and_tetrahedra(benchmark):
    assert benchmark.measure_dense(26, repeats=1)["largest_difference_ev"] < 1e-9
    assert benchmark.measure_window(104, 6)["largest_difference_ev"] < 1e-8
    assert benchmark.measure_tetrahedron(6, 200)["largest_difference"] < 1e-8


def test_repeated_cells_hold_the_same_states(benchmark):
    h, s, structure = benchmark.load(2, 3)
    assert len(structure) == 12
    primitive = benchmark.load()
    folded = [[i / 2, j / 3, 0] for i in range(2) for j in range(3)]
    together = np.sort(solve_bands(*primitive[:2], folded).energies.ravel())
    assert np.abs(together - solve_bands(h, s, [[0, 0, 0]]).energies[0]).max() < 1e-8


def test_rows_of_the_same_commit_are_kept_and_gates_follow(benchmark, tmp_path):
    machine = {"commit": "a", "uncommitted": False, "machine": "m", "versions": {"numpy": "2"}}
    rows = [{"case": "path", "orbitals": 26, "sisl_over_torch": 3.0}, {"case": "dense", "orbitals": 104}]
    path = tmp_path / "kspace.json"
    assert benchmark.read_rows(path, machine) == []
    benchmark.write_result(path, machine | {"cases": rows})
    assert benchmark.read_rows(path, machine) == rows
    assert benchmark.read_rows(path, machine | {"commit": "b"}) == []
    assert benchmark.compare_with_gates(rows) == {"path, N = 26, sisl over torch": {"target": 2.8, "found": 3.0}}
