"""A model whose basis came from OpenMX's files needs none of them: the checkpoint carries the radial functions."""

import shutil

import numpy as np
from ase.build import graphene

from ase_tracegrad import TraceGradCalculator, compute_overlap, load_model, read, read_basis
from tests.calculator_cases import write_untrained_model
from tests.io.test_basis_files import write_pao


def test_overlap_and_bands_of_a_new_structure(tmp_path):
    write_pao(tmp_path / "C.pao")
    basis = read_basis({"C": tmp_path / "C.pao"}, {"C": "s2p1"})
    write_untrained_model(tmp_path / "model.safetensors", basis)
    atoms = graphene(a=2.5, vacuum=4.0)
    atoms.pbc = True
    atoms.rattle(0.02, seed=1)
    expected = compute_overlap(atoms, basis)
    (tmp_path / "C.pao").unlink()
    atoms.calc = TraceGradCalculator(str(tmp_path / "model.safetensors"), kpts=(2, 2, 1))
    found = atoms.calc.overlap(atoms)
    assert np.array_equal(found.pairs, expected.pairs)
    assert np.array_equal(found.values, expected.values)
    assert atoms.calc.predictor.basis.code == "OpenMX"
    assert atoms.calc.predictor.basis.count_electrons(atoms.numbers) == 8
    bands = atoms.calc.band_structure("GMK", 6)
    assert bands.energies.shape[-1] == found.layout.total
    assert np.isfinite(bands.energies).all()


def test_openmx_overlap_from_a_checkpoint(tmp_path, shared_data):
    """S of graphene as OpenMX computed it, with nothing but the model file."""
    file = shutil.copy(shared_data / "openmx" / "pao" / "C6.0.pao", tmp_path)
    write_untrained_model(tmp_path / "model.safetensors", read_basis({"C": file}, {"C": "s2p2d1"}))
    (tmp_path / "C6.0.pao").unlink()
    sample = read(shared_data / "openmx" / "MG" / "prim")
    found = compute_overlap(sample.structure, load_model(tmp_path / "model.safetensors").basis)
    assert found.index.keys() == sample.overlap.index.keys()
    assert np.abs((found - sample.overlap).values).max() < 1e-6
