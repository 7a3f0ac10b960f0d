"""CP2K's own results against what we read, compute and rotate, before any network is trained."""

import numpy as np
import pytest
from scipy.linalg import eigh

from ase_tracegrad.overlap import compute_overlap

NAMES = ["displaced", "rotated", "perfect"]


@pytest.fixture(params=NAMES)
def sample(request, graphene_store):
    return graphene_store[request.param]


def solve(hamiltonian, overlap, kpts, n_bands: int) -> np.ndarray:
    matrices = zip(hamiltonian.bloch(kpts), overlap.bloch(kpts), strict=True)
    return np.array([eigh(h, s, eigvals_only=True)[:n_bands] for h, s in matrices])


def test_bands_are_cp2ks(sample):
    """With CP2K's S below E_F + 20 eV, with our S in the whole printed range: CP2K leaves out S elements
    below 1e-9, which the highest bands, where S is nearly singular, amplify."""
    reference = sample.bands.energies
    kpts, n_bands = sample.bands.kpts, reference.shape[1]
    with_theirs = solve(sample.hamiltonian, sample.overlap, kpts, n_bands)
    window = reference < sample.bands.fermi_level + 20
    assert np.abs(with_theirs - reference)[window].max() < 0.05e-3
    with_ours = solve(sample.hamiltonian, compute_overlap(sample.structure, sample.basis), kpts, n_bands)
    assert np.abs(with_ours - reference).max() < 0.05e-3


def test_overlap_is_cp2ks(sample):
    difference = compute_overlap(sample.structure, sample.basis) - sample.overlap
    assert np.abs(difference.values).max() < 1e-7
    assert np.abs(difference.values).max() > 0


def test_matrices_are_hermitian_and_overlap_positive(sample):
    assert sample.hamiltonian.is_hermitian(1e-8)
    assert sample.overlap.is_hermitian(1e-8)
    kpts = np.random.default_rng(0).uniform(-0.5, 0.5, (8, 3))
    assert np.linalg.eigvalsh(sample.overlap.bloch(kpts)).min() > 1e-4


@pytest.mark.parametrize(("quantity", "tolerance"), [("hamiltonian", 1e-5), ("overlap", 5e-9)])
def test_blocks_rotate_with_wigner_d(graphene_store, quantity, tolerance):
    rotation = np.array(graphene_store.info["rotation"])
    before, after = (getattr(graphene_store[name], quantity) for name in ("displaced", "rotated"))
    matrices = [before.layout.rotation(i, rotation) for i in range(2)]
    for (i, j, r), block in before.items():
        turned = matrices[i] @ block @ matrices[j].T
        found = after.block(i, j, r) if (i, j, r) in after.index else np.zeros_like(turned)
        assert np.abs(found - turned).max() < tolerance
    unrotated = max(np.abs(after.block(*key) - block).max() for key, block in before.items() if key in after.index)
    assert unrotated > 0.1  # the rotation is not a symmetry, so D matters


def test_bands_touch_at_the_dirac_point(graphene_store):
    """The fixture's shifted 6 x 6 mesh lacks the threefold axis, which splits CP2K's own bands by 1.6 meV."""
    sample = graphene_store["perfect"]
    at_k = np.abs(sample.bands.kpts - [1 / 3, 1 / 3, 0]).max(axis=1).argmin()
    reference = sample.bands.energies[at_k, 3:5]
    energies = solve(sample.hamiltonian, sample.overlap, sample.bands.kpts[[at_k]], 5)[0, 3:5]
    assert np.diff(energies) < 2e-3
    assert np.diff(energies) == pytest.approx(np.diff(reference), abs=1e-6)
    assert np.abs(energies - sample.info["fermi_level"]).max() < 0.1
