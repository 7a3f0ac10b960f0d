"""The TraceGrad block: invariants of a feature, a non-linear function of them, and its gradient added to the feature.

arXiv 2405.05722: u = CG(f x f -> l = 0), z = MLP(u), v = d(sum_k z_k)/df, f <- f + v. The gradient is
written out (closed form), so the forward pass needs no autograd and works under inference_mode:

    u_p = <A_p f, B_p f> / sqrt(2l+1),   g = d(sum_k z_k)/du,
    v   = [A^T (g * B f) + B^T (g * A f)] / sqrt(2l+1).

By default A is the identity: each channel is multiplied with a learned mixture of the others, c_l products
per (l, parity) at half the cost of a general pair (A, B) of a given ``rank``; ``full=True`` keeps all c_l^2
products. LayerNorm inside the MLP acts on the invariants; its derivative is in the closed form.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from .irreps import Channels, EdgeAlgebra, NodeAlgebra, Orders, Rows


class InvariantMLP(nn.Module):
    """z = MLP(u) with LayerNorm and SiLU, and g = d(sum_k z_k)/du without autograd."""

    def __init__(self, n_in: int, hidden: int, n_out: int):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(n_in, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, n_out)

    def forward(self, u: Tensor) -> Tensor:
        return self.last(silu(_normalize(self.second(silu(_normalize(self.first(u)))))))

    def with_gradient(self, u: Tensor, *, value: bool = True) -> tuple[Tensor | None, Tensor]:
        """(z, g), shapes (E, n_out) and (E, n_in); value=False leaves z out."""
        a = self.first(u)
        a_hat = _normalize(a)
        b = self.second(silu(a_hat))
        b_hat = _normalize(b)
        z = self.last(silu(b_hat)) if value else None
        g_b = _NormalizeBackward.apply(self.last.weight.sum(0) * _silu_derivative(b_hat), b)
        g_a = _NormalizeBackward.apply((g_b @ self.second.weight) * _silu_derivative(a_hat), a)
        return z, g_a @ self.first.weight


class TraceGradBlock(nn.Module):
    """f -> (f + v, z) for node features (rows) or edge features (orders); z is None unless ``invariants`` are asked for.

    channels: layout of f; kind: 'node' or 'edge'; invariants: number of z handed to the trace decoder.
    gradient=False leaves f as it is (the trace-loss-only ablation).
    """

    norms: Tensor

    def __init__(
        self,
        channels: Channels,
        kind: str,
        *,
        rank: int | None = None,
        full: bool = False,
        hidden: int = 64,
        invariants: int = 32,
        gradient: bool = True,
    ):
        super().__init__()
        self.channels, self.kind, self.full, self.gradient = channels, kind, full, gradient
        self.algebra = {"node": NodeAlgebra, "edge": EdgeAlgebra}[kind](channels)
        self.ranks = [c * c if full else min(rank or c, c) for _, _, c in channels.groups]
        shapes = [(c, r) for (_, _, c), r in zip(channels.groups, self.ranks, strict=True)]
        if not full:
            self.right = nn.ParameterList(0.3 * torch.randn(c, r) / math.sqrt(c) for c, r in shapes)
        self.left = nn.ParameterList(torch.randn(c, r) / math.sqrt(c) for c, r in shapes) if rank and not full else None
        norms = [
            torch.full((r,), 1 / math.sqrt(2 * l + 1), dtype=torch.float64)
            for (l, _, _), r in zip(channels.groups, self.ranks, strict=True)
        ]
        self.register_buffer("norms", torch.cat(norms), persistent=False)
        self.mlp = InvariantMLP(sum(self.ranks), hidden, invariants)
        # One learned step per channel; small at first, so that a new block begins near the identity.
        steps = torch.cat([torch.full((c,), 1 / c if full else 1.0) for _, _, c in channels.groups])
        self.step = nn.Parameter(steps) if gradient else None

    def forward(self, f: Rows | Orders, *, invariants: bool = True) -> tuple[Rows | Orders, Tensor | None]:
        if not (self.gradient or invariants):
            return f, None
        if self.full:
            return self._forward_full(f, invariants)
        right = list(self.right)
        a, b = self._left(f), self.algebra.mix(f, right)
        u = self.algebra.inner(a, b) * self.norms
        if self.step is None:
            return f, self.mlp(u)
        z, g = self.mlp.with_gradient(u, value=invariants)
        g = g * self.norms
        if self.left is None:
            v_left = self.algebra.scale(b, g * self.step)
        else:
            v_left = self.algebra.mix(self.algebra.scale(b, g), self._transposed(self.left))
        v_right = self.algebra.mix(self.algebra.scale(a, g), self._transposed(right))
        return [x + y + w for x, y, w in zip(f, v_left, v_right, strict=True)], z

    def _left(self, f):
        """A f; the identity unless a rank was asked for."""
        return f if self.left is None else self.algebra.mix(f, list(self.left))

    def _transposed(self, weights) -> list[Tensor]:
        """A^T of every group, with the steps of the channels it leads to."""
        assert self.step is not None
        steps = self.step.split([c for _, _, c in self.channels.groups])
        return [weight.T * step for weight, step in zip(weights, steps, strict=True)]

    def _forward_full(self, f, invariants: bool):
        """All channel pairs: u_(cc') = <f_c, f_c'> / sqrt(2l+1); v = (G + G^T) f."""
        rows = self._as_rows(f)
        u = self._gram_matrices(rows) * self.norms
        if not self.gradient:
            return f, self.mlp(u)
        z, g = self.mlp.with_gradient(u, value=invariants)
        v: list[list[Tensor]] = [[] for _ in rows]
        for (l, first, c), part in zip(self.channels.groups, (g * self.norms).split(self.ranks, dim=1), strict=True):
            matrix = part.view(-1, c, c)
            group = first - self.channels.starts[l]
            v[l].append(rows[l][:, :, group : group + c] @ (matrix + matrix.transpose(1, 2)))
        joined = [torch.cat(parts, dim=2) if parts else row for parts, row in zip(v, rows, strict=True)]
        return self._add(f, self.channels.to_orders(joined) if self.kind == "edge" else joined), z

    def _as_rows(self, f: Rows | Orders) -> Rows:
        return self.channels.to_rows(f) if self.kind == "edge" else f

    def _gram_matrices(self, rows: Rows) -> Tensor:
        """<f_c, f_c'> for all channel pairs of each group, (E, sum c^2)."""
        grams = []
        for l, first, c in self.channels.groups:
            group = first - self.channels.starts[l]
            part = rows[l][:, :, group : group + c]
            grams.append((part.transpose(1, 2) @ part).flatten(1))
        return torch.cat(grams, dim=1)

    def _add(self, f, v):
        assert self.step is not None
        return [x + y for x, y in zip(f, self.algebra.scale(v, self.step[None]), strict=True)]


_EPSILON = 1e-3  # variance floor of the normalisation: invariants may vanish, e.g. before the first message


def _normalize(x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], eps=_EPSILON)


