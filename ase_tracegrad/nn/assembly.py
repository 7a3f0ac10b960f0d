"""Between the network's padded blocks and BlockMatrix."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..basis import Basis
from ..blocks import BlockMatrix
from ..graph import NeighborGraph
from ..overlap_filter import HIGH, filter_by_overlap
from .batch import GraphBatch
from .coupling import CommonShells
from .network import HamiltonianNetwork, Prediction
from .spin import from_components, to_components


def to_block_matrices(
    graphs: Sequence[NeighborGraph], batch: GraphBatch, prediction: Prediction, basis: Basis, shells: CommonShells
) -> list[BlockMatrix]:
    """One BlockMatrix (float64, eV) per graph, with the graph's pairs in the graph's order."""
    onsite, sorted_offsite = (_to_numpy(blocks, shells) for blocks in (prediction.onsite, prediction.offsite))
    offsite = np.empty_like(sorted_offsite)
    offsite[batch.pair_order] = sorted_offsite
    matrices, first_atom, first_pair = [], 0, 0
    for graph in graphs:
        n, n_pairs = graph.n_onsite, len(graph.pairs) - graph.n_onsite
        padded = np.concatenate([onsite[first_atom : first_atom + n], offsite[first_pair : first_pair + n_pairs]])
        first_atom, first_pair = first_atom + n, first_pair + n_pairs
        numbers = graph.structure.numbers
        layout = basis.layout(numbers)
        if len(set(numbers.tolist())) == 1:
            index = shells.spin_orbitals(int(numbers[0]))
            values = padded[:, index[:, None], index].ravel()
        else:
            values = np.concatenate(
                [
                    block[np.ix_(shells.spin_orbitals(int(numbers[i])), shells.spin_orbitals(int(numbers[j])))].ravel()
                    for block, (i, j) in zip(padded, graph.pairs, strict=True)
                ]
            )
        matrices.append(BlockMatrix(layout, graph.pairs, graph.shifts, values, "spinor" if shells.spinor else "none"))
    return matrices


def _to_numpy(blocks: Tensor, shells: CommonShells) -> np.ndarray:
    blocks = blocks.detach().cpu().double()
    return (from_components(blocks) if shells.spinor else blocks).numpy()


def assemble(
    network: HamiltonianNetwork,
    graphs: Sequence[NeighborGraph],
    batch: GraphBatch,
    prediction: Prediction,
    basis: Basis,
    overlaps: Sequence[BlockMatrix] | None,
    references: Sequence[BlockMatrix] | None = None,
) -> list[BlockMatrix]:
    """H(R) of every graph, float64, eV, with the energy zero or the reference, if the model has one.

    overlaps: S(R) of each, needed for an energy zero and for an overlap_floor; references: H of the initial density of each,
    needed for a reference.
    """
    config = network.config
    matrices = to_block_matrices(graphs, batch, prediction, basis, network.shells)
    if config.overlap_floor:
        if overlaps is None:
            raise ValueError("a model with an overlap_floor needs S of every structure")
        level = HIGH if config.reference == "none" else 0.0
        matrices = [
            filter_by_overlap(matrix, overlap, config.overlap_floor, level=level)
            for matrix, overlap in zip(matrices, overlaps, strict=True)
        ]
    if config.reference != "none":
        if references is None:
            raise ValueError("a model with a reference needs the Hamiltonian of the initial density of every structure")
        return [matrix + reference for matrix, reference in zip(matrices, references, strict=True)]
    if prediction.energy_zero is None:
        return matrices
    if overlaps is None:
        raise ValueError("a model with an energy zero needs S(R) of every structure")
    shifted = []
    shifts = prediction.energy_zero.detach().double().cpu().tolist()
    for graph, matrix, overlap, mu in zip(graphs, matrices, overlaps, shifts, strict=True):
        # On the pairs of the model, and ending where its blocks end.
        reach = np.array([network.reach[z] for z in graph.structure.numbers.tolist()])
        distance, end = np.linalg.norm(graph.vectors, axis=1), reach[graph.pairs].sum(axis=1)
        envelope = network.readout.end_smoothly(torch.from_numpy(distance), torch.from_numpy(end)).numpy()
        shift = mu * overlap.with_spin(matrix.spin).restricted_to(matrix).values * np.repeat(envelope, np.diff(matrix.offsets))
        shifted.append(replace(matrix, values=matrix.values + shift))
    return shifted


def add_references(
    batch: GraphBatch, graphs: Sequence[NeighborGraph], references: Sequence[BlockMatrix], shells: CommonShells
) -> GraphBatch:
    """The batch of these graphs with the blocks (eV) of the Hamiltonian of the initial density of each."""
    padded = [_pad(matrix, graph, shells) for matrix, graph in zip(references, graphs, strict=True)]
    onsite = np.concatenate([blocks[: graph.n_onsite] for blocks, graph in zip(padded, graphs, strict=True)])
    offsite = np.concatenate([blocks[graph.n_onsite :] for blocks, graph in zip(padded, graphs, strict=True)])[batch.pair_order]
    return replace(
        batch,
        offsite_reference=torch.from_numpy(offsite).to(batch.distance),
        onsite_reference=torch.from_numpy(onsite).to(batch.distance),
    )


def from_block_matrix(
    matrix: BlockMatrix, graph: NeighborGraph, batch: GraphBatch, shells: CommonShells, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Padded off-site (E, ..., U, U) and on-site (N, ..., U, U) blocks of one graph; blocks that are not stored are zero.

    For spinors these are the real numbers of spin.py; a spinless matrix acts on both spins alike.
    """
    n, blocks = graph.n_onsite, torch.from_numpy(_pad(matrix, graph, shells))
    if shells.spinor:
        blocks = to_components(blocks)
    return blocks[n:][batch.pair_order].to(dtype), blocks[:n].to(dtype)


def _pad(matrix: BlockMatrix, graph: NeighborGraph, shells: CommonShells) -> np.ndarray:
    """Blocks (pairs, size, size) over the common shells, in the order of the graph."""
    # Without spin, time reversal makes H real; some programs store it as complex numbers.
    matrix = matrix.with_spin("spinor") if shells.spinor else replace(matrix, values=matrix.values.real)
    numbers = graph.structure.numbers
    orbitals = [shells.spin_orbitals(int(z)) for z in numbers]
    size = matrix.n_spin * shells.size
    padded = np.zeros((len(graph.pairs), size, size), dtype=complex if shells.spinor else float)
    for row, ((i, j), shift) in enumerate(zip(graph.pairs.tolist(), graph.shifts.tolist(), strict=True)):
        b = matrix.index.get((i, j, tuple(shift)))
        if b is not None:
            padded[row][np.ix_(orbitals[i], orbitals[j])] = matrix.block(i, j, shift)
    return padded
