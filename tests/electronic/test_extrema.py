import numpy as np
import pytest

from ase_tracegrad.electronic.extrema import MOST_VALLEYS, find_minima, find_valleys

STEP = np.array([1 / 7, 1 / 7, 0])


def on_mesh(function, size=(7, 7, 1)):
    axes = [np.arange(n) / n for n in size]
    return function(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)).reshape(size)


def two_valleys(kpts, deeper=0.1):
    """Minima at (2/7, 0), on the mesh, and (2/7 + 1/2, 0), off the mesh and lower by 2 * deeper."""
    x = kpts[:, 0] - 2 / 7
    return -np.cos(4 * np.pi * x) + deeper * np.cos(2 * np.pi * x) - np.cos(2 * np.pi * kpts[:, 1])


def test_valleys_are_points_without_lower_neighbours():
    values = on_mesh(two_valleys)
    found = find_valleys(values, np.arange(49))
    places = np.column_stack(np.unravel_index(found, (7, 7, 1)))
    assert places[0].tolist() == [2, 0, 0], "the lowest on the mesh first"
    assert sorted(places.tolist()) == [[2, 0, 0], [5, 0, 0], [6, 0, 0]], "the other valley is half way between two points"


def test_valleys_that_cannot_win_are_left_out():
    values = on_mesh(lambda kpts: two_valleys(kpts, deeper=-2.0))
    assert find_valleys(values, np.arange(49)).tolist() == [np.argmin(values)]


def test_one_of_equivalent_points_and_not_too_many():
    flat = np.zeros((4, 4, 1))
    assert find_valleys(flat, np.zeros(16, dtype=int)).tolist() == [0]
    assert len(find_valleys(flat, np.arange(16))) == MOST_VALLEYS


def test_the_lowest_of_several_minima_wins():
    values = on_mesh(two_valleys)
    points = find_valleys(values, np.arange(49))
    starts = np.column_stack(np.unravel_index(points, (7, 7, 1))) / 7
    calls = []

    def functions(kpts):
        calls.append(len(kpts))
        return np.column_stack([two_valleys(kpts), -two_valleys(kpts, deeper=0.0)])

    centers, found = find_minima(functions, [starts, np.array([[0.0, 3 / 7, 0]])], STEP, 1e-9)
    assert found[0] == pytest.approx(-2.1, abs=1e-8)
    assert centers[0] % 1 == pytest.approx([2 / 7 + 1 / 2, 0, 0], abs=1e-4)
    assert found[1] == pytest.approx(-2.0, abs=1e-8)
    alone, value = find_minima(functions, [starts[:1], starts[:1]], STEP, 1e-9)
    assert value[0] == pytest.approx(-1.9, abs=1e-8), "from the best point of the mesh alone the lower valley is missed"
    assert alone[0] == pytest.approx([2 / 7, 0, 0], abs=1e-4)
