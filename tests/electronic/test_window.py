import tracemalloc

import numpy as np
import pytest

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.mkl import find_mkl
from ase_tracegrad.electronic.resources import Machine
from ase_tracegrad.electronic.window import solve_window
from tests.electronic.lattice_models import add_adjoints, graphene_model, random_model

needs_mkl = pytest.mark.skipif(find_mkl() is None, reason="MKL (the extra [mkl]) is not installed")
LIBRARIES = ["torch", pytest.param("mkl", marks=needs_mkl)]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("spinor", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
def test_equal_to_the_dense_solver(kpts, spinor, overlapping, library):
    h, s = random_model(((0, 1),) * 8, spinor=spinor, overlap=0.01)
    s = s if overlapping else None
    window = solve_window(h, s, kpts[:3], 0.4, 6, eigenvectors=True, machine=Machine(library=library))
    assert window.route == ("PARDISO" if library == "mkl" else "SuperLU")
    for k, bands in enumerate(compute_bands(h, s, kpts[:3])):
        nearest = np.sort(bands[np.argsort(np.abs(bands - 0.4))[:6]])
        assert np.abs(window.energies[k] - nearest).max() < 1e-9
    assert window.residuals.max() < 1e-8
    overlap = s.bloch(kpts[:1])[0] if overlapping else np.eye(32)
    overlap = np.kron(np.eye(h.n_spin), overlap)
    c = window.coefficients[0]
    assert np.abs(c.conj().T @ overlap @ c - np.eye(6)).max() < 1e-8


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_center_on_an_eigenvalue(library):
    h, _ = random_model(((0, 1),) * 4)
    level = compute_bands(h, None, [[0, 0, 0]])[0, 5]
    window = solve_window(h, None, [[0, 0, 0]], level, 3, machine=Machine(library=library))
    assert np.abs(window.energies - level).min() < 1e-8


@pytest.mark.parametrize("library", LIBRARIES)
def test_orbitals_without_energy(library):
    """Where the center is the energy of an orbital the diagonal of H - center vanishes, and no pivot may be missing."""
    cells = 8
    hops = [(i, (i + 1) % cells, (int(i + 1 == cells), 0, 0)) for i in range(cells)]
    ring = BlockMatrix.from_blocks(OrbitalLayout(((0,),) * cells), add_adjoints({hop: [[-1.0]] for hop in hops}))
    kpts = [[0.1, 0, 0], [0.3, 0, 0]]
    window = solve_window(ring, None, kpts, 0.0, 4, machine=Machine(library=library))
    for energies, k in zip(window.energies, kpts, strict=True):
        bands = -2 * np.cos(2 * np.pi * (k[0] + np.arange(cells)) / cells)
        assert np.abs(energies - np.sort(bands[np.argsort(np.abs(bands))[:4]])).max() < 1e-9


def test_no_matrix_of_a_large_system_is_full():
    """A ring of 5000 orbitals, whose full matrix has 400 MB."""
    cells = 5000
    here, there = np.arange(cells), (np.arange(cells) + 1) % cells
    over, home = np.zeros((cells, 3), dtype=int), np.zeros((cells, 3), dtype=int)
    over[-1, 0] = 1
    pairs = np.concatenate([np.column_stack(ends) for ends in ((here, there), (there, here), (here, here))])
    levels = np.random.default_rng(0).permutation(np.linspace(-5, 5, cells))
    values = np.concatenate([np.full(2 * cells, -1e-3), levels])
    ring = BlockMatrix(OrbitalLayout(((0,),) * cells), pairs, np.concatenate([over, -over, home]), values)
    tracemalloc.start()
    try:
        window = solve_window(ring, None, [[0.25, 0, 0]], 0.0, 4, machine=Machine(library="torch"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert window.residuals.max() < 1e-8
    assert np.abs(window.energies).max() < 0.01, "levels are 2 meV apart"
    assert peak < 100e6, "bytes"


def test_bad_windows_are_refused():
    h, s = random_model()
    for n_states in (0, h.n_orbitals):
        with pytest.raises(ValueError, match="a window holds"):
            solve_window(h, s, [[0, 0, 0]], 0.0, n_states)
    with pytest.raises(ValueError, match="energy in eV"):
        solve_window(h, s, [[0, 0, 0]], np.nan, 2)
    with pytest.raises(ValueError, match="a window holds"):
        solve_window(*graphene_model(), [[0, 0, 0]], 0.0, 1)


def _cubic_lattice(n: int, spinor: bool) -> BlockMatrix:
    """One orbital per site of an n x n x n supercell, hopping -1: its levels at Gamma are up to 24-fold for n = 6."""
    sites = np.array(list(np.ndindex(n, n, n)))
    blocks = {}
    for i, site in enumerate(sites):
        for axis in np.eye(3, dtype=int):
            shift, place = np.divmod(site + axis, n)
            blocks[i, int(np.ravel_multi_index(place, (n, n, n))), tuple(shift.tolist())] = [[-1.0]]
    layout = OrbitalLayout(((0,),) * n**3)
    return BlockMatrix.from_blocks(layout, add_adjoints(blocks)).with_spin("spinor" if spinor else "none")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("spinor", "center", "n_states"), [(False, -6.1, 10), (False, 0.001, 70), (True, -6.1, 12)])
def test_degenerate_levels_are_complete_and_their_states_orthogonal(spinor, center, n_states, library):
    h = _cubic_lattice(6, spinor)
    window = solve_window(h, None, [[0, 0, 0]], center, n_states, eigenvectors=True, machine=Machine(library=library))
    along = -2 * np.cos(2 * np.pi * np.arange(6) / 6)
    levels = np.tile(np.add.outer(np.add.outer(along, along), along).ravel(), h.n_spin)
    distances = np.sort(np.abs(levels - center))[:n_states]
    assert np.abs(np.sort(np.abs(window.energies[0] - center)) - distances).max() < 1e-9
    c = window.coefficients[0]
    assert np.abs(c.conj().T @ c - np.eye(n_states)).max() < 1e-10


@pytest.mark.parametrize("n_states", [1, 2, 3, 6])
def test_small_matrices(n_states):
    h, s = random_model()
    window = solve_window(h, s, [[0.1, 0.2, 0]], 0.0, n_states)
    bands = compute_bands(h, s, [[0.1, 0.2, 0]])[0]
    assert np.abs(window.energies[0] - np.sort(bands[np.argsort(np.abs(bands))[:n_states]])).max() < 1e-9
