import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ase_tracegrad.harmonics import shell_rotation
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.coupling import CommonShells
from tests.nn.synthetic import SHELLS, make_basis


@pytest.fixture(scope="module")
def common() -> CommonShells:
    return CommonShells(make_basis((1, 6, 22, 58)), [1, 6, 22, 58])


def test_common_shells_hold_the_most_of_each_l(common):
    assert common.shells == [0, 0, 1, 2, 3, 4]
    assert common.size == 2 + 3 + 5 + 7 + 9
    for z, ls in SHELLS.items():
        assert len(common.index[z]) == sum(2 * l + 1 for l in ls)
        assert len(set(common.index[z].tolist())) == len(common.index[z])


def test_each_orbital_stands_in_a_shell_of_its_l(common):
    l_of = np.repeat(common.shells, [2 * l + 1 for l in common.shells])
    m_of = np.concatenate([np.arange(-l, l + 1) for l in common.shells])
    for z, ls in SHELLS.items():
        assert l_of[common.index[z]].tolist() == [l for l in ls for _ in range(2 * l + 1)]
        assert m_of[common.index[z]].tolist() == [m for l in ls for m in range(-l, l + 1)]


def test_masks_tell_which_common_shells_an_element_uses(common):
    assert common.shell_mask[1].tolist() == [True, True, True, False, False, False]
    assert common.shell_mask[58].tolist() == [True, False, True, False, True, True]


def test_coupling_is_orthogonal(common):
    coupling = common.coupling
    assert coupling.dtype == torch.float64
    assert (coupling @ coupling.T - torch.eye(common.size**2, dtype=torch.float64)).abs().max() < 1e-14


def test_coupled_components_rotate_irrep_by_irrep(common):
    """coupling (D x D) = D_L coupling: proper rotations and the inversion, every irrep up to L = 8."""
    coupling = common.coupling.numpy()
    for rotation in (*Rotation.random(2, random_state=0).as_matrix(), -np.eye(3)):
        orbitals = np.zeros((common.size, common.size))
        for l, start in zip(common.shells, common.starts, strict=True):
            orbitals[start : start + 2 * l + 1, start : start + 2 * l + 1] = shell_rotation(l, rotation)
        block = np.random.default_rng(1).normal(size=(common.size, common.size))
        coupled, turned = (coupling @ b.ravel() for b in (block, orbitals @ block @ orbitals.T))
        first = 0
        for L, count in enumerate(common.channels.counts):
            part = slice(first, first + (2 * L + 1) * count)
            expected = shell_rotation(L, rotation) @ coupled[part].reshape(2 * L + 1, count)
            if np.linalg.det(rotation) < 0:  # shell_rotation holds (-1)^L; pseudo irreps have the other sign
                expected[:, common.channels.natural[L] :] *= -1
            assert np.abs(turned[part].reshape(2 * L + 1, count) - expected).max() < 1e-12
            first = part.stop


def test_facts_of_the_rows_are_right(common):
    """Zero all elements but one shell pair: exactly the rows of that shell pair respond."""
    facts = common.components
    assert {len(v) for v in facts.values()} == {common.size**2}
    for a, b in ((0, 1), (2, 3), (5, 4)):
        block = torch.zeros(common.size, common.size, dtype=torch.float64)
        rows = slice(common.starts[a], common.starts[a] + 2 * common.shells[a] + 1)
        columns = slice(common.starts[b], common.starts[b] + 2 * common.shells[b] + 1)
        block[rows, columns] = torch.randn(
            block[rows, columns].shape, generator=torch.Generator().manual_seed(0), dtype=block.dtype
        )
        response = (common.coupling @ block.flatten()).abs() > 1e-12
        assert torch.equal(response, facts["shell_pair"] == a * len(common.shells) + b)


def test_two_centre_rows_are_what_is_left_along_the_pole(common):
    """Averaged over rotations about z and reflected, a block keeps its natural M = 0 components only."""
    generator = np.random.default_rng(2)
    block = generator.normal(size=(common.size, common.size))
    average = np.zeros_like(block)
    n = 2 * 2 * max(common.shells) + 1
    for k in range(n):
        for mirror in (1.0, -1.0):
            angle = 2 * np.pi * k / n
            c, s = np.cos(angle), np.sin(angle)
            rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([mirror, 1, 1])
            d = np.zeros_like(block)
            for l, start in zip(common.shells, common.starts, strict=True):
                d[start : start + 2 * l + 1, start : start + 2 * l + 1] = shell_rotation(l, rotation)
            average += d @ block @ d.T / (2 * n)
    coupled = common.coupling.numpy() @ average.ravel()
    assert np.array_equal(np.abs(coupled) > 1e-10, common.components["two_centre"].numpy())


def test_blocks_to_irreps_to_blocks(predictor, crystal):
    readout, network = predictor.network.readout, predictor.network
    graph = predictor.graph(crystal)
    batch = make_batch([graph], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    u = network.shells.size
    blocks = torch.randn(batch.n_pairs, u, u, generator=generator, dtype=torch.float64)
    blocks = 0.5 * (blocks + blocks[batch.reverse].transpose(1, 2))
    coupled = readout.couple_offsite(blocks, batch)
    standardised = (coupled - readout.statistics(batch)[0]) / readout.statistics(batch)[1]
    again = readout.offsite_blocks(readout._split(standardised), batch)
    envelope = readout.envelope(batch)[:, None, None]
    assert (again - blocks * envelope).abs().max() < 1e-12
    onsite = torch.randn(batch.n_atoms, u, u, generator=generator, dtype=torch.float64)
    onsite = 0.5 * (onsite + onsite.transpose(1, 2))
    flat = (readout.couple_onsite(onsite) - readout.onsite_mean[batch.species]) / readout.onsite_spread[batch.species]
    assert (readout.onsite_blocks(readout._split(flat), batch) - onsite).abs().max() < 1e-12
