"""A network asked about a turned crystal, its answer turned back: for training by rotations, averages over them, and tests.

For an equivariant network this is the network itself. For the second stage of HarmoSE it is not, and the difference is its
equivariance error.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..harmonics import shell_rotation
from .batch import GraphBatch
from .coupling import CommonShells
from .network import HamiltonianNetwork, Prediction


def forward_rotated(network: HamiltonianNetwork, batch: GraphBatch, rotation, **options) -> Prediction:
    """``network(batch, **options)`` for the crystal turned by a proper ``rotation`` (3, 3), the blocks turned back."""
    rotations = [d if l == 0 else torch.matmul(_constant(shell_rotation(l, rotation), d), d) for l, d in enumerate(batch.rotations)]
    offsite, onsite = (
        None if blocks is None else turn_blocks(blocks, network.shells, rotation)
        for blocks in (batch.offsite_reference, batch.onsite_reference)
    )
    turned = replace(batch, rotations=rotations, offsite_reference=offsite, onsite_reference=onsite)
    prediction = network(turned, **options)
    back = np.asarray(rotation).T
    offsite, onsite = (turn_blocks(blocks, network.shells, back) for blocks in (prediction.offsite, prediction.onsite))
    return replace(prediction, offsite=offsite, onsite=onsite)


def turn_blocks(blocks: Tensor, shells: CommonShells, rotation) -> Tensor:
    """D B D^T of blocks (E, U, U), and of spinor blocks (E, 4, U, U) with the spin vector turned as well (see spin.py)."""
    d = np.zeros((shells.size, shells.size))
    for start, l in zip(shells.starts, shells.shells, strict=True):
        d[start : start + 2 * l + 1, start : start + 2 * l + 1] = shell_rotation(l, rotation)
    turn = _constant(d, blocks)
    turned = turn @ blocks @ turn.T
    if not shells.spinor:
        return turned
    spin = np.eye(4)
    spin[1:, 1:] = shell_rotation(1, rotation)
    return torch.einsum("st,etab->esab", _constant(spin, blocks), turned)


def random_rotation(generator: np.random.Generator, largest: float = np.pi) -> np.ndarray:
    """A proper rotation (3, 3): about a random axis by a uniform angle up to ``largest``; any orientation alike for pi."""
    if largest >= np.pi:
        return Rotation.random(random_state=generator).as_matrix()
    axis = generator.normal(size=3)
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * generator.uniform(0, largest)).as_matrix()


def _constant(matrix: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(matrix).to(like)
