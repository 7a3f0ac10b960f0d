"""The second stage of HarmoSE: a non-linear graph Transformer that refines the H of an equivariant network, H = H_1 + dH.

S. Yin et al., arXiv 2401.00744. A token stands for every pair of atoms and for every atom (a pair of length zero). It sees
three streams, as numbers in the common axes: what stage 1 says of the block, the harmonics of the direction, and functions
of the length. Attention runs over the pairs that arrive at an atom, one weight per pair and head, so that memory grows with
the number of pairs. dH is Hermitian and goes to zero smoothly where the blocks end, but it does not rotate with the crystal
except as far as it has learned to: rotated.py turns the examples of the training and measures what is left.
"""

import math

import torch
from torch import Tensor, nn

from .batch import GraphBatch
from .config import HarmoSEConfig
from .radial import cosine_envelope, gaussian_basis
from .readout import BlockReadout, rotate_out

SOFT_LIMIT = 5.0  # of the logits, as in the authors' code, which cuts them there


class Refiner(nn.Module):
    """Blocks of stage 1 and its features -> refined blocks.

    cutoff: Angstrom, end of the pairs; attention_cutoff: end of those that are attended to. unit (2,): what a change of 1 off
    and on site means, in spreads of the readout: the error that stage 1 left (see fit/targets.py).
    """

    unit: Tensor

    def __init__(self, config: HarmoSEConfig, readout: BlockReadout, cutoff: float, attention_cutoff: float):
        super().__init__()
        self.config, self.cutoff, self.attention_cutoff = config, cutoff, attention_cutoff
        self.n_elements = n = readout.n_elements
        width, n_components = config.width, readout.shells.n_components
        n_seen = n_components * (2 if config.sees == "both" else 1)
        n_harmonics = sum(2 * l + 1 for l in range(1, config.harmonics_lmax + 1))
        self.seen, self.direction, self.length = (_stream(size, width) for size in (n_seen, n_harmonics, config.n_radial))
        self.kind = nn.Embedding(n * n + n, width)  # ordered pairs of elements, then atoms
        self.join = nn.Linear(3 * width, width)
        self.atom = nn.Linear(width, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, config.heads) for _ in range(config.n_blocks))
        self.head = nn.Linear(width, n_components)
        nn.init.zeros_(self.head.weight)  # a new second stage changes nothing
        nn.init.zeros_(self.head.bias)
        self.register_buffer("unit", torch.ones(2))

    def forward(self, readout: BlockReadout, features, offsite: Tensor, onsite: Tensor, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Refined off-site and on-site blocks, shaped as ``offsite`` and ``onsite`` (eV), which are those of stage 1."""
        tokens = self._embed(readout, features, offsite, onsite, batch)
        n_pairs, near = batch.n_pairs, batch.n_near
        atoms = torch.arange(batch.n_atoms, device=tokens.device)
        ends = torch.cat([batch.ends, atoms[:, None].expand(-1, 2)])
        arriving = torch.cat([torch.arange(near, device=tokens.device), atoms + n_pairs])
        weight = cosine_envelope(batch.distance[:near], self.attention_cutoff) * readout.envelope(batch)[:near]
        weight = torch.cat([weight, weight.new_ones(batch.n_atoms)])
        x = self.atom(tokens[n_pairs:])
        for block in self.blocks:
            x, tokens = block(x, tokens, ends, arriving, weight)
        change = self.head(tokens)
        return readout.add_refinement(offsite, onsite, change[:n_pairs] * self.unit[0], change[n_pairs:] * self.unit[1], batch)

    def _embed(self, readout: BlockReadout, features, offsite: Tensor, onsite: Tensor, batch: GraphBatch) -> Tensor:
        """Tokens (E + N, width) of the pairs and the atoms."""
        seen = []
        if self.config.sees != "hamiltonian":
            turned = rotate_out(features.offsite, batch.rotations)
            seen.append(torch.cat([_flatten(turned), _flatten(features.onsite)]))
        if self.config.sees != "features":
            seen.append(torch.cat([offsite.flatten(1), onsite.flatten(1)]))
        # The column of the pole in D_l holds the harmonics of the direction; an atom has no direction.
        lmax = self.config.harmonics_lmax
        harmonics = torch.cat([batch.rotations[l][:, :, l] * math.sqrt(2 * l + 1) for l in range(1, lmax + 1)], dim=1)
        direction = torch.cat([harmonics, harmonics.new_zeros(batch.n_atoms, harmonics.shape[1])])
        distance = torch.cat([batch.distance, batch.distance.new_zeros(batch.n_atoms)])
        radial = gaussian_basis(distance, 0.0, self.cutoff, self.config.n_radial)
        species = batch.species
        pair_kind = species[batch.receiver] * self.n_elements + species[batch.sender]
        kind = self.kind(torch.cat([pair_kind, species + self.n_elements**2]))
        streams = [self.seen(torch.cat(seen, dim=1)), self.direction(direction), self.length(radial) + kind]
        return self.join(torch.cat(streams, dim=1))


class TransformerBlock(nn.Module):
    """Attention of the atoms over the pairs that arrive, then the pairs anew from both atoms."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attend = nn.Linear(3 * width, 3 * width)
        self.gather = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.of_atom = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.of_pair = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, tokens: Tensor, ends: Tensor, arriving: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, w) atoms; tokens (T, w) of ends (T, 2), receiver first; arriving (A,): tokens that are attended to, with
        weight (A,) between 0 and 1 beside the attention."""
        near = ends[arriving]
        query, key, value = self.attend(_with_ends(x, tokens[arriving], near)).chunk(3, dim=1)
        message = attend(query, key, value, near[:, 0], weight, len(x), self.heads)
        x = self.norms[0](x + self.gather(message))
        x = self.norms[1](x + self.of_atom(x))
        return x, self.norms[2](tokens + self.of_pair(_with_ends(x, tokens, ends)))


def attend(query: Tensor, key: Tensor, value: Tensor, receiver: Tensor, weight: Tensor, n_atoms: int, heads: int) -> Tensor:
    """Softmax over the tokens of each receiver, (n_atoms, w) of values (A, w).

    A token counts ``weight`` times; with weights that end smoothly the sum does too. Every receiver needs a token of
    positive weight.
    """
    split = (len(query), heads, -1)
    logits = (query.view(split) * key.view(split)).sum(2) / math.sqrt(query.shape[1] / heads)
    # Bounded smoothly, so no maximum of each receiver has to be found before the exponential.
    share = torch.exp(SOFT_LIMIT * torch.tanh(logits / SOFT_LIMIT)) * weight[:, None]
    total = share.new_zeros(n_atoms, heads).index_add(0, receiver, share)
    share = share / total.index_select(0, receiver)
    weighted = (value.view(split) * share[:, :, None]).flatten(1)
    return weighted.new_zeros(n_atoms, weighted.shape[1]).index_add(0, receiver, weighted)


def _with_ends(x: Tensor, tokens: Tensor, ends: Tensor) -> Tensor:
    return torch.cat([x.index_select(0, ends[:, 0]), tokens, x.index_select(0, ends[:, 1])], dim=1)


def _stream(n_in: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, width), nn.LayerNorm(width), nn.SiLU())


def _flatten(rows: list[Tensor]) -> Tensor:
    return torch.cat([row.flatten(1) for row in rows], dim=1)
