"""What follows a convolution, with short backward passes: gates with radial weights, and the norm of the scalars."""

import torch
from torch import Tensor, nn

from .irreps import Orders, inner_orders, scale_orders


def gate_and_weigh(x: Orders, extra: Tensor, weight: Tensor) -> Orders:
    """x times sigmoid(scalars of x, extra) times weight (E, n); extra (E, n - scalars): gates of the other channels."""
    # silu(x) = x sigmoid(x): scalars gate themselves, so one multiplication does gate and radial weight.
    return list(_Gate.apply(weight, extra, *x))


def normalize_scalars(norm: nn.LayerNorm, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """LayerNorm of the first channels of x (E, n), the others as they are, and residual (E, n) added to all of them."""
    return _NormalizeScalars.apply(norm.eps, norm.weight, norm.bias, x, residual)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, extra: Tensor, *x: Tensor):
        scalars = weight.shape[1] - extra.shape[1]
        gate = torch.cat([x[0][:, :scalars], extra], dim=1).sigmoid_()
        ctx.scalars = scalars
        ctx.save_for_backward(weight, gate, *x)
        return tuple(scale_orders(x, gate * weight))

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        weight, gate, *x = ctx.saved_tensors
        of_x = scale_orders(gradients, gate * weight)
        of_factor = inner_orders(gradients, x)
        of_weight = of_factor * gate
        of_gate = (of_factor * weight).mul_(gate).mul_(1 - gate)
        of_x[0][:, : ctx.scalars] += of_gate[:, : ctx.scalars]
        return of_weight, of_gate[:, ctx.scalars :], *of_x


class _NormalizeScalars(torch.autograd.Function):
    @staticmethod
    def forward(ctx, epsilon: float, weight: Tensor, bias: Tensor, x: Tensor, residual: Tensor | None):
        n = len(weight)
        scalars = x[:, :n].contiguous()
        normal, mean, inverse = torch.native_layer_norm(scalars, [n], weight, bias, epsilon)
        ctx.save_for_backward(scalars, mean, inverse, weight, bias)
        out = torch.cat([normal, x[:, n:]], dim=1)
        return out if residual is None else out.add_(residual)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        scalars, mean, inverse, weight, bias = ctx.saved_tensors
        n = len(weight)
        first = gradient[:, :n].contiguous()
        of_scalars, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
            first, scalars, [n], mean, inverse, weight, bias, [True, True, True]
        )
        of_x = torch.cat([of_scalars, gradient[:, n:]], dim=1)
        return None, of_weight, of_bias, of_x, gradient if ctx.needs_input_grad[4] else None
