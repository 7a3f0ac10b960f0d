"""kpts in every form ASE users write, and the forms ASE itself misreads."""

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule
from ase.calculators.calculator import InputError, kpts2ndarray
from ase.dft.kpoints import monkhorst_pack

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.kpoints import dos_mesh, make_band_path, normalise_kpts, special_points
from tests.standin_model import StandInPredictor

SILICON = bulk("Si")
SHEET = graphene(vacuum=5.0)


@pytest.mark.parametrize(
    "kpts",
    [
        (2, 3, 4),
        [4, 4, 1],
        {"size": (4, 4, 4)},
        {"size": (4, 4, 3), "gamma": True},
        {"size": (3, 3, 3), "gamma": False},
        {"size": (4, 3, 2), "gamma": False},
        {"density": 2.0},
        {"density": 2.0, "gamma": True, "even": True},
        {"density": 2.0, "gamma": True, "even": False},
        {"density": 2.0, "even": None},
        {"path": "GXL", "npoints": 20},
        {"path": "GX,UL", "density": 5},
        [[0.0, 0, 0], [0.25, 0.5, 0]],
        {"kpts": [[0.1, 0, 0]]},
        None,
    ],
    ids=str,
)
def test_same_points_as_ase(kpts):
    found = normalise_kpts(kpts, SILICON)
    assert np.allclose(found.mesh.full_kpts, kpts2ndarray(kpts, SILICON))
    assert np.isclose(found.mesh.weights.sum(), 1)
    listed = (isinstance(kpts, dict) and ("path" in kpts or "kpts" in kpts)) or np.ndim(kpts) == 2
    assert (found.mesh.size is None) == listed
    assert (found.path is not None) == (isinstance(kpts, dict) and "path" in kpts)


def test_mesh_is_reduced_by_time_reversal_only():
    mesh = normalise_kpts((4, 4, 4), SILICON).mesh
    assert len(mesh.kpts) == 32
    assert np.allclose(mesh.full_kpts, monkhorst_pack((4, 4, 4)))
    difference = mesh.kpts[mesh.full_to_irreducible]
    for full, reduced in zip(mesh.full_kpts, difference, strict=True):
        assert any(np.allclose((s * full - reduced) - np.rint(s * full - reduced), 0) for s in (1, -1))


@pytest.mark.parametrize("kpts", [np.array([2, 2, 2]), tuple(np.array([2, 2, 2])), np.array([2, 2, 2], dtype=np.int32)])
def test_numpy_integers_are_a_mesh(kpts):
    """kpts2kpts makes one k-point of shape (3,) of these (ASE 3.29)."""
    assert normalise_kpts(kpts, SILICON).mesh.size == (2, 2, 2)


def test_a_float_is_a_density():
    found = normalise_kpts(2.0, SILICON)
    assert np.allclose(found.mesh.full_kpts, kpts2ndarray({"density": 2.0, "gamma": True}, SILICON))


def test_band_path_and_kmesh_objects():
    path = SILICON.cell.bandpath("GX", npoints=7)
    assert normalise_kpts(path, SILICON).path is path
    mesh = make_mesh((2, 2, 1), gamma=True)
    assert normalise_kpts(mesh, SILICON).mesh is mesh
    assert normalise_kpts(normalise_kpts(mesh, SILICON), SILICON).mesh is mesh


def test_two_dimensional_paths_and_densities_skip_the_vacuum():
    assert normalise_kpts({"density": 3.0}, SHEET).mesh.size[2] == 1
    assert np.all(normalise_kpts({"path": "GMK", "npoints": 10}, SHEET).path.kpts[:, 2] == 0)


@pytest.mark.parametrize(
    ("kpts", "message"),
    [
        ((2.0, 2.0, 2.0), "three integers"),
        ((0.25, 0.25, 0.25), "for one k-point"),
        ((0, 2, 2), "positive"),
        ((2, 2), "expected"),
        ([[0, 0]], "expected"),
        ([[0, 0, np.nan]], "expected"),
        ([[0, 0, 0], [1, 2]], "expected"),
        ([], "expected"),
        ("GX", "'path': 'GX'"),
        (("a", "b", "c"), "expected"),
        ({"size": (2, 2, 2), "density": 3.0}, "not both"),
        ({"path": "GX", "size": (2, 2, 2)}, "cannot stand beside"),
        ({"kpts": [[0, 0, 0]], "gamma": True}, "cannot stand beside"),
        ({"sise": (2, 2, 2)}, "unknown key 'sise': did you mean 'size'"),
        ({"densty": 3}, "unknown key 'densty': did you mean 'density'"),
        ({"density": "high"}, "positive number"),
        ({"path": "GXL", "npoints": 2}, "npoints=2 is too few for the path GXL"),
        ({"density": -1.0}, "positive"),
        (float("nan"), "positive"),
        ({"path": "GQ", "npoints": 5}, "special points G, K"),
        ({"path": "g-x"}, "special points"),
    ],
    ids=str,
)
def test_wrong_kpts_say_what_is_expected(kpts, message):
    with pytest.raises(InputError, match=message):
        normalise_kpts(kpts, SILICON)


