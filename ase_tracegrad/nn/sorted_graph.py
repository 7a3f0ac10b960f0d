"""The graph as the DeepH-E3 backbone uses it: on-site pairs are pairs too, and equal types stand together.

Atoms are sorted by element and off-site pairs by the elements of both, so that what depends on the type is a slice; the
on-site pairs follow, one for each atom. On-site features live in the common axes, off-site ones in the frames of their pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .batch import GraphBatch
from .frames import rotate_into_frames
from .interaction import rotate_out_of_frames
from .irreps import Channels, Orders, Rows


@dataclass(frozen=True)
class SortedGraph:
    """species (N,); receiver, sender, distance (E + N,); rotations of the E off-site pairs; atom_structure (N,) and
    pair_structure (E + N,) out of n_structures; atoms_of, pairs_of: how many atoms and pairs each type has, in order, the
    pairs as (type, number), off-site before on-site; atom_rank (N,), pair_rank (E,): where an atom or pair of the batch went.
    """

    species: Tensor
    receiver: Tensor
    sender: Tensor
    distance: Tensor
    rotations: list[Tensor]
    atom_structure: Tensor
    pair_structure: Tensor
    n_structures: int
    atoms_of: list[tuple[int, int]]
    pairs_of: list[tuple[int, int]]
    atom_rank: Tensor
    pair_rank: Tensor

    @property
    def n_atoms(self) -> int:
        """Atoms, and on-site pairs."""
        return len(self.species)

    @property
    def n_offsite(self) -> int:
        """Off-site pairs."""
        return len(self.receiver) - len(self.species)

    def into_frames(self, x: Orders, index: Tensor, channels: Channels) -> Orders:
        """Features of the atoms ``index`` (E + N,): in the frames of the off-site pairs, then in the common axes."""
        rows = channels.to_rows(x)
        local = rotate_into_frames(rows, index[: self.n_offsite], self.rotations, channels)
        still = [part.index_select(0, index[self.n_offsite :]) for part in x]
        return [torch.cat(parts) for parts in zip(local, still, strict=True)]

    def out_of_frames(self, e: Orders, channels: Channels) -> Rows:
        """Pair features in the common axes."""
        local, still = self.split(e)
        turned = rotate_out_of_frames(local, self.rotations, channels)
        return [torch.cat(parts) for parts in zip(turned, channels.to_rows(still), strict=True)]

    def turn_into_frames(self, rows: Rows, channels: Channels) -> Orders:
        """Pair features in the common axes, seen in their frames."""
        turned = [
            row
            if l == 0
            else torch.cat([torch.bmm(self.rotations[l].transpose(1, 2), row[: self.n_offsite]), row[self.n_offsite :]])
            for l, row in enumerate(rows)
        ]
        return channels.to_orders(turned)

    def split(self, e: Orders) -> tuple[Orders, Orders]:
        """Off-site and on-site pairs."""
        parts = [part.split([self.n_offsite, self.n_atoms]) for part in e]
        return [part[0] for part in parts], [part[1] for part in parts]


def sort_graph(batch: GraphBatch, n_elements: int) -> SortedGraph:
    """Sort a batch by types: an element, or receiver's element * n_elements + sender's element."""
    atom_order = torch.argsort(batch.species, stable=True)
    atom_rank = torch.argsort(atom_order)
    species, atom_structure = batch.species[atom_order], batch.structure[atom_order]
    pair_type = batch.species[batch.receiver] * n_elements + batch.species[batch.sender]
    pair_order = torch.argsort(pair_type, stable=True)
    atoms = torch.arange(len(species), device=species.device)
    receiver = torch.cat([atom_rank[batch.receiver[pair_order]], atoms])
    counts = _count(species, n_elements)
    one_type = n_elements == 1
    return SortedGraph(
        species=species,
        receiver=receiver,
        sender=torch.cat([atom_rank[batch.sender[pair_order]], atoms]),
        distance=torch.cat([batch.distance[pair_order], batch.distance.new_zeros(len(species))]),
        rotations=batch.rotations if one_type else [d.index_select(0, pair_order) for d in batch.rotations],
        atom_structure=atom_structure,
        pair_structure=atom_structure[receiver],
        n_structures=len(batch.inverse_volume),
        atoms_of=counts,
        # Of one element, off-site and on-site pairs are one slice.
        pairs_of=[(0, len(receiver))]
        if one_type
        else _count(pair_type, n_elements**2) + [(s * (n_elements + 1), n) for s, n in counts],
        atom_rank=atom_rank,
        pair_rank=torch.argsort(pair_order),
    )


def _count(types: Tensor, n: int) -> list[tuple[int, int]]:
    return list(enumerate(torch.bincount(types, minlength=n).tolist()))
