import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from scipy.linalg import eigh

from ase_tracegrad.labels import cp2k
from ase_tracegrad.labels.cp2k import Cp2kNotFoundError, Cp2kSettings, LabelError, ScfNotConvergedError, compute_labels
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure

FAST = {
    "kpoints": (2, 2, 1),
    "cutoff": 120.0,
    "rel_cutoff": 30.0,
    "eps_default": 1e-10,
    "eps_scf": 1e-5,
    "electronic_temperature": 3000.0,
}
KPTS = np.array([[0, 0, 0], [0.2, 0.45, 0]])


@pytest.fixture(scope="module")
def _binary():
    try:
        cp2k.find_cp2k()
    except Cp2kNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    """Two atoms, displaced, and both outside the image [-1/2, 1/2) that CP2K's cell index refers to."""
    sheet = graphene(a=2.46, vacuum=None)
    sheet.cell[2] = [0, 0, 9.0]
    sheet.pbc = True
    sheet.positions += np.random.default_rng(3).uniform(-0.08, 0.08, (2, 3))
    sheet.positions[0] += sheet.cell[0] - sheet.cell[2]
    return sheet


@pytest.fixture(scope="module")
def label(_binary, atoms):
    return compute_labels(atoms, Cp2kSettings(**FAST), band_kpts=KPTS)


def test_matrices_reproduce_cp2ks_bands(label):
    assert np.abs(label.bands.kpts - KPTS).max() < 1e-7
    overlap = compute_overlap(label.structure, label.basis)
    occupied = label.bands.energies < label.info["fermi_level"] + 10
    for k in range(len(KPTS)):
        for s in (label.overlap, overlap):
            energies = eigh(label.hamiltonian.bloch(KPTS)[k], s.bloch(KPTS)[k], eigvals_only=True)[: occupied.shape[1]]
            assert np.abs(energies - label.bands.energies[k])[occupied[k]].max() < 0.05e-3


def test_matrices_are_hermitian_and_the_overlap_is_ours(label):
    """A wrong cell index would show here: blocks would differ by about 1."""
    assert label.hamiltonian.is_hermitian(1e-7)
    assert label.overlap.is_hermitian(1e-8)
    difference = compute_overlap(label.structure, label.basis) - label.overlap
    assert np.abs(difference.values).max() < 1e-7


def test_the_structure_is_the_given_one_wrapped(label, atoms):
    fractional = label.structure.positions @ np.linalg.inv(atoms.cell.array)
    assert fractional.min() >= -0.5
    assert fractional.max() < 0.5
    moved = fractional - atoms.get_scaled_positions(wrap=False)
    assert np.abs(moved - np.round(moved)).max() < 1e-12
    assert np.abs(np.round(moved)).max() >= 1


def test_facts_of_the_run(label):
    assert label.info["code"] == "CP2K"
    assert label.info["version"].startswith("CP2K version")
    assert label.info["settings"]["kpoints"] == (2, 2, 1)
    assert 1 < label.info["scf_steps"] < 100
    assert -12 * 27.3 < label.info["total_energy"] < -11 * 27.2  # two carbon pseudo-atoms, 5.7 Hartree each
    assert label.basis.count_electrons(label.structure.numbers) == 8


@pytest.mark.usefixtures("_binary")
def test_an_scf_that_does_not_converge(atoms, tmp_path):
    with pytest.raises(ScfNotConvergedError, match="did not converge in 2 steps") as caught:
        compute_labels(atoms, Cp2kSettings(**FAST, max_scf=2), directory=tmp_path / "run")
    assert str(tmp_path / "run" / "label.out") in str(caught.value)
    assert (tmp_path / "run" / "label.out").exists()


@pytest.mark.usefixtures("_binary")
def test_a_crash_says_what_cp2k_said(atoms, tmp_path):
    settings = Cp2kSettings(**FAST, basis={"C": "NO-SUCH-BASIS"})
    with pytest.raises(LabelError, match=r"(?s)stopped with exit code.*NO-SUCH-BASIS"):
        compute_labels(atoms, settings, directory=tmp_path)


def test_a_missing_binary(atoms, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Cp2kNotFoundError, match="apt-get install"):
        compute_labels(atoms, Cp2kSettings(**FAST))


def test_missing_data_files(monkeypatch, tmp_path):
    binary = tmp_path / "cp2k.psmp"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CP2K_DATA_DIR", str(tmp_path))
    with pytest.raises(Cp2kNotFoundError, match="CP2K_DATA_DIR"):
        cp2k.find_cp2k()


@pytest.fixture
def silent_binary(monkeypatch, tmp_path):
    """Something called cp2k.psmp that ends at once without output."""
    binary = tmp_path / "cp2k.psmp"
    binary.write_text("#!/bin/sh\nexit 0\n")
    binary.chmod(0o755)
    (tmp_path / "BASIS_MOLOPT").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CP2K_DATA_DIR", str(tmp_path))


