"""SIESTA's own matrices through sisl: against SIESTA's eigenvalues, its .ion files and DeepH-dock's conversion."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.space_group import find_space_group
from ase_tracegrad.electronic.symmetry import covariance_residuals
from ase_tracegrad.io import FormatError, read
from ase_tracegrad.io.convert import convert
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.overlap import compute_overlap
from tests.electronic.test_golden import read_eigenvalues, read_kpoints

pytest.importorskip("sisl", reason="sisl is not installed")


def test_silicon_is_what_deeph_dock_converts(shared_data):
    folder = shared_data / "reference" / "siesta"
    ours, theirs = read(folder / "Si" / "Si.HSX"), read(folder / "Si_deeph_new")
    assert ours.info["n_electrons"] == 8
    assert ours.info["fermi_level"] == pytest.approx(theirs.info["fermi_level"], abs=1e-6)
    assert np.abs(ours.structure.positions - theirs.structure.positions).max() < 1e-6
    assert ours.hamiltonian.index.keys() == theirs.hamiltonian.index.keys()
    assert np.abs((ours.overlap - theirs.overlap).values).max() < 1e-6
    assert np.abs((ours.hamiltonian - theirs.hamiltonian).values).max() < 1e-4


def test_runs_with_other_labels_are_packed_together(tmp_path, shared_data):
    """SystemLabel names the .HSX file; the orbitals are the same."""
    for label in ("one", "two"):
        (tmp_path / "runs" / label).mkdir(parents=True)
        shutil.copy(shared_data / "reference" / "siesta" / "Si" / "Si.HSX", tmp_path / "runs" / label / f"{label}.HSX")
        shutil.copy(shared_data / "reference" / "siesta" / "Si" / "Si.ion", tmp_path / "runs" / label)
    assert convert(tmp_path / "runs", tmp_path / "all.h5", "packed").written == ["one", "two"]
    with StoreReader(tmp_path / "all.h5") as store:
        assert store.names == ["one", "two"]
        assert store.basis[14].valence == 4


def test_bismuth_with_spin_orbit_coupling(shared_data):
    folder = shared_data / "reference" / "siesta" / "Bi_hexagonal_soc"
    sample = read(folder)
    assert (sample.hamiltonian.spin, sample.basis[83].angular_momenta) == ("spinor", (0, 1, 2, 2))
    kpts = read_kpoints(folder, "Bi_hexagonal", sample.structure)
    expected = read_eigenvalues(folder, "Bi_hexagonal")[0] + sample.info["fermi_level"]
    assert np.abs(compute_bands(sample.hamiltonian, sample.overlap, kpts) - expected).max() < 2e-3
    found = compute_overlap(sample.structure, sample.basis)
    assert set(found.index) <= set(sample.overlap.index)
    assert np.abs((found - sample.overlap).values).max() < 1e-5


def test_spins_turn_with_the_crystal(shared_data):
    """Eigenvalues alone do not tell the parts of the spin from their conjugates; the twelve operations of bismuth do."""
    sample = read(shared_data / "reference" / "siesta" / "Bi_hexagonal_soc")
    group, h = find_space_group(sample.structure, tolerance=1e-3), sample.hamiltonian
    assert len(group) == 12
    assert covariance_residuals(h, group).max() < 5e-3  # the symmetry that SIESTA's grid breaks
    assert covariance_residuals(replace(h, values=h.values.conj()), group).max() > 1


def test_files_that_cannot_be_read(tmp_path, shared_data):
    (tmp_path / "x.HSX").write_bytes(b"nothing of SIESTA")
    with pytest.raises(FormatError, match=r"x\.HSX: not a readable HSX file .* its version reads"):
        read(tmp_path / "x.HSX")
    (tmp_path / "y.HSX").touch()
    with pytest.raises(FormatError, match=r"expected one \.HSX file, found \['x.HSX', 'y.HSX'\]"):
        read(tmp_path)
    silicon = shared_data / "reference" / "siesta" / "Si" / "Si.HSX"
    (tmp_path / "x.HSX").write_bytes(silicon.read_bytes()[:200_000])
    with pytest.raises(FormatError, match="truncated or damaged"):
        read(tmp_path / "x.HSX")
    (tmp_path / "y.HSX").unlink()
    shutil.copy(silicon, tmp_path / "x.HSX")
    (tmp_path / "Si.ion").write_bytes((shared_data / "reference/siesta/Bi_hexagonal_soc/Bi.ion").read_bytes())
    with pytest.raises(FormatError, match=r"Si has shells \(0, 0, 1, 1, 2\), but Si.ion holds \(0, 1, 2, 2\) of Z = 83"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (24, 29, "a torn record at byte 24"),
        (28, 3, "structure of another size"),  # atoms
        (40, 7, "structure of another size"),  # species
        (168, 9, "cells outside the supercell"),
        (1956 + 60, 1250, "rows of another length"),
    ],
)
def test_damage_that_would_let_sisl_run_astray(tmp_path, shared_data, place, number, message):
    """Numbers of the head, changed in place."""
    data = bytearray((shared_data / "reference" / "siesta" / "Si" / "Si.HSX").read_bytes())
    data[place : place + 4] = number.to_bytes(4, "little")
    (tmp_path / "x.HSX").write_bytes(data)
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "x.HSX")
