"""Gathering into frames against rotation one feature at a time; its adjoint; derivatives against finite differences."""

import pytest
import torch

from ase_tracegrad.nn.frames import add_up_out_of_frames, multiply, rotate_into_frames
from ase_tracegrad.nn.irreps import Channels
from ase_tracegrad.nn.wigner import edge_rotations

CHANNELS = Channels("2x0e+1x0o+3x1o+1x1e+2x2e+1x2o")


@pytest.fixture
def frames():
    """(rows of 3 atoms, two atoms of each of 5 pairs, rotations)."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(3, 2 * l + 1, c, generator=generator, dtype=torch.float64) for l, c in enumerate(CHANNELS.counts)]
    vectors = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return rows, torch.tensor([[0, 1], [1, 0], [2, 2], [0, 2], [1, 1]]), edge_rotations(vectors, CHANNELS.lmax)


def turn_by_hand(rows, index, rotations):
    return CHANNELS.to_orders([torch.einsum("emk,emc->ekc", d, row[index]) for d, row in zip(rotations, rows, strict=False)])


def test_two_atoms_are_those_of_one_side_by_side(frames):
    rows, index, rotations = frames
    joined = rotate_into_frames(rows, index, rotations, CHANNELS)
    for k in range(2):
        for found, expected in zip(joined, turn_by_hand(rows, index[:, k], rotations), strict=True):
            assert torch.allclose(found.chunk(2, dim=-1)[k], expected, atol=1e-14)


@pytest.mark.parametrize("atoms", [1, 2])
def test_adding_up_is_the_adjoint(frames, atoms):
    rows, index, rotations = frames
    index = index[:, 0] if atoms == 1 else index
    orders = [torch.randn_like(x) for x in rotate_into_frames(rows, index, rotations, CHANNELS)]
    into = sum((a * b).sum() for a, b in zip(rotate_into_frames(rows, index, rotations, CHANNELS), orders, strict=True))
    out = sum((a * b).sum() for a, b in zip(add_up_out_of_frames(orders, index, rotations, CHANNELS, 3), rows, strict=True))
    assert float(into) == pytest.approx(float(out), rel=1e-12)


def test_derivatives(frames):
    rows, index, rotations = frames
    assert torch.autograd.gradcheck(
        lambda *x: tuple(rotate_into_frames(list(x), index, rotations, CHANNELS)), [row.requires_grad_() for row in rows]
    )
    orders = [torch.randn_like(x).requires_grad_() for x in turn_by_hand(rows, index[:, 0], rotations)]
    assert torch.autograd.gradcheck(lambda *x: tuple(add_up_out_of_frames(list(x), index[:, 0], rotations, CHANNELS, 3)), orders)


@pytest.mark.parametrize("columns", [1, 8, 32, 64])
def test_padding_changes_nothing(columns):
    matrices, x = torch.randn(4, 3, 3, dtype=torch.float64), torch.randn(4, 3, columns, dtype=torch.float64)
    assert torch.allclose(multiply(matrices, x), torch.einsum("eab,ebc->eac", matrices, x), atol=1e-14)


def test_derivatives_by_positions_are_refused(frames):
    rows, index, rotations = frames
    with pytest.raises(NotImplementedError, match="positions"):
        rotate_into_frames(rows, index, [rotation.clone().requires_grad_() for rotation in rotations], CHANNELS)
