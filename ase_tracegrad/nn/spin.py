"""Spinor blocks as real numbers: what time reversal leaves of H(R) with spin-orbit coupling.

A block between two sets of real orbitals is H = h_0 sigma_0 + sum_c a_c sigma_c, c = x, y, z. Time reversal
Theta = i sigma_y K turns every sigma_c into -sigma_c and conjugates its coefficient, so Theta H Theta^-1 = H holds
if and only if h_0 is real and every a_c = i h_c is imaginary:
    H = h_0 sigma_0 + i h . sigma = [[h_0 + i h_z, h_y + i h_x], [-h_y + i h_x, h_0 - i h_z]].
Four real matrices hold a non-magnetic spinor block. With a rotation Q of space, the orbitals turn by D_i, D_j and the
spin by U in SU(2); U (h . sigma) U^+ = (Q h) . sigma, Q proper also for an improper operation, since inversion leaves the
spin alone. So h_0 is a scalar and h an axial vector of spin space (1/2 x 1/2 = 0 + 1), times lp x lq of the orbitals.
H_ji(-R) = H_ij(R)^+ reads h_0(ji) = h_0(ij)^T and h(ji) = -h(ij)^T.
"""

import torch
from torch import Tensor

# Of the four matrices: h_0, then the vector in the order m = -1, 0, 1 of a p shell, (h_y, h_z, h_x).
N_MATRICES = 4


def from_components(components: Tensor) -> Tensor:
    """Complex blocks (..., 2A, 2B), [[uu, ud], [du, dd]], from real matrices (..., 4, A, B): h_0, h_y, h_z, h_x."""
    h_0, h_y, h_z, h_x = components.unbind(-3)
    up = torch.cat([torch.complex(h_0, h_z), torch.complex(h_y, h_x)], dim=-1)
    down = torch.cat([torch.complex(-h_y, h_x), torch.complex(h_0, -h_z)], dim=-1)
    return torch.cat([up, down], dim=-2)


def to_components(blocks: Tensor) -> Tensor:
    """Real matrices (..., 4, A, B) of the part of complex blocks (..., 2A, 2B) that time reversal leaves as it is."""
    up, down = blocks.chunk(2, dim=-2)
    (uu, ud), (du, dd) = up.chunk(2, dim=-1), down.chunk(2, dim=-1)
    parts = [(uu + dd).real, (ud - du).real, (uu - dd).imag, (ud + du).imag]
    return 0.5 * torch.stack(parts, dim=-3)


def transpose_components(components: Tensor) -> Tensor:
    """The components of the adjoint blocks, (..., 4, B, A)."""
    scalar, vector = components.transpose(-1, -2).split([1, N_MATRICES - 1], dim=-3)
    return torch.cat([scalar, -vector], dim=-3)