def test_elements_without_settings_are_refused_before_the_run(silent_binary):
    with pytest.raises(LabelError, match="name no basis for N"):
        compute_labels(Atoms("CN", positions=[[0, 0, 0], [0, 0, 1.2]], cell=[6, 6, 6], pbc=True), Cp2kSettings((1, 1, 1)))


def test_refused_settings_leave_no_folder(silent_binary, tmp_path, monkeypatch):
    monkeypatch.setattr(cp2k.tempfile, "mkdtemp", lambda **_: pytest.fail("a folder was made"))
    atoms = Atoms("CN", positions=[[0, 0, 0], [0, 0, 1.2]], cell=[6, 6, 6], pbc=True)
    for directory in (None, tmp_path / "run"):
        with pytest.raises(LabelError, match="name no basis for N"):
            compute_labels(atoms, Cp2kSettings((1, 1, 1)), directory=directory)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("there", "keep_files", "stays"), [(True, False, True), (False, False, False), (False, True, True)])
def test_only_a_folder_of_its_own_is_removed(silent_binary, tmp_path, monkeypatch, there, keep_files, stays):
    """A run that succeeds at once; what it would read is beside the point."""
    script = "#!/bin/sh\necho 'SCF run converged in 7 steps; PROGRAM ENDED' > label.out\n"
    (tmp_path / "cp2k.psmp").write_text(script)
    monkeypatch.setattr(cp2k, "read_basis_set", lambda *_: None)
    monkeypatch.setattr(cp2k, "_read_output", lambda *_: SimpleNamespace(info={}))
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    atoms = Atoms("C", cell=[6, 6, 6], pbc=True)
    sample = compute_labels(atoms, Cp2kSettings((1, 1, 1)), directory=folder, keep_files=keep_files)
    assert sample.info["scf_steps"] == 7
    assert folder.exists() == stays
    assert not there or (folder / "notes.txt").read_text() == "mine"


def test_a_run_without_output_is_an_error(silent_binary, tmp_path):
    with pytest.raises(LabelError, match="exit code 0"):
        compute_labels(Atoms("C", cell=[6, 6, 6], pbc=True), Cp2kSettings((1, 1, 1)), directory=tmp_path / "run")


def test_a_molecule_without_a_cell_is_refused(silent_binary):
    with pytest.raises(LabelError, match="three cell vectors"):
        compute_labels(Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.3]]), Cp2kSettings((1, 1, 1)))


@pytest.mark.parametrize(
    ("value", "wrapped"), [(0.5, -0.499), (-0.5, -0.499), (0.5 - 1e-12, -0.499), (0.49, 0.49), (1.7, -0.3), (-0.51, 0.49)]
)
def test_wrapping(value, wrapped):
    structure = Structure([6], [[value * 4, 0, 0]], np.eye(3) * 4, [True, False, False])
    found = cp2k.wrap_positions(structure)
    assert found.positions[0] == pytest.approx([wrapped * 4, 0, 0])
    assert found.pbc.all()


def test_coordinates_of_one_half_are_avoided():
    """CP2K rounds them to one side or the other; all atoms move together, none onto the border."""
    fractional = np.array([[0.5, 0.1, 0.5], [0.499, 0.6, 0.0], [0.498, -0.2, 0.5]])
    cell = np.array([[4.0, 0, 0], [-2, 3.5, 0], [0, 0, 12]])
    found = cp2k.wrap_positions(Structure([6, 6, 6], fractional @ cell, cell, [True] * 3)).positions @ np.linalg.inv(cell)
    assert np.abs(np.abs(found) - 0.5).min() > 2e-4
    moved = found - fractional
    moved -= np.round(moved)
    assert np.allclose(moved, [0.003, 0, 0.001])


@pytest.mark.usefixtures("_binary")
def test_atoms_at_one_half():
    """CP2K's cells are those of the structure, as compute_labels checks. In this cell CP2K finds -9.065 beyond its lower end."""
    sheet = Atoms("C2", positions=[[0, 0, 9.065], [-1.59, 0.918, 9.565]], pbc=True)
    sheet.cell = [[3.18, 0, 0], [-1.59, 2.75396078, 0], [0, 0, 18.13]]
    found = compute_labels(sheet, Cp2kSettings(**FAST))
    assert np.abs((compute_overlap(found.structure, found.basis) - found.overlap).values).max() < 1e-7


@pytest.mark.usefixtures("_binary")
def test_an_overlap_of_other_images_is_refused(atoms, monkeypatch, tmp_path):
    """The structure moved behind CP2K's back by a lattice vector of one atom."""
    wrap = cp2k.wrap_positions

    def elsewhere(structure):
        found = wrap(structure)
        positions = found.positions.copy()
        positions[1] += structure.cell[0]
        return Structure(found.numbers, positions, found.cell, found.pbc)

    monkeypatch.setattr(cp2k, "wrap_positions", elsewhere)
    with pytest.raises(LabelError, match="its cells R are not those of the structure"):
        compute_labels(atoms, Cp2kSettings(**FAST), directory=tmp_path / "run")
