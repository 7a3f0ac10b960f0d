"""Known errors are put in; the figures must give them back."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import eigh

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.fit.metrics import BandReference, hamiltonian_error, pool_errors
from tests.fit.cases import make_sample


@pytest.fixture(scope="module")
def sample():
    return make_sample(0)


def is_onsite(matrix: BlockMatrix) -> np.ndarray:
    """(n values,) whether a number belongs to an on-site block."""
    onsite = (matrix.pairs[:, 0] == matrix.pairs[:, 1]) & (matrix.shifts == 0).all(axis=1)
    return np.repeat(onsite, np.diff(matrix.offsets))


def test_perfect(sample):
    error = hamiltonian_error(sample.hamiltonian, sample)
    assert (error.all, error.onsite, error.offsite, error.gauge, error.mu, error.largest_block) == (0, 0, 0, 0, 0, 0)
    bands = BandReference(sample).error(sample.hamiltonian)
    assert bands.largest == 0
    assert bands.weight > 0


def test_onsite_and_offsite(sample):
    h = sample.hamiltonian
    inside = is_onsite(h)
    predicted = replace(h, values=h.values + np.where(inside, 0.004, -0.001))
    error = hamiltonian_error(predicted, sample)
    assert error.onsite == pytest.approx(4.0)
    assert error.offsite == pytest.approx(1.0)
    assert error.all == pytest.approx((4 * inside.sum() + (~inside).sum()) / len(inside))


def test_energy_zero(sample):
    predicted = replace(sample.hamiltonian, values=sample.hamiltonian.values + 0.025 * sample.overlap.values)
    error = hamiltonian_error(predicted, sample)
    assert error.mu == pytest.approx(25.0)
    assert error.gauge == pytest.approx(0, abs=1e-10)
    assert error.all == pytest.approx(25 * np.abs(sample.overlap.values).mean())
    bands = BandReference(sample).error(predicted, error)
    assert bands.largest == pytest.approx(25.0, abs=1e-6)
    pooled = pool_errors([error], [bands])
    assert pooled["band_rmse"] == pytest.approx(25.0, abs=1e-6)
    assert pooled["band_rmse_gauge"] == pytest.approx(0, abs=1e-6)


def test_only_predicted_pairs_count(sample):
    """The prediction may stop at a shorter cut-off; a pair it has and the label lacks counts as zero there."""
    h = sample.hamiltonian
    near = h.cut(h.distances(sample.structure.positions, sample.structure.cell) < 3.0)
    assert len(near) < len(h)
    assert hamiltonian_error(near, sample).all == 0
    label = replace(sample, hamiltonian=near, overlap=sample.overlap.restricted_to(near))
    error = hamiltonian_error(h, label)
    far = h.values[~np.isin(h.values, near.values)]
    assert error.all == pytest.approx(1000 * np.abs(far).sum() / len(h.values))


def test_challenging_block_is_the_worst_shell_pair(sample):
    """2 meV on every s-p element between two carbons (and its adjoint), nothing elsewhere."""
    h = sample.hamiltonian
    blocks = {}
    for (i, j, r), block in h.items():
        new = block.copy()
        if block.shape == (4, 4):
            new[0, 1:] += 0.002
        blocks[i, j, r] = new
    error = hamiltonian_error(BlockMatrix.from_blocks(h.layout, blocks), sample)
    assert error.largest_block == pytest.approx(2.0)
    assert error.all < 1.0


def test_challenging_block_is_averaged_over_pairs(sample):
    """An error in one of the carbon pairs only is diluted by their number."""
    h = sample.hamiltonian
    blocks = {key: block.copy() for key, block in h.items()}
    carbon_pairs = [key for key, block in blocks.items() if block.shape == (4, 4)]
    blocks[carbon_pairs[0]][0, 0] += 0.005
    error = hamiltonian_error(BlockMatrix.from_blocks(h.layout, blocks), sample)
    assert error.largest_block == pytest.approx(5.0 / len(carbon_pairs))


def test_bands_count_below_the_limit_only(sample):
    low, high = BandReference(sample, above_fermi=0.0), BandReference(sample, above_fermi=1e6)
    assert low.counted.sum() < high.counted.sum() == high.energies.size
    assert high.mesh.kpts.shape == (4, 3)  # six points along x, halved by time reversal
    assert (high.mesh.kpts[:, 1:] == 0).all()
    assert high.error(sample.hamiltonian).weight == pytest.approx(high.energies.shape[1])


def test_bands_against_a_direct_solution(sample):
    reference = BandReference(sample)
    for k, energies in zip(reference.mesh.kpts, reference.energies, strict=True):
        h, s = (m.bloch(k)[0] for m in (sample.hamiltonian, sample.overlap))
        assert np.abs(eigh(h, s, eigvals_only=True) - energies).max() < 1e-9


def test_pooling_weighs_states_not_structures(sample):
    """1 meV in a structure of full weight and 3 meV in one where a third of the states counts."""
    few, many = BandReference(sample, above_fermi=-6.0), BandReference(sample, above_fermi=1e6)
    assert 0 < few.counted.sum() < many.counted.sum()

    def shifted(mev):
        return replace(sample.hamiltonian, values=sample.hamiltonian.values + 1e-3 * mev * sample.overlap.values)

    bands = [many.error(shifted(1.0)), few.error(shifted(3.0))]
    elements = [hamiltonian_error(shifted(mev), sample) for mev in (1.0, 3.0)]
    pooled = pool_errors(elements, bands)
    expected = np.sqrt((bands[0].weight * 1 + bands[1].weight * 9) / (bands[0].weight + bands[1].weight))
    assert pooled["band_rmse"] == pytest.approx(expected, rel=1e-6)
    assert pooled["band_max"] == pytest.approx(3.0, rel=1e-6)
    assert pooled["cha_s"] == elements[1].all
    assert pooled["cha_b"] == elements[1].largest_block
    assert pooled["mae_all"] == pytest.approx((elements[0].all + elements[1].all) / 2)
    assert pooled["structures"] == 2
    assert "band_rmse" not in pool_errors(elements, [])


def test_gap_error(sample):
    """Ten electrons of a C2H2 cell fill five bands; H scaled by 1.01 has a gap that is larger by a hundredth."""
    reference = BandReference(sample)
    assert reference.n_filled == 5
    gap = reference.energies[:, 5].min() - reference.energies[:, 4].max()
    scaled = replace(sample.hamiltonian, values=1.01 * sample.hamiltonian.values)
    assert reference.error(scaled).gap == pytest.approx(10 * abs(gap), rel=1e-6)
    shifted = replace(sample.hamiltonian, values=sample.hamiltonian.values + 0.3 * sample.overlap.values)
    assert reference.error(shifted).gap == pytest.approx(0, abs=1e-6)
