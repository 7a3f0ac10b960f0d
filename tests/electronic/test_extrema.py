import numpy as np
import pytest

from ase_tracegrad.electronic.extrema import MOST_VALLEYS, find_minima, find_neighbours, find_valleys

PLANE = np.array([[1, 0, 0], [0, 1, 0]])


def on_mesh(function, size=(7, 7, 1)):
    axes = [np.arange(n) / n for n in size]
    return function(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)).reshape(size)


def two_valleys(kpts, deeper=0.1):
    """Minima at (2/7, 0), on the mesh, and (2/7 + 1/2, 0), off the mesh and lower by 2 * deeper."""
    x = kpts[:, 0] - 2 / 7
    return -np.cos(4 * np.pi * x) + deeper * np.cos(2 * np.pi * x) - np.cos(2 * np.pi * kpts[:, 1])


def test_valleys_are_points_without_lower_neighbours():
    values = on_mesh(two_valleys)
    found = find_valleys(values, np.arange(49), PLANE)
    places = np.column_stack(np.unravel_index(found, (7, 7, 1)))
    assert places[0].tolist() == [2, 0, 0], "the lowest on the mesh first"
    assert sorted(places.tolist()) == [[2, 0, 0], [5, 0, 0], [6, 0, 0]], "the other valley is half way between two points"


def test_valleys_that_cannot_win_are_left_out():
    values = on_mesh(lambda kpts: two_valleys(kpts, deeper=-2.0))
    assert find_valleys(values, np.arange(49), PLANE).tolist() == [np.argmin(values)]


def test_one_of_equivalent_points_and_not_too_many():
    flat = np.zeros((4, 4, 1))
    assert find_valleys(flat, np.zeros(16, dtype=int), PLANE).tolist() == [0]
    assert len(find_valleys(flat, np.arange(16), PLANE)) == MOST_VALLEYS


def test_the_lowest_of_several_minima_wins():
    values = on_mesh(two_valleys)
    points = find_valleys(values, np.arange(49), PLANE)
    starts = np.column_stack(np.unravel_index(points, (7, 7, 1))) / 7
    calls = []

    def functions(kpts):
        calls.append(len(kpts))
        return np.column_stack([two_valleys(kpts), -two_valleys(kpts, deeper=0.0)])

    centers, found = find_minima(functions, [starts, np.array([[0.0, 3 / 7, 0]])], PLANE / 7, 1e-9)
    assert found[0] == pytest.approx(-2.1, abs=1e-8)
    assert centers[0] % 1 == pytest.approx([2 / 7 + 1 / 2, 0, 0], abs=1e-4)
    assert found[1] == pytest.approx(-2.0, abs=1e-8)
    alone, value = find_minima(functions, [starts[:1], starts[:1]], PLANE / 7, 1e-9)
    assert value[0] == pytest.approx(-1.9, abs=1e-8), "from the best point of the mesh alone the lower valley is missed"
    assert alone[0] == pytest.approx([2 / 7, 0, 0], abs=1e-4)


SKEW = np.array([[2, 1, 0], [7, 4, 0], [0, 0, 1]])


def test_neighbours_are_the_shortest_steps():
    square = np.diag([3.0, 3.0, 20.0])
    for cell in (square, SKEW @ square, np.array([[1, 5, 0], [0, 1, 0], [2, 1, 1]]) @ square):
        steps = find_neighbours(cell, (6, 6, 1), [True, True, False])
        lengths = np.linalg.norm((steps / 6)[:, :2] @ np.linalg.pinv(cell[:2]).T, axis=1)
        assert lengths == pytest.approx(1 / 18)
        assert abs(np.linalg.det(steps[:, :2])) == pytest.approx(1)
        assert not steps[:, 2].any()
    assert find_neighbours(square, (6, 3, 1), [True, True, True])[2].tolist() == [0, 0, 1]
    assert find_neighbours(square, (1, 1, 1), [False] * 3).shape == (0, 3)


def test_a_cone_in_a_skew_cell_is_followed_to_its_tip():
    """E = |k - k0| in Cartesian coordinates: the number of k-points and the end do not depend on how the cell is written."""
    tip, counts = np.array([0.123, 0.071]), []
    for matrix in (np.eye(3), SKEW):
        cell = matrix @ np.diag([3.0, 3.0, 20.0])
        reciprocal = np.linalg.inv(cell).T
        calls = []

        def cone(kpts, reciprocal=reciprocal, calls=calls):
            calls.append(len(kpts))
            return np.linalg.norm((kpts @ reciprocal)[:, :2] - tip, axis=1)[:, None]

        steps = find_neighbours(cell, (8, 8, 1), [True, True, False]) / 8
        _, found = find_minima(cone, [np.zeros((1, 3))], steps, 1e-6)
        assert found[0] < 1e-6
        counts.append(sum(calls))
    assert counts[1] < 2 * counts[0]
