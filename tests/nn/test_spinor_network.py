"""Symmetries of a network of spinor blocks, float64, random weights: rotations of orbitals and spin together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.symmetry import time_reversal_residual
from ase_tracegrad.harmonics import shell_rotation
from ase_tracegrad.nn.batch import make_batch
from ase_tracegrad.nn.coupling import CommonShells
from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.structure import Structure
from tests.nn.synthetic import make_basis, make_predictor

NO_CELL = (np.zeros((3, 3)), [False, False, False])
SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
IRREPS = "6x0e+2x0o+4x1o+3x1e+3x2e+2x2o+2x3o+2x3e+2x4e+1x4o+1x5e"


@pytest.fixture(scope="module")
def predictor():
    return make_predictor((1, 6), spinor=True, node_last=IRREPS, edge_last=IRREPS)


def rotations_of_space(n: int):
    """Proper and improper rotations, the pure inversion and a mirror."""
    proper = list(Rotation.random(n, random_state=8).as_matrix())
    return [*proper, *(-q for q in proper[:2]), -np.eye(3), np.diag([1.0, -1, 1])]


def rotate_spin(rotation) -> np.ndarray:
    """exp(-i a n.sigma / 2) of the proper part: inversion leaves spins alone."""
    vector = Rotation.from_matrix(rotation * np.sign(np.linalg.det(rotation))).as_rotvec()
    return expm(-0.5j * np.einsum("c,cab->ab", vector, SIGMA))


def turn_matrix(matrix: BlockMatrix, rotation, spin=None) -> BlockMatrix:
    """(U x D_i) H_ij (U x D_j)^+ of every block."""
    spin = rotate_spin(rotation) if spin is None else spin
    turns = [np.kron(spin, matrix.layout.rotation(i, rotation)) for i in range(matrix.layout.n_atoms)]
    blocks = {(i, j, r): turns[i] @ b @ turns[j].conj().T for (i, j, r), b in matrix.items()}
    return BlockMatrix.from_blocks(matrix.layout, blocks, "spinor")


def difference(a: BlockMatrix, b: BlockMatrix) -> float:
    assert a.index.keys() == b.index.keys()
    return float(np.abs((a - b).values).max())


def turned(structure: Structure, rotation) -> Structure:
    return replace(structure, positions=structure.positions @ rotation.T, cell=structure.cell @ rotation.T)


@pytest.mark.parametrize("rotation", rotations_of_space(3))
def test_the_hamiltonian_rotates_with_the_crystal_and_its_spins(predictor, hydrocarbon, rotation):
    before, after = predictor.predict([hydrocarbon, turned(hydrocarbon, rotation)])
    assert before.spin == "spinor"
    assert difference(after, turn_matrix(before, rotation)) < 1e-10


def test_spins_that_stay_behind_are_noticed(predictor, hydrocarbon):
    """All parts of the spin-orbit coupling are there: without the rotation of the spin the same comparison fails."""
    rotation = rotations_of_space(1)[0]
    before, after = predictor.predict([hydrocarbon, turned(hydrocarbon, rotation)])
    assert difference(after, turn_matrix(before, rotation, np.eye(2))) > 0.1


def test_hermitian_and_time_reversal_symmetric_by_construction(predictor, hydrocarbon):
    matrix = predictor.predict([hydrocarbon])[0]
    assert matrix.hermiticity_residual() < 1e-14
    assert time_reversal_residual(matrix) < 1e-14
    for block in (matrix.block(0, 0), matrix.block(0, 1)):
        n = block.shape[0] // 2
        assert min(np.abs(part).max() for part in (block[:n, n:].real, block[:n, n:].imag, block[:n, :n].imag)) > 1e-3


def test_kramers_pairs(predictor, hydrocarbon):
    """Two-fold levels where k = -k, E(-k) = E(k) elsewhere, and split bands there: the structure has no inversion centre."""
    matrix = predictor.predict([hydrocarbon])[0]
    unit = {(i, i, (0, 0, 0)): np.eye(n) for i, n in enumerate(matrix.layout.sizes)}
    overlap = BlockMatrix.from_blocks(matrix.layout, unit)
    k = np.array([0.13, 0.31, -0.22])
    at_edge, inside, reversed_ = compute_bands(matrix, overlap, [[0.5, 0, 0.5], k, -k])
    assert np.abs(at_edge[::2] - at_edge[1::2]).max() < 1e-10
    assert np.abs(inside - reversed_).max() < 1e-10
    assert np.abs(inside[::2] - inside[1::2]).max() > 1e-3


def test_batch_equals_single_and_permutation(predictor, hydrocarbon):
    molecule = Structure([6, 1], [[0, 0, 0], [0, 0, 1.1]], *NO_CELL)
    structures = [hydrocarbon, Structure([1], [[0, 0, 0]], *NO_CELL), molecule]
    for together, structure in zip(predictor.predict(structures), structures, strict=True):
        assert difference(together, predictor.predict([structure])[0]) < 1e-11
    order = np.array([2, 0, 1])  # new atom k is old atom order[k]
    new_of = np.argsort(order)
    permuted = replace(hydrocarbon, numbers=hydrocarbon.numbers[order], positions=hydrocarbon.positions[order])
    before, after = predictor.predict([hydrocarbon, permuted])
    expected = {(int(new_of[i]), int(new_of[j]), r): b for (i, j, r), b in before.items()}
    assert difference(after, BlockMatrix.from_blocks(after.layout, expected, "spinor")) < 1e-11


def test_an_isolated_atom_has_nothing_but_spin_orbit_coupling(predictor):
    """On-site blocks of a free atom commute with every rotation of orbitals and spin together; j = l +- 1/2 may differ."""
    matrix = predictor.predict([Structure([6], [[0.3, 0, 0]], *NO_CELL)])[0]
    for rotation in rotations_of_space(1):
        assert difference(matrix, turn_matrix(matrix, rotation)) < 1e-12
    p = 2 * [*range(1, 4)]  # the p shell of carbon, up and down
    p[3:] = [x + 10 for x in p[3:]]
    levels = np.linalg.eigvalsh(matrix.block(0, 0)[np.ix_(p, p)])
    groups = np.diff(levels) > 1e-9
    assert groups.tolist() in ([False, True, False, False, False], [False, False, False, True, False])


def test_trace_labels_are_invariant(predictor, hydrocarbon):
    rotation = -Rotation.random(random_state=3).as_matrix()
    traces = []
    for structure in (hydrocarbon, turned(hydrocarbon, rotation)):
        graph, network = predictor.graph(structure), predictor.network
        batch = make_batch([graph], network.elements, message_cutoff=3.0, lmax=network.lmax, dtype=torch.float64)
        prediction = network(batch, with_traces=True)
        offsite = torch.empty_like(prediction.offsite_trace)
        offsite[batch.pair_order] = prediction.offsite_trace
        keys = np.hstack([graph.pairs, graph.shifts])[graph.n_onsite :]
        traces.append((offsite[np.lexsort(keys.T)], prediction.onsite_trace))
    for a, b in zip(*traces, strict=True):
        assert a.shape[1] == len(predictor.network.shells.shells) ** 2
        assert a.abs().max() > 0.01
        assert (a - b).abs().max() < 1e-10


@pytest.fixture(scope="module")
def common() -> CommonShells:
    return CommonShells(make_basis((1, 6)), [1, 6], spinor=True)


def test_coupling_is_orthogonal(common):
    assert common.coupling.shape == (4 * 10**2, 4 * 10**2)
    assert (common.coupling @ common.coupling.T - torch.eye(400, dtype=torch.float64)).abs().max() < 1e-14


def test_coupled_components_rotate_irrep_by_irrep(common):
    """Orbitals by D, the vector of spin space by D_1 of the proper part: every irrep up to L = 5 and both parities."""
    coupling = common.coupling.numpy()
    for rotation in (*Rotation.random(2, random_state=0).as_matrix(), -np.eye(3)):
        orbitals = np.zeros((common.size, common.size))
        for l, start in zip(common.shells, common.starts, strict=True):
            orbitals[start : start + 2 * l + 1, start : start + 2 * l + 1] = shell_rotation(l, rotation)
        spin = np.eye(4)
        spin[1:, 1:] = shell_rotation(1, rotation * np.sign(np.linalg.det(rotation)))
        block = np.random.default_rng(1).normal(size=common.block_shape)
        after = np.einsum("st,ab,tbc,dc->sad", spin, orbitals, block, orbitals)
        coupled, turned_ = (coupling @ b.ravel() for b in (block, after))
        first = 0
        for L, count in enumerate(common.channels.counts):
            part = slice(first, first + (2 * L + 1) * count)
            expected = shell_rotation(L, rotation) @ coupled[part].reshape(2 * L + 1, count)
            if np.linalg.det(rotation) < 0:  # shell_rotation holds (-1)^L; pseudo irreps have the other sign
                expected[:, common.channels.natural[L] :] *= -1
            assert np.abs(turned_[part].reshape(2 * L + 1, count) - expected).max() < 1e-12
            first = part.stop


def test_irreps_that_onsite_blocks_lack_are_named(common, caplog):
    """No 5e: it is symmetric in the orbitals of one d shell, and the spin-orbit part is antisymmetric."""
    assert common.missing_onsite(Channels(IRREPS)) == []
    assert common.missing_onsite(Channels("4x0e+4x1o+4x1e+4x2e+4x2o+4x3o+4x3e+4x4e")) == ["0o", "4o"]
    make_predictor((1, 6), spinor=True, node_last="6x0e+1x0o+4x1o+3x1e+3x2e+2x2o+2x3o+2x3e+2x4e")
    assert "on-site blocks will have no part of type 4o" in caplog.text


def test_one_p_shell_needs_no_antisymmetric_part():
    """Spinless p x p on one atom is symmetric: 0e and 2e; spin-orbit coupling is its antisymmetric part times the spin."""
    basis = replace(make_basis((1,)), atoms={1: replace(make_basis((1,))[1], angular_momenta=(1,))})
    assert CommonShells(basis, [1]).missing_onsite(Channels("1x0e+1x2e")) == []
    assert CommonShells(basis, [1], spinor=True).missing_onsite(Channels("1x0e+1x2e")) == ["1e"]
