"""Changed atoms, copies, threads and processes."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk, graphene

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.kmesh import make_mesh
from ase_tracegrad.electronic_structure import ElectronicStructure
from tests.calculator_cases import EMBEDDED, every_case, make_atoms, needs_embedded, no_energy_warning
from tests.standin_model import StandInPredictor

pytestmark = no_energy_warning


@pytest.mark.parametrize("change", ["positions", "cell", "numbers", "pbc"])
def test_every_change_of_the_atoms_is_noticed(change):
    atoms, _ = make_atoms("silicon")
    atoms.get_potential_energy()
    before = atoms.calc.get_eigenvalues(0).copy()
    if change == "positions":
        atoms.positions[0, 0] += 0.05
    elif change == "cell":
        atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    elif change == "numbers":
        atoms.numbers[0] = 6
    else:
        atoms.pbc = False
    # Without get_potential_energy() in between: the getters follow the attached atoms by themselves.
    after = atoms.calc.get_eigenvalues(0)
    assert np.abs(after - before).max() > 1e-3
    fresh = atoms.copy()
    fresh.calc = TraceGradCalculator(atoms.calc.predictor, kpts=(4, 4, 4))
    assert np.allclose(fresh.calc.get_eigenvalues(0), after)


def test_matrices_are_arranged_once_per_structure(monkeypatch):
    arranged: list = []
    check = BlochSum.__post_init__
    monkeypatch.setattr(BlochSum, "__post_init__", lambda self: arranged.append(1) or check(self))
    atoms, _ = make_atoms("silicon", kpts=(2, 2, 2), fermi_kpts=(2, 2, 2))
    calc = atoms.calc
    calc.get_eigenvalues(0)
    calc.band_structure("LGX", 10, progress=False)
    calc.band_gap(progress=False)
    calc.dos(progress=False)
    calc.projected_dos()
    calc.populations()
    twin = copy.deepcopy(calc)
    twin.set(kpts=(1, 1, 1))
    twin.get_eigenvalues(0)
    assert len(arranged) == 1
    stored = pickle.dumps(calc.electronic_structure())
    assert len(stored) < 1.1 * len(pickle.dumps(calc.sample())), "what is arranged does not travel"
    assert pickle.loads(stored).sums().n_orbitals == 8
    del arranged[:]
    atoms.positions[0, 0] += 0.05
    calc.get_eigenvalues(0)
    assert len(arranged) == 1


FERMI_MESHES = [
    (3, 3, 3),
    [3, 3, 3],
    np.array([3, 3, 3]),
    2.0,
    {"density": 2.0, "gamma": True},
    {"size": (3, 3, 3), "gamma": True},
    None,
    make_mesh((3, 3, 3)),
]


@pytest.mark.parametrize("fermi_kpts", FERMI_MESHES, ids=lambda kpts: type(kpts).__name__)
def test_the_fermi_level_is_found_once_per_mesh_in_any_form(fermi_kpts, monkeypatch):
    atoms = bulk("Si")
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=(2, 2, 2), fermi_kpts=fermi_kpts)
    asked: list = []
    find = ElectronicStructure.find_fermi_level
    monkeypatch.setattr(ElectronicStructure, "find_fermi_level", lambda *a, **k: asked.append(1) or find(*a, **k))
    level = atoms.calc.get_fermi_level()
    atoms.calc.dos(kpts=(2, 2, 2), progress=False)
    assert atoms.calc.band_structure("GX", 3).reference == level
    assert len(asked) == 1
    for other in FERMI_MESHES:  # from every form to every form
        atoms.calc.set(fermi_kpts=other)
        assert np.isfinite(atoms.calc.get_fermi_level())
    atoms.calc.set(fermi_kpts=fermi_kpts)
    assert atoms.calc.get_fermi_level() == level
    before = len(asked)
    atoms.calc.set(width=0.5)
    assert np.isfinite(atoms.calc.get_fermi_level())
    assert len(asked) == before + 1


def test_one_calculator_for_two_structures():
    calc = TraceGradCalculator(StandInPredictor(), kpts=(2, 2, 2))
    small, large = bulk("Si"), bulk("Si", a=5.6)
    small.calc = large.calc = calc
    large.get_potential_energy()
    of_large = calc.get_fermi_level()
    small.get_potential_energy()
    assert calc.get_fermi_level() != of_large
    large.get_potential_energy()
    assert calc.get_fermi_level() == of_large


@every_case
def test_pickle_and_deepcopy(case):
    atoms, _ = make_atoms(case)
    atoms.get_potential_energy()
    expected = atoms.calc.get_eigenvalues(1)
    for other in (pickle.loads(pickle.dumps(atoms.calc)), copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms)).calc):
        assert np.array_equal(other.get_eigenvalues(1), expected)
        other.set(kpts=(1, 1, 1))
        assert np.array_equal(atoms.calc.get_eigenvalues(1), expected), "a copy must not share parameters"
    assert copy.deepcopy(atoms.calc).predictor is atoms.calc.predictor
    fresh = pickle.loads(pickle.dumps(make_atoms(case)[0].calc))
    other = atoms.copy()
    other.calc = fresh
    assert np.allclose(fresh.get_eigenvalues(1), expected)


@needs_embedded
def test_a_pickle_carries_no_network():
    atoms, _ = make_atoms(EMBEDDED)
    assert len(pickle.dumps(atoms.calc)) < 20_000


def _first_eigenvalues(scale: float, model) -> np.ndarray:
    atoms = graphene(a=2.46 * scale, vacuum=5.0)
    atoms.calc = TraceGradCalculator(model, kpts=(2, 2, 1))
    return atoms.calc.get_eigenvalues(0)


SCALES = (0.98, 0.99, 1.0, 1.01, 1.02, 1.03)


@pytest.mark.parametrize("shared", [False, True], ids=["own calculators", "one calculator"])
def test_four_threads(shared):
    model = StandInPredictor()
    calc = TraceGradCalculator(model)

    def hamiltonian(scale):
        own = calc if shared else TraceGradCalculator(model)
        return own.hamiltonian(graphene(a=2.46 * scale, vacuum=5.0)).values

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(hamiltonian, SCALES * 3))
    expected = [TraceGradCalculator(model).hamiltonian(graphene(a=2.46 * s, vacuum=5.0)).values for s in SCALES] * 3
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("model", ["stand-in", pytest.param(EMBEDDED, marks=needs_embedded)])
def test_spawned_processes(model):
    model = StandInPredictor() if model == "stand-in" else model
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_first_eigenvalues, SCALES[:2], [model] * 2))
    for scale, values in zip(SCALES, found, strict=False):
        assert np.allclose(values, _first_eigenvalues(scale, model), atol=1e-4)


def test_the_fermi_level_solves_nothing_at_kpts(monkeypatch):
    atoms, _ = make_atoms("silicon", kpts=(5, 5, 5), fermi_kpts=(2, 2, 2))
    asked: list = []
    solve = ElectronicStructure.energies
    monkeypatch.setattr(ElectronicStructure, "energies", lambda s, kpts, **k: asked.append(len(kpts)) or solve(s, kpts, **k))
    level = atoms.calc.get_fermi_level()
    assert max(asked) < 63, "those of the mesh of kpts"
    atoms.calc.get_eigenvalues(0)
    assert atoms.calc.results["fermi_level"] == level


def test_asking_twice_diagonalises_once(monkeypatch):
    atoms, _ = make_atoms("silicon")
    atoms.get_potential_energy()
    solved = []
    monkeypatch.setattr("ase_tracegrad.electronic_structure.solve_bloch", lambda *_, **__: solved.append(1))
    atoms.get_potential_energy()
    atoms.calc.get_eigenvalues(0)
    atoms.calc.get_fermi_level()
    assert not solved
