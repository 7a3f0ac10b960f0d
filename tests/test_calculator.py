"""What the calculator adds to ASE's protocol: matrices, batches, gap, density of states, clear errors."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.spectrum.dosdata import GridDOSData

from ase_tracegrad import BlockMatrix, TraceGradCalculator, batching, compute_bands, compute_overlap
from ase_tracegrad.batching import OutOfDomainWarning
from ase_tracegrad.electronic.kmesh import make_list, make_mesh
from ase_tracegrad.electronic_structure import ElectronicStructure
from ase_tracegrad.nn.domain import UnsupportedStructureError
from ase_tracegrad.structure import StructureError
from ase_tracegrad.units import BOLTZMANN
from tests.calculator_cases import count_predictions, every_case, make_atoms
from tests.standin_model import StandInPredictor


def silicon_list(n: int) -> list[Atoms]:
    return [bulk("Si", a=5.3 + 0.02 * i) for i in range(n)]


# -- matrices ----------------------------------------------------------------------------------------


@every_case
def test_hamiltonian_and_overlap(case):
    atoms, path = make_atoms(case)
    hamiltonian, overlap = atoms.calc.hamiltonian(atoms), atoms.calc.overlap(atoms)
    assert hamiltonian.is_hermitian(1e-9)
    assert overlap.is_hermitian(1e-12)
    assert np.array_equal(overlap.values, compute_overlap(atoms, atoms.calc.predictor.basis).values)
    bands = atoms.calc.band_structure(path, npoints=7)
    assert np.allclose(compute_bands(hamiltonian, overlap, bands.path.kpts), bands.energies[0])


def test_matrices_need_no_attached_atoms():
    calc = TraceGradCalculator(StandInPredictor())
    with pytest.raises(InputError, match="no structure yet"):
        calc.hamiltonian()
    first = calc.hamiltonian(bulk("Si"))
    assert calc.hamiltonian(bulk("Si")) is first
    assert calc.hamiltonian(bulk("C")) is not first
    with pytest.raises(InputError, match="no structure yet"):
        calc.hamiltonian()


def test_asking_about_other_atoms_does_not_detach():
    atoms, _ = make_atoms("silicon")
    level = atoms.calc.get_fermi_level()
    other = bulk("C")
    assert atoms.calc.band_gap(atoms=other).gap > 4
    assert atoms.calc.band_structure("GX", 5, atoms=other).path.cell[0, 1] == pytest.approx(other.cell[0, 1])
    assert atoms.calc.dos(atoms=other).get_weights().max() > 0
    assert atoms.calc.get_fermi_level() == level
    assert atoms.calc.band_structure("GX", 5).path.cell[0, 1] == pytest.approx(atoms.cell[0, 1])


def test_fixed_density_shares_the_matrices(monkeypatch):
    atoms, path = make_atoms("silicon")
    predicted = count_predictions(atoms.calc, monkeypatch)
    level = atoms.calc.get_fermi_level()
    sibling = atoms.calc.fixed_density(kpts={"path": path, "npoints": 9}, symmetry="off", txt=None, convergence={"bands": 8})
    assert sibling.band_structure().energies.shape == (1, 9, 8)
    assert sibling.get_fermi_level() == level
    assert len(predicted) == 1
    assert atoms.calc.parameters["kpts"] == (4, 4, 4), "the first calculator keeps its k-points"
    with pytest.raises(InputError, match="did you mean 'kpts'"):
        atoms.calc.fixed_density(kpt=3)


# -- batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["auto", 1, 3, 100])
def test_predict_gives_samples_in_order(batch):
    calc = TraceGradCalculator(StandInPredictor())
    structures = silicon_list(7)
    samples = list(calc.predict(iter(structures), batch=batch, progress=False))
    assert len(samples) == 7
    for atoms, sample in zip(structures, samples, strict=True):
        assert np.array_equal(sample.structure.positions, atoms.positions)
        assert np.array_equal(sample.hamiltonian.values, calc.hamiltonian(atoms).values)
        assert sample.info == {"model": "stand-in", "n_electrons": 8.0, "hamiltonian_error": 0.0}
    if batch == 3:
        assert calc.predictor.batches[:3] == [3, 3, 1]


def test_predict_is_lazy():
    calc = TraceGradCalculator(StandInPredictor())
    samples = calc.predict(silicon_list(4), batch=1, progress=False)
    assert calc.predictor.batches == []
    next(samples)
    assert calc.predictor.batches == [1]


def test_auto_batches_hold_fewer_large_structures(monkeypatch):
    monkeypatch.setitem(batching.LARGEST_BATCH, "cpu", 20_000)
    calc = TraceGradCalculator(StandInPredictor())
    list(calc.predict([bulk("Si")] * 6 + [bulk("Si") * (2, 2, 2)] * 3, progress=False))
    assert calc.predictor.batches == [6, 1, 1, 1]


@pytest.mark.parametrize("largest", [1, 2, 3])
def test_out_of_memory_halves_the_batch(largest):
    calc = TraceGradCalculator(StandInPredictor(largest_batch=largest))
    samples = list(calc.predict(silicon_list(7), batch=7, progress=False))
    assert [s.structure.cell[0, 1] for s in samples] == [a.cell[0, 1] for a in silicon_list(7)]
    assert max(calc.predictor.batches) <= largest


def test_a_structure_that_alone_does_not_fit():
    calc = TraceGradCalculator(StandInPredictor(largest_batch=0))
    with pytest.raises(MemoryError, match="2 atoms alone does not fit"):
        list(calc.predict(silicon_list(2), progress=False))


def test_other_errors_of_the_network_are_not_taken_for_memory(monkeypatch):
    calc = TraceGradCalculator(StandInPredictor())

    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(calc.predictor, "predict", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        list(calc.predict(silicon_list(2), progress=False))


def test_predict_names_the_wrong_structure():
    calc = TraceGradCalculator(StandInPredictor())
    with pytest.raises(UnsupportedStructureError, match="structure 2: "):
        list(calc.predict([*silicon_list(2), bulk("Cu")], progress=False))
    with pytest.raises(ValueError, match="batch must be"):
        calc.predict(silicon_list(2), batch=0)


# -- gap and density of states -------------------------------------------------------------------------


def test_band_gap_by_electron_count():
    atoms, _ = make_atoms("silicon")
    gap = atoms.calc.band_gap(kpts=(8, 8, 8))
    assert gap.kind == "insulator"
    assert gap.gap > 1
    assert np.allclose(gap.k_vbm, 0)
    coarse = atoms.calc.band_gap(kpts=(2, 2, 2))
    assert coarse.gap == pytest.approx(gap.gap), "the edge is at a special point, which every mesh is joined by"


@every_case
@pytest.mark.parametrize("width", [0.1, 0.0])
def test_dos_holds_all_states(case, width):
    atoms, _ = make_atoms(case)
    grid = np.linspace(-40, 3, 4301)
    dos = atoms.calc.dos(grid, width=width)
    assert isinstance(dos, GridDOSData)
    assert dos.info["energy_zero"] == "Fermi level"
    filled = np.trapezoid(np.where(grid < 0, dos.get_weights(), 0), grid)
    assert filled == pytest.approx(8, abs=0.4 if case != "silicon" else 0.02)
    assert np.allclose(atoms.calc.dos(width=0.1).get_energies()[[0, -1]], [-30, 15])


@pytest.mark.parametrize("energies", [np.linspace(5, -5, 4), np.zeros((3, 3)), [0.0], [0.0, np.nan]], ids=str)
@pytest.mark.parametrize("ask", ["dos", "projected_dos"])
def test_wrong_energies_of_a_dos(ask, energies):
    atoms, _ = make_atoms("silicon")
    with pytest.raises(InputError, match="ascending list of at least two finite energies"):
        getattr(atoms.calc, ask)(energies)


def test_the_gap_of_bare_kpts_is_refused():
    atoms, _ = make_atoms("silicon")
    structure = ElectronicStructure(atoms.calc.sample())
    with pytest.raises(TypeError, match=r"make_mesh\(size\) or make_list"):
        structure.find_band_gap([[0, 0, 0]])
    assert structure.find_band_gap(make_list([[0, 0, 0]])).direct_gap > 0
    with pytest.raises(ValueError, match="no spacing"):
        structure.find_band_gap(make_list([[0, 0, 0]]), refine=True)


def test_dos_needs_a_mesh():
    atoms, _ = make_atoms("silicon", kpts={"path": "GX", "npoints": 5})
    with pytest.raises(InputError, match="mesh"):
        atoms.calc.dos()
    assert atoms.calc.dos(kpts=(2, 2, 2)).get_weights().max() > 0
    with pytest.raises(ValueError, match="width"):
        atoms.calc.dos(kpts=(2, 2, 2), width=-0.1)


def test_fermi_level_of_a_metal_counts_electrons():
    """Silicon with an electron too many has no gap to put the level into."""
    calc = TraceGradCalculator(StandInPredictor())
    sample = calc.sample(bulk("Si"))
    sample.info["n_electrons"] = 9.0
    metal = ElectronicStructure(sample)
    mesh = make_mesh((6, 6, 6))
    for width in (0.0, 0.05):
        level = metal.find_fermi_level(mesh, width=width)
        occupied = metal.occupations(metal.energies(mesh.kpts), level, width=width).sum(axis=1)
        assert mesh.weights @ occupied == pytest.approx(9, abs=0.02 if width == 0 else 1e-6)
    assert metal.find_band_gap(mesh).kind == "metal"


# -- card, warnings, errors ----------------------------------------------------------------------------


@every_case
def test_repr_shows_the_model_card(case):
    atoms, _ = make_atoms(case)
    card = atoms.calc.predictor.card
    assert repr(atoms.calc).startswith(f"TraceGradCalculator({card.name!r}, kpts=(")
    assert card.describe(atoms.calc.predictor.equivariance) in repr(atoms.calc)


def test_outside_the_training_domain_warns_with_the_reason():
    calc = TraceGradCalculator(StandInPredictor(out_of_domain="bond of 0.9 Angstrom, trained on 1.3 to 1.6"))
    with pytest.warns(OutOfDomainWarning, match="bond of 0.9 Angstrom"):
        calc.hamiltonian(bulk("Si"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.hamiltonian(bulk("Si"))
    with pytest.warns(OutOfDomainWarning, match="stand-in"):
        list(calc.predict([bulk("Si")], progress=False))


def test_warnings_point_at_the_line_of_the_user():
    atoms = bulk("Si")
    atoms.calc = TraceGradCalculator(StandInPredictor(out_of_domain="strange"))
    for ask in (atoms.get_potential_energy, atoms.calc.get_fermi_level, atoms.calc.band_gap):
        atoms.rattle(0.001, seed=1)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            ask()
        assert seen
        assert {Path(w.filename).name for w in seen} == {Path(__file__).name}


def test_reasons_of_the_model_are_warnings():
    calc = TraceGradCalculator(StandInPredictor(out_of_domain="neighbours"))
    with pytest.warns(OutOfDomainWarning, match="neighbours") as seen:
        calc.hamiltonian(bulk("Si"))
    assert len(seen) == 1


def bad_structures():
    collided = bulk("Si")
    collided.positions[1] = collided.positions[0] + 0.1
    nan = bulk("Si")
    nan.positions[0, 1] = np.nan
    return {
        "too close": (collided, "0.173 Angstrom apart"),
        "nan": (nan, "position of atom 0 is not finite"),
        "no cell": (Atoms("Si", pbc=True), "cell vector is zero"),
        "flat cell": (Atoms("Si", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True), "linearly dependent"),
        "empty": (Atoms(cell=np.eye(3), pbc=True), "no atoms"),
    }


@pytest.mark.parametrize("ask", ["get_fermi_level", "band_gap", "band_structure", "dos", "hamiltonian", "get_eigenvalues"])
@pytest.mark.parametrize("which", list(bad_structures()))
def test_structures_that_cannot_be_right(which, ask):
    atoms, message = bad_structures()[which]
    atoms.calc = TraceGradCalculator(StandInPredictor())
    with pytest.raises(StructureError, match=message):
        getattr(atoms.calc, ask)()
    with pytest.raises(StructureError, match="structure 0: .*" + message):
        list(atoms.calc.predict([atoms], progress=False))


@pytest.mark.parametrize("ask", ["get_forces", "get_stress", "get_magnetic_moment"])
def test_properties_it_has_not_say_what_would_provide_them(ask):
    atoms, _ = make_atoms("silicon")
    with pytest.raises(PropertyNotImplementedError, match="pass potential=<ASE calculator>"):
        getattr(atoms, ask)()
    atoms.calc = TraceGradCalculator(StandInPredictor(), potential=EMT())
    with pytest.raises(PropertyNotImplementedError, match="nor does its potential"):
        atoms.get_magnetic_moment()


def test_unknown_elements_are_refused_when_attached():
    with pytest.raises(UnsupportedStructureError, match="29"):
        bulk("Cu").calc = TraceGradCalculator(StandInPredictor())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kpst": 3}, "did you mean 'kpts'"),
        ({"nbands": 3}, r"unknown parameter 'nbands'\. Known: kpts"),
        ({"width": -1.0}, "width must be"),
        ({"width": "hot"}, "width must be"),
        ({"device": "cpu"}, "already loaded"),
        ({"dtype": "float64"}, "already loaded"),
    ],
    ids=str,
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(InputError, match=message):
        TraceGradCalculator(StandInPredictor(), **parameters)


def test_fermi_mesh_must_be_a_mesh():
    atoms, _ = make_atoms("silicon", fermi_kpts={"path": "GX", "npoints": 4})
    with pytest.raises(InputError, match="fermi_kpts must be a k-point mesh"):
        atoms.calc.get_fermi_level()


def test_parameters_are_copied():
    kpts = np.array([[0.0, 0, 0], [0.5, 0, 0]])
    atoms = graphene(vacuum=5.0)
    atoms.calc = TraceGradCalculator(StandInPredictor(), kpts=kpts)
    kpts[1, 0] = 0.25
    assert atoms.calc.get_ibz_k_points()[1, 0] == 0.5
    assert "kpts" in atoms.calc.set(kpts=kpts)
    assert atoms.calc.get_ibz_k_points()[1, 0] == 0.25


# -- the same physics from a DFT code's matrices -------------------------------------------------------


def test_electronic_structure_of_dft_labels(graphene_store):
    """CP2K's own Fermi level (same mesh, 1000 K) and the touching point at K, from its H(R) and S(R)."""
    sample = graphene_store["perfect"]
    solved = ElectronicStructure(sample)
    assert solved.n_electrons == 8
    assert solved.dispersive.tolist() == [True, True, False], "CP2K writes the orbital tails across the vacuum too"
    mesh = make_mesh(sample.info["settings"]["kpoints"])
    level = solved.find_fermi_level(mesh, width=1000 * BOLTZMANN)
    assert level == pytest.approx(sample.info["fermi_level"], abs=1e-5)
    gap = solved.find_band_gap(mesh, refine=False, edges=[[1 / 3, 1 / 3, 0]])
    # CP2K's integration grid breaks the symmetry a little.
    assert gap.direct_gap < 2e-3
    assert np.allclose(gap.k_direct, [1 / 3, 1 / 3, 0])
    assert solved.find_fermi_level(mesh, edges=[[1 / 3, 1 / 3, 0]]) == pytest.approx((gap.vbm + gap.cbm) / 2, abs=1e-6)


