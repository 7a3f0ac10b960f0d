"""Training data without a DFT code: displaced acetylene chains, two elements of unequal size.

H = extended Hueckel + MANY_CENTRE * S S: the product runs over third atoms, so on-site blocks and hoppings depend on
the surroundings, as in DFT, and transform exactly.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.fit.config import TrainingConfig
from ase_tracegrad.io.sample import Sample
from ase_tracegrad.io.store import StoreWriter
from ase_tracegrad.nn.config import NetworkConfig, TraceGradConfig, config_from_dict, config_to_dict
from ase_tracegrad.nn.network import HamiltonianNetwork
from ase_tracegrad.overlap import compute_overlap
from ase_tracegrad.structure import Structure
from tests.standin_model import StandInPredictor

MANY_CENTRE = -3.0  # eV
COUPLING = 0.7  # eV, xi / 2 of the spin-orbit term
MOMENTS = {1: 3.0, 6: 80.0}  # eV Angstrom^3, of the energy zero
NETWORK = NetworkConfig(
    cutoff=4.0,
    cutoff_width=0.5,
    message_cutoff=3.0,
    n_blocks=1,
    embedding=8,
    n_radial=16,
    radial_hidden=8,
    hidden="8x0e+4x1o+2x2e",
    edge_last="8x0e+4x1o+2x1e+2x2e",
    node_last="8x0e+4x1o+2x1e+2x2e",
    tracegrad=TraceGradConfig(hidden=8, invariants=6),
)

_SPINOR_IRREPS = "8x0e+2x0o+4x1o+3x1e+2x2e+2x2o+1x3e"
SPINOR_NETWORK = replace(NETWORK, spinor=True, hidden=_SPINOR_IRREPS, edge_last=_SPINOR_IRREPS, node_last=_SPINOR_IRREPS)


def make_structure(seed: int) -> Structure:
    """Four displaced atoms per cell, periodic along x."""
    positions = np.array([[0.0, 0.35, 0], [1.25, -0.35, 0], [0.0, 1.44, 0], [1.25, -1.44, 0]])
    rng = np.random.default_rng(seed)
    return Structure([6, 6, 1, 1], positions + rng.uniform(-0.1, 0.1, (4, 3)), np.diag([2.5, 9, 9]), [True, False, False])


def make_sample(seed: int = 0, *, height: float | None = None, **info) -> Sample:
    """H and S of one chain on the same pairs; height: periodic in all directions, with an energy zero that knows the volume."""
    structure, model = make_structure(seed), StandInPredictor()
    if height is not None:
        structure = replace(structure, cell=np.diag([2.5, 9, height]), pbc=[True, True, True])
    overlap = compute_overlap(structure, model.basis)
    hamiltonian = with_error(model.predict([structure])[0], square(overlap), MANY_CENTRE)
    if height is not None:
        hamiltonian = with_error(hamiltonian, overlap, 2 * (MOMENTS[6] + MOMENTS[1]) / structure.volume)
    return Sample(structure, model.basis, hamiltonian, overlap, {"fermi_level": -11.0, "version": "formula", **info})


def square(matrix: BlockMatrix, middle: dict[int, np.ndarray] | None = None) -> BlockMatrix:
    """(M V M)_ij(R) = sum over k and R' of M_ik(R') V_k M_kj(R - R'), on the pairs of M.

    middle: V of some atoms, as on-site blocks, zero for the others; None: M M.
    """
    dtype = complex if middle is not None else float
    blocks = {key: np.zeros_like(block, dtype=dtype) for key, block in matrix.items()}
    for (i, k, first), a in matrix.items():
        if middle is not None and k not in middle:
            continue
        left = a if middle is None else a @ middle[k]
        for (k2, j, second), b in matrix.items():
            key = (i, j, tuple(x + y for x, y in zip(first, second, strict=True)))
            if k2 == k and key in blocks:
                blocks[key] += left @ b
    return BlockMatrix.from_blocks(matrix.layout, blocks, matrix.spin)


def make_spinor_sample(seed: int = 0, **info) -> Sample:
    """The same chain with spin-orbit coupling S xi L.s S of the carbon p shells: not two-centre, as the real one."""
    sample = make_sample(seed, **info)
    overlap = sample.overlap.with_spin("spinor")
    coupling = square(overlap, dict.fromkeys((0, 1), COUPLING * l_dot_sigma()))
    return replace(sample, hamiltonian=with_error(sample.hamiltonian.with_spin("spinor"), coupling))


def l_dot_sigma() -> np.ndarray:
    """L.sigma of an s and a p shell, spin outermost, (8, 8): (L_c)_ab = -i epsilon_cab between p_x, p_y, p_z."""
    epsilon = np.zeros((3, 3, 3))
    for c in range(3):
        epsilon[c, (c + 1) % 3, (c + 2) % 3], epsilon[c, (c + 2) % 3, (c + 1) % 3] = 1, -1
    sigma = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    order = [1, 2, 0]  # ours is y, z, x
    orbital = np.zeros((3, 4, 4), dtype=complex)
    orbital[:, 1:, 1:] = -1j * epsilon[:, order][:, :, order]
    return np.einsum("cst,cab->satb", sigma, orbital).reshape(8, 8)


def write_store(path: Path, *, train: int = 2, validation: int = 1, test: int = 1, make=make_sample) -> Path:
    """A packed file with the given numbers of samples."""
    seed = 0
    with StoreWriter(path) as store:
        for split, count in (("train", train), ("validation", validation), ("test", test)):
            for _ in range(count):
                store.add(f"chain-{seed:03d}", make(seed, split=split))
                seed += 1
    return path


def make_training_config(data, out, **changes) -> TrainingConfig:
    """Tiny network; ``changes`` are nested dictionaries as in YAML."""
    settings = {
        "data": str(data),
        "out": str(out),
        "validate_every": 1,
        "validate_bands": 1,
        "network": config_to_dict(NETWORK),
        "schedule": {"epochs": 2},
    }
    for key, value in changes.items():
        settings[key] = settings.get(key, {}) | value if isinstance(value, dict) else value
    return config_from_dict(TrainingConfig, settings)


def make_network(config: NetworkConfig = NETWORK, sample: Sample | None = None) -> HamiltonianNetwork:
    """In float64, for the elements of the sample."""
    basis = (sample or make_sample()).basis
    return HamiltonianNetwork(config, basis, sorted(set((sample or make_sample()).structure.numbers.tolist()))).double()


def in_order_of_pairs(graph, values):
    """Off-site rows sorted by (i, j, R), independent of how distances were sorted."""
    out = torch.empty_like(values)
    out[graph.batch.pair_order] = values
    return out[np.lexsort(np.hstack([graph.graph.pairs, graph.graph.shifts])[graph.graph.n_onsite :].T).copy()]


def with_error(matrix: BlockMatrix, error: BlockMatrix, factor: float = 1.0) -> BlockMatrix:
    """matrix + factor * error, element by element, on the pairs of ``matrix``."""
    return replace(matrix, values=matrix.values + factor * error.restricted_to(matrix).values)
