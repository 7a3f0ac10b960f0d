"""Training data as the network sees it: a GraphBatch with label blocks on its pairs."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..blocks import BlockMatrix
from ..electronic.symmetry import time_reversal_residual
from ..graph import NeighborGraph, build_graph
from ..io.sample import Sample
from ..nn.assembly import add_references, from_block_matrix
from ..nn.batch import GraphBatch, make_batch
from ..nn.network import HamiltonianNetwork

LARGEST_MAGNETISM = 1e-3  # eV; noise of non-magnetic labels is a thousandth of it


@dataclass(frozen=True)
class LabelledBatch:
    """One or more structures with labels: offsite (E, U, U), onsite (N, U, U) of H in eV, the same of S, where orbitals exist.

    Of spinors (E, 4, U, U) and (N, 4, U, U), see nn/spin.py. H is what the network predicts: less the reference, if it has one.
    offsite_mask, onsite_mask: 1 where both orbitals exist, 0 in the padding; None if nothing is padded.
    """

    batch: GraphBatch
    offsite: Tensor
    onsite: Tensor
    offsite_overlap: Tensor
    onsite_overlap: Tensor
    offsite_mask: Tensor | None
    onsite_mask: Tensor | None


@dataclass(frozen=True)
class LabelledGraph(LabelledBatch):
    """One structure with labels, and what it was made of."""

    name: str
    sample: Sample
    graph: NeighborGraph


def label_graph(name: str, sample: Sample, network: HamiltonianNetwork, dtype: torch.dtype = torch.float32) -> LabelledGraph:
    """Prepare one sample for a network. ValueError if its labels are not of the kind that the network predicts."""
    config, shells = network.config, network.shells
    _check_spin(name, sample, config.spinor)
    if config.overlap_floor and sample.structure.pbc.any():
        raise ValueError(f"{name}: network.overlap_floor is for molecules, this structure is periodic: set it to 0")
    learned = _learned_part(name, sample, config.reference)
    graph = build_graph(sample.structure, network.reach)
    batch = make_batch([graph], network.elements, message_cutoff=config.message_cutoff, lmax=network.lmax, dtype=dtype)
    if config.sees_reference and sample.reference is not None:
        batch = add_references(batch, [graph], [sample.reference], shells)
    offsite, onsite = from_block_matrix(learned, graph, batch, shells, dtype)
    offsite_overlap, onsite_overlap = from_block_matrix(sample.overlap, graph, batch, shells, dtype)
    offsite_mask = onsite_mask = None
    if any(len(index) < shells.size for index in shells.index.values()):
        exists = torch.zeros(len(network.elements), shells.size, dtype=dtype)
        for row, z in enumerate(network.elements):
            exists[row, torch.from_numpy(shells.index[z])] = 1
        atoms = exists[batch.species]
        onsite_mask = atoms[:, :, None] * atoms[:, None, :]
        offsite_mask = atoms[batch.receiver][:, :, None] * atoms[batch.sender][:, None, :]
        if config.spinor:
            onsite_mask, offsite_mask = (mask[:, None].expand(-1, 4, -1, -1) for mask in (onsite_mask, offsite_mask))
    return LabelledGraph(
        batch, offsite, onsite, offsite_overlap, onsite_overlap, offsite_mask, onsite_mask, name=name, sample=sample, graph=graph
    )


def _learned_part(name: str, sample: Sample, reference: str) -> BlockMatrix:
    """H, less that of the initial density for a network that predicts the difference."""
    if reference == "none":
        return sample.hamiltonian
    if sample.reference is None:
        raise ValueError(
            f"{name}: network.reference is {reference!r}, but the data hold no Hamiltonian of the initial density: "
            "python training/add_references.py OLD.h5 NEW.h5 adds it to molecules"
        )
    return sample.hamiltonian - sample.reference


def _check_spin(name: str, sample: Sample, spinor: bool):
    found = sample.hamiltonian.spin
    if spinor != (found == "spinor"):
        raise ValueError(
            f"{name}: the label is {'a spinor' if found == 'spinor' else 'a spinless'} Hamiltonian, the network predicts "
            f"{'spinors' if spinor else 'spinless ones'}: set network.spinor to {str(not spinor).lower()}"
        )
    residual = time_reversal_residual(sample.hamiltonian)
    if residual > LARGEST_MAGNETISM:
        raise ValueError(
            f"{name}: H differs from its time reverse by up to {residual:.2g} eV, so the label is magnetic; networks "
            f"predict non-magnetic Hamiltonians (up to {LARGEST_MAGNETISM:g} eV): compute it without moments, or leave it out"
        )


def labels_hash(graphs: Iterable[LabelledGraph]) -> str:
    """SHA-256 of the names and labels a run trains on, so that a resumed run can tell whether they are the same."""
    digest = hashlib.sha256()
    for graph in graphs:
        digest.update(graph.name.encode())
        for tensor in (graph.batch.distance, graph.offsite, graph.onsite):
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