class _NormalizeBackward(torch.autograd.Function):
    """(gradient, x) -> J gradient with J = d _normalize(x) / dx = s (1 - mean - h h^T / n), h = _normalize(x); J is symmetric."""

    @staticmethod
    def forward(ctx, gradient: Tensor, x: Tensor) -> Tensor:
        h, mean, s = torch.native_layer_norm(x, x.shape[-1:], None, None, _EPSILON)
        out = _apply_jacobian(gradient, x, mean, s)
        ctx.save_for_backward(gradient, x, h, mean, s, out)
        return out

    @staticmethod
    def backward(ctx, w: Tensor):
        gradient, x, h, mean, s, out = ctx.saved_tensors
        # Through h, and through the factor s, whose derivative is - s^2 h / n.
        of_h = w * (gradient * h).mean(-1, keepdim=True) + gradient * (w * h).mean(-1, keepdim=True)
        through_h = _apply_jacobian(of_h * -s, x, mean, s)
        return _apply_jacobian(w, x, mean, s), through_h - h * (s * (w * out).mean(-1, keepdim=True))


def _apply_jacobian(gradient: Tensor, x: Tensor, mean: Tensor, s: Tensor) -> Tensor:
    only_x = [True, False, False]
    return torch.ops.aten.native_layer_norm_backward(gradient, x, x.shape[-1:], mean, s, None, None, only_x)[0]


def _silu_derivative(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))
