"""O2Linear: the equivariant linear map of edge features, one matrix per |m| in the frame of the edge.

It equals the sum over all filters Y_lf(edge), lf <= l_in + l_out, of fully connected tensor products
with shared weights (the DeepH-E3 and eSCN operation), at a small part of its cost. For m > 0 both
parities and both components share one real matrix; for m = 0 natural and pseudo irreps do not couple.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .irreps import Channels, Orders


class O2Linear(nn.Module):
    """Map the concatenation of several edge features to ``channels_out`` plus ``gates`` extra scalars.

    inputs: layouts of the features, concatenated channel by channel for every order.
    forward returns (orders, extra) with extra (E, gates); gates are appended to the natural m = 0 output.
    """

    natural_index: Tensor
    pseudo_index: Tensor
    merge_index: Tensor

    def __init__(self, inputs: Sequence[Channels], channels_out: Channels, gates: int = 0):
        super().__init__()
        self.inputs, self.channels_out, self.gates = list(inputs), channels_out, gates
        self.has_pseudo_in = any(any(c.pseudo) for c in inputs)
        self.has_pseudo_out = bool(channels_out.pseudo_index)
        natural_in = sum(len(c.natural_index) for c in inputs)
        pseudo_in = sum(len(c.pseudo_index) for c in inputs)
        natural_out, pseudo_out = len(channels_out.natural_index) + gates, len(channels_out.pseudo_index)
        self.weight_natural = _linear_weight(natural_in, natural_out)
        self.weight_pseudo = _linear_weight(pseudo_in, pseudo_out)
        self.bias = nn.Parameter(torch.zeros(channels_out.scalars + gates))
        self.mmax = min(max(c.lmax for c in inputs), channels_out.lmax)
        self.weights = nn.ParameterList(
            _linear_weight(sum(c.tail(m) for c in inputs), channels_out.tail(m)) for m in range(1, self.mmax + 1)
        )
        # The positions of natural channels in the concatenated input, and the order that merges the outputs.
        natural, pseudo, first = [], [], 0
        for c in inputs:
            natural += [first + k for k in c.natural_index]
            pseudo += [first + k for k in c.pseudo_index]
            first += c.total
        merged = channels_out.natural_index + channels_out.pseudo_index
        for name, index in (
            ("natural", natural),
            ("pseudo", pseudo),
            ("merge", sorted(range(len(merged)), key=merged.__getitem__)),
        ):
            self.register_buffer(f"{name}_index", torch.tensor(index, dtype=torch.long), persistent=False)

    def forward(self, features: Sequence[Orders]) -> tuple[Orders, Tensor]:
        centre, extra = self._zero_order(torch.cat([f[0] for f in features], dim=1))
        out = [centre]
        for m in range(1, self.channels_out.lmax + 1):
            if m <= self.mmax:
                parts = [f[m] for f in features if len(f) > m]
                x = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
                out.append(x @ self.weights[m - 1])
            else:
                out.append(centre.new_zeros(len(centre), 2, self.channels_out.tail(m)))
        return out, extra

    def _zero_order(self, x: Tensor) -> tuple[Tensor, Tensor]:
        natural = (x.index_select(1, self.natural_index) if self.has_pseudo_in else x) @ self.weight_natural
        n = natural.shape[1] - self.gates
        natural, extra = natural[:, :n], natural[:, n:] + self.bias[self.channels_out.scalars :]
        scalars = self.channels_out.scalars
        natural = torch.cat([natural[:, :scalars] + self.bias[:scalars], natural[:, scalars:]], dim=1)
        if not self.has_pseudo_out:
            return natural, extra
        if self.has_pseudo_in:
            pseudo = x.index_select(1, self.pseudo_index) @ self.weight_pseudo
        else:
            pseudo = x.new_zeros(len(x), self.weight_pseudo.shape[1])
        return torch.cat([natural, pseudo], dim=1).index_select(1, self.merge_index), extra


def _linear_weight(n_in: int, n_out: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n_in, n_out) / math.sqrt(max(n_in, 1)))
