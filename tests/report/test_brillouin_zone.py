"""The Brillouin zone: its volume, its planes, and that it holds the special points of the lattice."""

import numpy as np
import pytest
from ase.build import bulk, graphene
from ase.cell import Cell
from scipy.spatial import ConvexHull

from ase_tracegrad.report.brillouin_zone import describe_zone, find_zone_faces

CELLS = {
    "fcc": bulk("Si").cell,
    "bcc": bulk("Fe").cell,
    "hexagonal": bulk("Mg").cell,
    "triclinic": Cell([[3.1, 0, 0], [0.7, 4.0, 0], [-0.9, 1.1, 5.2]]),
    "skewed": Cell(np.array([[1, 0, 0], [5, 1, 0], [-3, 7, 1]]) @ bulk("Si").cell),
}


@pytest.mark.parametrize("name", CELLS)
def test_zone_of_a_crystal(name):
    reciprocal = 2 * np.pi * CELLS[name].reciprocal()
    faces = find_zone_faces(reciprocal)
    assert ConvexHull(np.concatenate(faces)).volume == pytest.approx(abs(np.linalg.det(reciprocal)), rel=1e-6)
    for face in faces:
        normal = np.cross(face[1] - face[0], face[2] - face[0])
        normal *= (face[0] @ normal) / (normal @ normal)  # from the origin to the plane
        assert np.allclose(face @ normal, normal @ normal, rtol=1e-6), "the corners of a face lie in a plane"
        steps = np.linalg.solve(reciprocal.T, 2 * normal)
        assert np.allclose(steps, np.rint(steps), atol=1e-6), "which halves a reciprocal lattice vector"
        turns = np.cross(np.roll(face, -1, axis=0) - face, np.roll(face, -2, axis=0) - np.roll(face, -1, axis=0)) @ normal
        assert (turns > 0).all() or (turns < 0).all(), "corners in order around the face"


def test_numbers_of_faces():
    counts = {name: len(find_zone_faces(2 * np.pi * cell.reciprocal())) for name, cell in CELLS.items()}
    assert counts == {"fcc": 14, "bcc": 12, "hexagonal": 8, "triclinic": 14, "skewed": 14}


def test_zone_of_a_sheet_holds_its_path():
    cell = graphene(a=2.46, vacuum=5.0).cell
    zone = describe_zone(cell.bandpath("GMKG", pbc=(1, 1, 0), npoints=9), (True, True, False))
    assert [point["name"] for point in zone["points"]] == ["Γ", "M", "K"]
    assert zone["segments"] == [[0, 1], [1, 2], [2, 0]]
    (hexagon,) = zone["faces"]
    k = next(point["at"] for point in zone["points"] if point["name"] == "K")
    assert len(hexagon) == 6
    assert np.linalg.norm(hexagon - k, axis=1).min() < 1e-6, "K is a corner"
    assert np.linalg.norm(k) == pytest.approx(4 * np.pi / (3 * 2.46))


def test_chains_and_molecules():
    cell = Cell.fromcellpar([4, 9, 9, 90, 90, 90])
    path = cell.bandpath("GX", pbc=(1, 0, 0), npoints=4)
    zone = describe_zone(path, (True, False, False))
    assert np.allclose(np.abs(zone["faces"][0][:, 0]), np.pi / 4)
    assert describe_zone(path, (False, False, False)) is None
