"""path='seekpath': the crystal's path in the cell the user gave, in every dimension."""

import sys

import numpy as np
import pytest
from ase.build import bulk, graphene, make_supercell, molecule
from ase.calculators.calculator import InputError

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.kmesh import name_kpt
from ase_tracegrad.kpoints import make_band_path, named_points
from tests.standin_model import StandInPredictor

needs_seekpath = pytest.mark.usefixtures("_seekpath")


@pytest.fixture
def _seekpath():
    pytest.importorskip("seekpath", reason="seekpath is not installed")


@needs_seekpath
def test_silicon_has_the_path_of_its_lattice():
    silicon = bulk("Si")
    path = make_band_path(silicon, "seekpath", 60)
    assert path.path == "GXU,KGLWX"
    assert len(path.kpts) == 60
    known = named_points(silicon)
    for name in "XLW":
        assert name_kpt(path.special_points[name], known) == name


@needs_seekpath
def test_the_points_belong_to_the_given_cell():
    """Another primitive cell of the same crystal, turned in space: the same energies at points of the same name."""
    silicon, other = bulk("Si"), bulk("Si")
    other.set_cell(np.array([[1, 1, 0], [0, 1, 2], [0, 0, 1]]) @ silicon.cell)
    other.rotate(33, (1, 2, 3), rotate_cell=True)
    found = []
    for atoms in (silicon, other):
        atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=(2, 2, 2))
        points = atoms.calc.band_structure("seekpath", 8).path.special_points
        found.append([atoms.calc.fixed_density(kpts=[points[name]]).get_eigenvalues(0) for name in "GXLWKU"])
    assert np.abs(points["X"] - make_band_path(silicon, "seekpath", 8).special_points["X"]).max() > 0.1
    assert np.abs(np.array(found[0]) - found[1]).max() < 1e-8


@needs_seekpath
def test_the_atoms_count():
    """An atom off its site makes a cubic lattice triclinic to those who see atoms; ASE's path stays that of the lattice."""
    silicon = bulk("Si")
    standard = make_band_path(silicon, "seekpath").path
    silicon.positions[1] += [0.1, 0.03, -0.05]
    assert make_band_path(silicon).path == make_band_path(bulk("Si")).path
    assert make_band_path(silicon, "seekpath").path != standard


@needs_seekpath
@pytest.mark.parametrize(("vacuum", "pbc"), [(None, (1, 1, 0)), (6.0, (1, 1, 0)), (6.0, True)])
def test_sheets(vacuum, pbc):
    sheet = graphene(a=2.46, vacuum=vacuum)
    sheet.pbc = pbc
    sheet.calc = TraceGradCalculator(StandInPredictor(), kpts=(3, 3, 1))
    bands = sheet.calc.band_structure("seekpath", 12)
    assert bands.path.path == "GMKG"
    assert not bands.path.kpts[:, 2].any()
    corner = bands.path.special_points["K"]
    assert name_kpt(corner, named_points(sheet)) == "K"
    assert np.ptp(sheet.calc.fixed_density(kpts=[corner]).get_eigenvalues(0)[3:5]) < 1e-6


@needs_seekpath
def test_chains_and_molecules():
    chain = molecule("C2H2", vacuum=4.0)
    chain.pbc, chain.cell[2, 2] = (0, 0, 1), 3.8
    path = make_band_path(chain, "seekpath", 9)
    assert len(path.path) == 2
    assert path.kpts[0].tolist() == [0, 0, 0]
    assert np.abs(path.kpts[-1]).tolist() == [0, 0, 0.5]
    assert make_band_path(molecule("CH4", vacuum=3.0), "seekpath").kpts.tolist() == [[0, 0, 0]]


@needs_seekpath
def test_a_supercell_gets_the_path_of_its_primitive_cell():
    import seekpath

    matrix = np.array([[2, 0, 0], [0, 1, 1], [0, 0, 1]])
    silicon = bulk("Si")
    with pytest.warns(seekpath.SupercellWarning):
        path = make_band_path(make_supercell(silicon, matrix), "seekpath", 10)
    # k.a of the supercell vectors is the matrix times that of the primitive ones.
    primitive = path.special_points["X"] @ np.linalg.inv(matrix).T
    assert name_kpt(primitive, named_points(silicon)) == "X"


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "seekpath", None)
    with pytest.raises(InputError, match="pip install seekpath"):
        make_band_path(bulk("Si"), "seekpath")
