"""The k-space benchmark at its smallest sizes: every case runs and the programs agree."""

import numpy as np
import pytest


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
    solve = benchmark.solve_bands
    together = np.sort(solve(*primitive[:2], folded).energies.ravel())
    assert np.abs(together - solve(h, s, [[0, 0, 0]]).energies[0]).max() < 1e-8