def test_spinors_hold_one_electron_per_state():
    """Without spin-orbit coupling a spinor Hamiltonian has every band twice, and nothing else may change."""
    calc = TraceGradCalculator(StandInPredictor())
    sample = calc.sample(bulk("Si"))
    empty = {key: np.zeros_like(block) for key, block in sample.hamiltonian.items()}
    both = {key: np.block([[block, empty[key]], [empty[key], block]]) for key, block in sample.hamiltonian.items()}
    doubled = replace(sample, hamiltonian=BlockMatrix.from_blocks(sample.hamiltonian.layout, both, "spinor"))
    scalar, spinor = ElectronicStructure(sample), ElectronicStructure(doubled)
    mesh, grid = make_mesh((3, 3, 3)), np.linspace(-20, 10, 301)
    assert (scalar.spin_degeneracy, spinor.spin_degeneracy) == (2, 1)
    level = spinor.find_fermi_level(mesh)
    assert level == pytest.approx(scalar.find_fermi_level(mesh), abs=1e-9)
    assert spinor.find_band_gap(mesh).gap == pytest.approx(scalar.find_band_gap(mesh).gap, abs=1e-9)
    occupations = spinor.occupations(spinor.energies(mesh.kpts), level)
    assert occupations.max() == 1
    assert mesh.weights @ occupations.sum(axis=1) == pytest.approx(8)
    for width in (0.1, 0.0):
        expected = scalar.compute_dos(mesh, grid, width=width)
        assert np.allclose(spinor.compute_dos(mesh, grid, width=width), expected, atol=1e-6 * expected.max())
