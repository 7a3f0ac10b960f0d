"""Rotations into the frame of each pair: Wigner-D matrices from a direction, without angles.

D_l(u) turns the harmonics of the pole z into those of u: Y_l(u) = D_l(u) Y_l(z), so D_l^T x is a
feature seen in the frame of the pair. D = Z(alpha) d(beta); the columns of d_l(beta) are Fourier
series in beta with a constant table, Z mixes rows m and -m. cos and sin of multiples of the angles
come from (x, y, z) by recursion: exact at the poles, no arccos, no atan2.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..harmonics import shell_rotation


@cache
def _fourier_table(l: int) -> np.ndarray:
    """T (2l+1, (2l+1)^2) with d_l(beta) = sum_k f_k(beta) T_k, f = 1, cos b .. cos lb, sin b .. sin lb."""
    beta = 2 * np.pi * np.arange(2 * l + 1) / (2 * l + 1)
    samples = []
    for b in beta:
        c, s = np.cos(b), np.sin(b)
        samples.append(shell_rotation(l, [[c, 0, s], [0, 1, 0], [-s, 0, c]]).ravel())
    m = np.arange(l + 1)
    fourier = np.hstack([np.cos(np.outer(beta, m)), np.sin(np.outer(beta, m[1:]))])
    return np.linalg.solve(fourier, np.array(samples))


def _multiples(cosine: Tensor, sine: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """cos(k a), sin(k a) for k = 0..n, each (E, n+1), from cos a and sin a."""
    c, s = [torch.ones_like(cosine), cosine], [torch.zeros_like(sine), sine]
    for _ in range(n - 1):
        c.append(c[-1] * cosine - s[-1] * sine)
        s.append(s[-1] * cosine + c[-2] * sine)
    return torch.stack(c[: n + 1], dim=1), torch.stack(s[: n + 1], dim=1)


def edge_rotations(vectors: Tensor, lmax: int) -> list[Tensor]:
    """D_l of each vector, l = 0..lmax: list of (E, 2l+1, 2l+1) in the dtype of ``vectors`` (E, 3), non-zero."""
    x, y, z = (vectors / vectors.norm(dim=1, keepdim=True)).unbind(1)
    planar2 = x * x + y * y
    # The squares of components below 1e-15 carry no direction: treat as the pole, alpha = 0.
    at_pole = planar2 < 1e-30
    planar = planar2.clamp_min(1e-30).sqrt()
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    cos_alpha, sin_alpha = torch.where(at_pole, one, x / planar), torch.where(at_pole, zero, y / planar)
    sin_beta = torch.where(at_pole, zero, planar)
    n = max(lmax, 1)
    cos_ma, sin_ma = _multiples(cos_alpha, sin_alpha, n)
    cos_mb, sin_mb = _multiples(z, sin_beta, n)
    rotations = []
    for l in range(lmax + 1):
        table = torch.as_tensor(_fourier_table(l), dtype=vectors.dtype, device=vectors.device)
        d = torch.cat([cos_mb[:, : l + 1], sin_mb[:, 1 : l + 1]], dim=1) @ table
        d = d.view(-1, 2 * l + 1, 2 * l + 1)
        if l:
            c = torch.cat([cos_ma[:, 1 : l + 1].flip(1), cos_ma[:, : l + 1]], dim=1)
            s = torch.cat([sin_ma[:, 1 : l + 1].flip(1), -sin_ma[:, : l + 1]], dim=1)
            d = c[:, :, None] * d + s[:, :, None] * d.flip(1)
        rotations.append(d)
    return rotations
