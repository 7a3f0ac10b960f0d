"""Between atoms (rows, common axes) and pairs (orders, frame of the pair): gather and rotate, rotate and add up.

The two are adjoint to each other, so each is the backward pass of the other, and nothing but the index and the rotations is
kept for it. A pair may take the features of several atoms at once (S = 2: receiver and sender): the channels of an order are
then those of the first atom, followed by those of the second.
"""

import torch
from torch import Tensor

from .irreps import Channels, Orders, Rows

# torch multiplies small matrices one number at a time: below this many multiplications of one product it does not ask BLAS.
LEAST_FOR_BLAS = 400


def rotate_into_frames(rows: Rows, index: Tensor, rotations: list[Tensor], channels: Channels) -> Orders:
    """Features of the atoms ``index`` (E,) or (E, S), seen in the frame of each pair: orders of S n channels."""
    _refuse_positions(rotations)
    return list(_IntoFrames.apply(channels, index, rotations, *rows))


def add_up_out_of_frames(orders: Orders, index: Tensor, rotations: list[Tensor], channels: Channels, n_atoms: int) -> Rows:
    """Sum of pair features, back in the common axes, over the pairs of each atom: index (E,), rows of n_atoms."""
    _refuse_positions(rotations)
    return list(_OutOfFrames.apply(channels, index, rotations, n_atoms, *orders))


class _IntoFrames(torch.autograd.Function):
    @staticmethod
    def forward(ctx, channels: Channels, index: Tensor, rotations: list[Tensor], *rows: Tensor):
        ctx.channels, ctx.n_atoms = channels, len(rows[0])
        ctx.save_for_backward(index, *rotations[: channels.lmax + 1])
        return _gather(rows, index, rotations, channels)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        index, *rotations = ctx.saved_tensors
        return None, None, None, *_add_up(gradients, index, rotations, ctx.channels, ctx.n_atoms)


class _OutOfFrames(torch.autograd.Function):
    @staticmethod
    def forward(ctx, channels: Channels, index: Tensor, rotations: list[Tensor], n_atoms: int, *orders: Tensor):
        ctx.channels = channels
        ctx.save_for_backward(index, *rotations[: channels.lmax + 1])
        return _add_up(orders, index, rotations, channels, n_atoms)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        index, *rotations = ctx.saved_tensors
        return None, None, None, None, *_gather(gradients, index, rotations, ctx.channels)


def _refuse_positions(rotations: list[Tensor]):
    """The backward passes here are those of training; a derivative with respect to the positions would lack a term unnoticed."""
    if any(rotation.requires_grad for rotation in rotations):
        raise NotImplementedError("no derivatives with respect to positions: expected rotations that need no gradient")


def _gather(rows, index: Tensor, rotations: list[Tensor], channels: Channels) -> tuple[Tensor, ...]:
    n, ends = len(index), index.shape[1] if index.dim() == 2 else 1
    turned = []
    for l, (row, count) in enumerate(zip(rows, channels.counts, strict=True)):
        picked = row.index_select(0, index.flatten()).view(n, ends, 2 * l + 1, count)
        # The channels of all atoms of a pair as columns of one product.
        picked = picked.transpose(1, 2).reshape(n, 2 * l + 1, ends * count)
        if l:
            picked = multiply(rotations[l].transpose(1, 2), picked)
        turned.append(picked.unflatten(2, (ends, count)))
    orders = [turned[0].new_empty(n, 2 if m else 1, ends, channels.tail(m)) for m in range(channels.lmax + 1)]
    for order, row, sign in channels.pairs_of_views(orders, turned):
        order.copy_(row)
        if sign < 0:
            order.neg_()
    return orders[0].flatten(1), *(order.flatten(2) for order in orders[1:])


def _add_up(orders, index: Tensor, rotations: list[Tensor], channels: Channels, n_atoms: int) -> tuple[Tensor, ...]:
    n, ends = len(index), index.shape[1] if index.dim() == 2 else 1
    local = [order.reshape(n, 2 if m else 1, ends, channels.tail(m)) for m, order in enumerate(orders)]
    rows = [local[0].new_empty(n, 2 * l + 1, ends, count) for l, count in enumerate(channels.counts)]
    for order, row, sign in channels.pairs_of_views(local, rows):
        row.copy_(order)
        if sign < 0:
            row.neg_()
    total = []
    for l, (row, count) in enumerate(zip(rows, channels.counts, strict=True)):
        turned = multiply(rotations[l], row.flatten(2)) if l else row.flatten(2)
        parts = turned.unflatten(2, (ends, count)).transpose(1, 2).reshape(n * ends, (2 * l + 1) * count)
        summed = parts.new_zeros(n_atoms, (2 * l + 1) * count).index_add_(0, index.flatten(), parts)
        total.append(summed.view(n_atoms, 2 * l + 1, count))
    return tuple(total)


def multiply(matrices: Tensor, columns: Tensor) -> Tensor:
    """Batched product (E, a, b) x (E, b, c); columns of zeros are added where that makes it faster."""
    each = matrices.shape[1] * matrices.shape[2]
    c = columns.shape[2]
    if columns.is_cuda or not LEAST_FOR_BLAS / 4 <= each * c < LEAST_FOR_BLAS:
        return torch.bmm(matrices, columns)
    padded = torch.nn.functional.pad(columns, (0, -(-LEAST_FOR_BLAS // each) - c))
    return torch.bmm(matrices, padded)[:, :, :c]
