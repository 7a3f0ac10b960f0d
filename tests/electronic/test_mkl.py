import numpy as np
import pytest
from scipy.sparse import csr_array

from ase_tracegrad.electronic import mkl
from ase_tracegrad.electronic.eigen import solve_bands
from ase_tracegrad.electronic.mkl import MklError, MklNotInstalledError, find_mkl, require_mkl
from ase_tracegrad.electronic.pardiso import Pardiso
from ase_tracegrad.electronic.resources import Machine
from ase_tracegrad.electronic.window import solve_window
from tests.electronic.lattice_models import random_model

needs_mkl = pytest.mark.skipif(find_mkl() is None, reason="MKL (the extra [mkl]) is not installed")


@needs_mkl
@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("eigenvectors", [False, True])
def test_the_same_states_as_torch(kpts, spinor, overlapping, eigenvectors):
    """Real at the zone centre and boundary, complex elsewhere, above the size from which MKL is chosen."""
    h, s = random_model(((0, 1, 2),) * 8, spinor=spinor, overlap=0.01)
    s = s if overlapping else None
    kpts = np.vstack([kpts[:2], [[0, 0, 0], [0.5, 0, 0]]])
    ours, theirs = (solve_bands(h, s, kpts, eigenvectors=eigenvectors, machine=Machine(library=name)) for name in ("mkl", "torch"))
    assert ours.report.route == "MKL"
    assert "by MKL" in str(ours.report)
    assert theirs.report.route == "torch"
    assert solve_bands(h, s, kpts[:1], machine=Machine(threads=1)).report.route == "MKL"
    assert np.abs(ours.energies - theirs.energies).max() < 1e-11
    assert np.allclose(ours.report.smallest_overlap, theirs.report.smallest_overlap, rtol=1e-6)
    if not eigenvectors:
        assert ours.coefficients is None
        return
    overlap = np.eye(h.n_orbitals) if s is None else np.kron(np.eye(h.n_spin), s.bloch(kpts))
    c = ours.coefficients
    assert np.abs(h.bloch(kpts) @ c - overlap @ c * ours.energies[:, None]).max() < 1e-10
    assert np.abs(c.conj().swapaxes(1, 2) @ overlap @ c - np.eye(h.n_orbitals)).max() < 1e-11


@needs_mkl
def test_an_overlap_near_singular_takes_the_same_way_out():
    from tests.electronic.test_eigen import near_singular_model

    h, s = near_singular_model(3.7e-8)
    cured = [
        solve_bands(h, s, [[0, 0, 0]], hamiltonian_error=1e-3, machine=Machine(library=name), eigenvectors=True)
        for name in ("mkl", "torch")
    ]
    assert cured[0].report.dropped.tolist() == [1]
    assert np.abs(cured[0].energies - cured[1].energies).max() < 1e-12


@needs_mkl
def test_an_error_of_pardiso_is_raised(monkeypatch):
    library = require_mkl()
    with pytest.raises(MklError, match="factorize first"):
        Pardiso(library).solve(np.ones(2))
    monkeypatch.setattr(type(library), "call_pardiso", lambda *_: -2)
    with pytest.raises(MklError, match="not enough memory"):
        Pardiso(library).factorize(csr_array(np.eye(2, dtype=complex)))


def test_without_mkl(monkeypatch, kpts):
    h, s = random_model(((0, 1, 2),) * 8, overlap=0.01)
    monkeypatch.setattr(mkl.importlib.metadata, "distribution", _not_found)
    find_mkl.cache_clear()
    try:
        assert solve_bands(h, s, kpts[:1]).report.route == "torch"
        assert solve_window(h, s, kpts[:1], 0.0, 3).route == "SuperLU"
        for solve in (lambda m: solve_bands(h, s, kpts[:1], machine=m), lambda m: solve_window(h, s, kpts[:1], 0, 3, machine=m)):
            with pytest.raises(MklNotInstalledError, match=r"ase_tracegrad\[mkl\]"):
                solve(Machine(library="mkl"))
    finally:
        find_mkl.cache_clear()


def test_a_damaged_installation_is_reported(monkeypatch, caplog):
    class Damaged:
        files = ()

    monkeypatch.setattr(mkl.importlib.metadata, "distribution", lambda _: Damaged)
    find_mkl.cache_clear()
    try:
        assert find_mkl() is None
        assert "does not load" in caplog.text
    finally:
        find_mkl.cache_clear()


def _not_found(name: str):
    raise mkl.importlib.metadata.PackageNotFoundError(name)
