"""A packed file of molecules gets the Hamiltonians of the initial density."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from ase_tracegrad.io.store import StoreReader, StoreWriter
from ase_tracegrad.labels.initial_hamiltonian import initial_hamiltonian


def test_it_is_kept_in_packed_files(tmp_path, script):
    pytest.importorskip("pyscf", reason="PySCF makes these Hamiltonians: pip install 'ase_tracegrad[molecules]'")
    from ase_tracegrad.labels.pyscf import compute_molecule_labels

    sample = replace(compute_molecule_labels(molecule("H2")), info={"split": "train"})
    with StoreWriter(tmp_path / "old.h5", {"set": "tiny"}) as store:
        store.add("hydrogen", sample)
    script("add_references").add_references(tmp_path / "old.h5", tmp_path / "new.h5", workers=1)
    with StoreReader(tmp_path / "new.h5") as store:
        found, expected = store["hydrogen"], initial_hamiltonian(sample.structure, sample.basis)
        assert np.abs((found.reference - expected).values).max() < 1e-7
        assert np.abs((found.hamiltonian - sample.hamiltonian).values).max() < 1e-7
        assert (found.info, store.info) == (sample.info, {"set": "tiny"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.h5", "old.h5"], "nothing is left beside it"
