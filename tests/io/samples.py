"""Samples with random matrices on the pairs of a random crystal, as a DFT code would list them."""

import numpy as np

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.graph import build_graph
from ase_tracegrad.io import Sample
from ase_tracegrad.structure import Structure

SHELLS = {6: (0, 1, 2), 1: (0, 0, 1, 3)}


def identity_overlap(layout) -> BlockMatrix:
    return BlockMatrix.from_blocks(layout, {(i, i, (0, 0, 0)): np.eye(n) for i, n in enumerate(layout.sizes)})


def random_matrix(structure: Structure, basis: Basis, reach: float, spin: str = "none", seed: int = 0) -> BlockMatrix:
    """Hermitian, on all pairs of atoms whose distance is below 2 * reach."""
    rng = np.random.default_rng(seed)
    graph = build_graph(structure, dict.fromkeys(basis.atoms, reach), closest=0.01)
    layout, spins = basis.layout(structure.numbers), 2 if spin == "spinor" else 1
    blocks = []
    for b, (i, j) in enumerate(graph.pairs):
        shape = (spins * layout.sizes[i], spins * layout.sizes[j])
        block = rng.normal(size=shape) + (1j * rng.normal(size=shape) if spin == "spinor" else 0)
        partner = graph.reverse[b]
        blocks.append((block + block.conj().T) / 2 if partner == b else blocks[partner].conj().T if partner < b else block)
    return BlockMatrix(layout, graph.pairs, graph.shifts, np.concatenate([block.ravel() for block in blocks]), spin)


def make_sample(numbers=(6, 1, 6), spin="none", seed=1) -> Sample:
    """H reaches a little farther than S, as in codes with projectors."""
    basis = Basis({z: AtomicBasis(z, SHELLS[z]) for z in sorted(set(numbers))})
    rng = np.random.default_rng(seed)
    cell = np.diag([3.0, 3.5, 4]) + [[0, 0, 0], [1.5, 0, 0], [-1, 1.2, 0]]
    structure = Structure(numbers, rng.uniform(0, 3, (len(numbers), 3)), cell, [True] * 3)
    hamiltonian = random_matrix(structure, basis, 1.8, spin, seed + 1)
    overlap = random_matrix(structure, basis, 1.6, "none", seed + 2)
    return Sample(structure, basis, hamiltonian, overlap, {"fermi_level": -4.25, "n_electrons": 9.0})
