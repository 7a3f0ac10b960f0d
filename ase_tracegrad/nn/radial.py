"""Functions of the distance: Gaussian bases and the envelopes that make everything smooth at a cut-off."""

import math

import torch
from torch import Tensor


def gaussian_basis(distance: Tensor, start: float, stop: float, n: int) -> Tensor:
    """exp(-(d - c)^2 / (2 w^2)) on n equidistant centres with w = their spacing, (E, n); 0 where it is below any rounding."""
    centres = torch.linspace(start, stop, n, dtype=distance.dtype, device=distance.device)
    exponent = -0.5 * ((distance[:, None] - centres) * ((n - 1) / (stop - start))) ** 2
    # Tails would be subnormal numbers, with which a CPU multiplies matrices up to 30 times slower.
    floor = math.sqrt(torch.finfo(distance.dtype).tiny)
    return torch.nn.functional.threshold(torch.exp(exponent.clamp_min(math.log(floor))), 2 * floor, 0.0)


def polynomial_envelope(distance: Tensor, cutoff: float | Tensor, width: float) -> Tensor:
    """1 below cutoff - width, 0 above cutoff, twice continuously differentiable, (E,)."""
    x = ((distance - cutoff + width) / width).clamp(0, 1)
    return 1 - x**3 * (10 - 15 * x + 6 * x * x)


def cosine_envelope(distance: Tensor, cutoff: float) -> Tensor:
    """(1 + cos(pi d / cutoff)) / 2, zero beyond, (E,)."""
    return 0.5 * (1 + torch.cos(math.pi * (distance / cutoff).clamp(max=1)))


def bernstein_basis(distance: Tensor, decay: Tensor, cutoff: float, n: int) -> Tensor:
    """Bernstein polynomials of degree n - 1 in exp(-decay d), which sum to 1, times a smooth end at the cutoff, (E, n).

    d > 0; the end is exp(-d^2 / ((c - d) (c + d))), all its derivatives vanish at c (PhysNet, arXiv 1902.08408; QHNet).
    """
    index = torch.arange(n, dtype=distance.dtype, device=distance.device)
    binomial = math.lgamma(n) - torch.lgamma(index + 1) - torch.lgamma(n - index)
    x = -decay * distance[:, None]
    inside = distance < cutoff
    d = torch.where(inside, distance, 0)
    end = -d.square() / ((cutoff - d) * (cutoff + d))
    exponent = binomial + (n - 1 - index) * x + index * torch.log(-torch.expm1(x)) + end[:, None]
    # As above: no subnormal numbers.
    floor = math.sqrt(torch.finfo(distance.dtype).tiny)
    values = torch.nn.functional.threshold(torch.exp(exponent.clamp_min(math.log(floor))), 2 * floor, 0.0)
    return values * inside[:, None]
