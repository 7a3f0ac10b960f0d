"""GraphBatch: one or more neighbour graphs as tensors, ready for the network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..graph import NeighborGraph
from ..structure import Structure
from .wigner import edge_rotations


@dataclass(frozen=True)
class GraphBatch:
    """N atoms and E off-site pairs of all structures, pairs sorted by distance.

    species (N,) index into the model's elements; sender j and receiver i (E,); reverse (E,) index of the
    reverse pair; distance (E,) Angstrom; rotations: D_l of each pair, (E, 2l+1, 2l+1), l = 0..lmax;
    n_near: the first n_near pairs pass messages; pair_order (E,): row of each pair in the concatenated
    off-site pair lists of the graphs; structure (N,) index of the structure of each atom; inverse_volume: of each
    structure's cell, 1 / Angstrom^3, 0 unless it is periodic in three directions; offsite_reference (E, U, U) and
    onsite_reference (N, U, U): eV, padded blocks of the Hamiltonian of the initial density, for a network that sees it.
    """

    species: Tensor
    receiver: Tensor
    sender: Tensor
    reverse: Tensor
    distance: Tensor
    rotations: list[Tensor]
    n_near: int
    pair_order: np.ndarray
    structure: Tensor
    inverse_volume: Tensor
    offsite_reference: Tensor | None = None
    onsite_reference: Tensor | None = None

    @property
    def n_atoms(self) -> int:
        """Atoms of all structures."""
        return len(self.species)

    @property
    def n_pairs(self) -> int:
        """Off-site pairs of all structures."""
        return len(self.receiver)

    @property
    def ends(self) -> Tensor:
        """Receiver and sender of each pair, (E, 2)."""
        return torch.stack([self.receiver, self.sender], dim=1)

    def to(self, device) -> "GraphBatch":
        """The same batch on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, rotations=[d.to(device) for d in self.rotations], **moved)


def make_batch(
    graphs: Sequence[NeighborGraph], elements: Sequence[int], *, message_cutoff: float, lmax: int, dtype: torch.dtype
) -> GraphBatch:
    """Join graphs; directions and rotations are computed in float64 and rounded to ``dtype`` at the end.

    elements: atomic numbers the model knows, in its order.
    """
    species_of = {z: k for k, z in enumerate(elements)}
    species, structure, pairs, reverse, vectors = [], [], [], [], []
    first_atom = first_pair = 0
    for number, graph in enumerate(graphs):
        n = graph.n_onsite
        species += [species_of[int(z)] for z in graph.structure.numbers]
        structure += [number] * n
        pairs.append(graph.pairs[n:] + first_atom)
        reverse.append(graph.reverse[n:] - n + first_pair)
        vectors.append(graph.vectors[n:])
        first_atom += n
        first_pair += len(pairs[-1])
    all_pairs, all_vectors, all_reverse = np.concatenate(pairs), np.concatenate(vectors), np.concatenate(reverse)
    distance = np.linalg.norm(all_vectors, axis=1)
    order = np.argsort(distance, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    rotations = edge_rotations(torch.from_numpy(all_vectors[order]), lmax)
    return GraphBatch(
        species=torch.tensor(species),
        receiver=torch.from_numpy(all_pairs[order, 0]),
        sender=torch.from_numpy(all_pairs[order, 1]),
        reverse=torch.from_numpy(rank[all_reverse[order]]),
        distance=torch.from_numpy(distance[order]).to(dtype),
        rotations=[d.to(dtype) for d in rotations],
        n_near=int(np.searchsorted(distance[order], message_cutoff)),
        pair_order=order,
        structure=torch.tensor(structure),
        inverse_volume=torch.tensor([_inverse_volume(graph.structure) for graph in graphs], dtype=dtype),
    )


def join_batches(batches: Sequence[GraphBatch]) -> tuple[GraphBatch, Tensor]:
    """One batch of the structures of all, and for each of its pairs the row in the concatenated pairs of the parts."""
    atoms = np.cumsum([0, *(batch.n_atoms for batch in batches)]).tolist()
    pairs = np.cumsum([0, *(batch.n_pairs for batch in batches)]).tolist()
    structures = np.cumsum([0, *(len(batch.inverse_volume) for batch in batches)]).tolist()
    distance = torch.cat([batch.distance for batch in batches])
    order = torch.argsort(distance, stable=True)
    rank = torch.argsort(order)

    def shifted(name: str, starts: list[int]) -> Tensor:
        return torch.cat([getattr(batch, name) + start for batch, start in zip(batches, starts, strict=False)])

    pair_order = np.concatenate([batch.pair_order + start for batch, start in zip(batches, pairs, strict=False)])
    joined = GraphBatch(
        species=shifted("species", [0] * len(batches)),
        receiver=shifted("receiver", atoms)[order],
        sender=shifted("sender", atoms)[order],
        reverse=rank[shifted("reverse", pairs)[order]],
        distance=distance[order],
        rotations=[torch.cat(parts)[order] for parts in zip(*(batch.rotations for batch in batches), strict=True)],
        n_near=sum(batch.n_near for batch in batches),
        pair_order=pair_order[order.cpu().numpy()],
        structure=shifted("structure", structures),
        inverse_volume=torch.cat([batch.inverse_volume for batch in batches]),
    )
    offsite, onsite = ([getattr(batch, f"{part}_reference") for batch in batches] for part in ("offsite", "onsite"))
    if offsite[0] is not None:
        joined = replace(joined, offsite_reference=torch.cat(offsite)[order], onsite_reference=torch.cat(onsite))
    return joined, order


def _inverse_volume(structure: Structure) -> float:
    return 1 / structure.volume if structure.pbc.all() else 0.0