FORMS = [(2.0, 2.0, 2.0), (0, 2, 2), [], "GX", {"densty": 3}, {"density": -1.0}, -2.0, {"size": (2, 2)}, {"path": "GX", "size": 3}]


@pytest.mark.parametrize("name", ["kpts", "fermi_kpts"])
@pytest.mark.parametrize("kpts", FORMS, ids=str)
def test_wrong_forms_are_found_at_once(name, kpts):
    calc = TraceGradCalculator(StandInPredictor())
    with pytest.raises(InputError):
        calc.set(**{name: kpts})
    with pytest.raises(InputError):
        TraceGradCalculator(calc.predictor, **{name: kpts})


@pytest.mark.parametrize("ask", ["band_gap", "dos", "projected_dos", "populations"])
def test_wrong_kpts_cost_no_prediction(ask):
    calc = TraceGradCalculator(StandInPredictor())
    with pytest.raises(InputError, match="three integers"):
        getattr(calc, ask)(kpts=(0.5, 0, 0), atoms=SILICON)
    assert calc.predictor.batches == []


def test_default_path_leaves_out_vacuum():
    slab = SHEET.copy()
    slab.pbc = True
    assert make_band_path(slab).path.startswith("GMKG")
    assert "A" in make_band_path(slab).path
    assert make_band_path(slab, dispersive=(True, True, False)).path == "GMKG"
    assert make_band_path(slab, "GA", dispersive=(True, True, False)).path == "GA"


def test_path_of_a_cell_without_third_vector_and_of_molecules():
    assert make_band_path(graphene(), npoints=12).path == "GMKG"
    for vacuum in (None, 3.0):
        single = make_band_path(molecule("CH4", vacuum=vacuum))
        assert single.kpts.tolist() == [[0, 0, 0]]
        assert single.path == "G"
    with pytest.raises(InputError, match="molecule"):
        make_band_path(molecule("CH4"), "GX")


def test_path_that_contradicts_npoints():
    path = SILICON.cell.bandpath("GX", npoints=7)
    assert make_band_path(SILICON, path) is path
    with pytest.raises(InputError, match="contradicts"):
        make_band_path(SILICON, path, 50)
    with pytest.raises(InputError, match="positive"):
        make_band_path(SILICON, "GX", 0)
    with pytest.raises(InputError, match="expected special points such as 'GMKG'"):
        make_band_path(SILICON, "")
    with pytest.raises(InputError, match="too few for the path GXLK, which alone names 4"):
        make_band_path(SILICON, "GXLK", 3)


def test_special_points():
    corners = special_points(SHEET)
    assert np.abs(corners - [1 / 3, 1 / 3, 0]).sum(axis=1).min() < 1e-9
    assert np.all(corners[:, 2] == 0)
    assert len(special_points(molecule("CH4"))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_special_points_of_odd_cells(seed):
    """Left-handed, skewed and needle-like cells: ASE's lattice recognition must not stop a calculation."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si")
    atoms.set_cell(rng.normal(size=(3, 3)) * [[3.0], [1.0 + seed], [20.0]])
    assert len(special_points(atoms)) >= 8
    atoms.pbc = (True, True, False)
    assert len(special_points(atoms)) >= 4


def test_the_mesh_of_a_dos_holds_the_points_where_bands_touch():
    mesh = normalise_kpts(dos_mesh(SHEET), SHEET).mesh
    for point in ([1 / 3, 1 / 3, 0], [0.5, 0, 0], [0, 0, 0]):
        away = mesh.full_kpts - point
        assert np.abs(away - np.round(away)).max(axis=1).min() < 1e-9
    assert mesh.size[0] == mesh.size[1] <= 30
    assert mesh.size[2] == 1
    assert max(dos_mesh(SHEET * (40, 40, 1))["size"]) == 1


def test_a_mesh_of_no_points_is_refused_in_every_form():
    for size in ((0, 2, 2), (2, 2), (2.5, 2, 2)):
        with pytest.raises(InputError, match="three positive integers"):
            normalise_kpts({"size": size, "gamma": True}, SILICON)
