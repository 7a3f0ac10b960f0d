"""Small lattice models with known answers."""

import numpy as np

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.graph import build_graph
from ase_tracegrad.structure import Structure


def add_adjoints(blocks: dict) -> dict:
    """Complete {(i, j, R): block} with (j, i, -R)."""
    return blocks | {(j, i, tuple(-x for x in r)): np.conj(np.asarray(b)).T for (i, j, r), b in blocks.items()}


def graphene_model(hopping: float = -2.7, overlap: float = 0.1, onsite: float = 0.0):
    """One orbital per atom, nearest neighbours: E = (onsite +- hopping |f|) / (1 +- overlap |f|); Dirac point at K."""
    layout = OrbitalLayout(((0,), (0,)))
    bonds = [(0, 1, (0, 0, 0)), (0, 1, (-1, 0, 0)), (0, 1, (0, -1, 0))]
    diagonal = {(i, i, (0, 0, 0)): [[1.0]] for i in range(2)}
    h = {key: [[onsite]] for key in diagonal} | add_adjoints({bond: [[hopping]] for bond in bonds})
    s = diagonal | add_adjoints({bond: [[overlap]] for bond in bonds})
    return BlockMatrix.from_blocks(layout, h), BlockMatrix.from_blocks(layout, s)


def random_model(shells=((0, 1), (0, 0, 1)), *, seed=0, spinor=False, complex_values=False, overlap=0.05):
    """Random Hermitian H(R), and S(R) close to one, on the nine cells around the origin in the plane."""
    rng = np.random.default_rng(seed)
    layout = OrbitalLayout(shells)
    spins = 2 if spinor else 1
    h, s = {}, {}
    for r in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, -1, 0)]:
        for i in range(layout.n_atoms):
            for j in range(i if r == (0, 0, 0) else 0, layout.n_atoms):
                shape = (spins * layout.sizes[i], spins * layout.sizes[j])
                block = rng.normal(size=shape) + (1j * rng.normal(size=shape) if spinor or complex_values else 0)
                small = overlap * rng.normal(size=(layout.sizes[i], layout.sizes[j]))
                if r == (0, 0, 0) and i == j:
                    block, small = (block + block.conj().T) / 2, np.eye(len(small))
                h[i, j, r], s[i, j, r] = block, small
    kind = "spinor" if spinor else "none"
    return BlockMatrix.from_blocks(layout, add_adjoints(h), kind), BlockMatrix.from_blocks(layout, add_adjoints(s))


def random_on_structure(structure: Structure, shells: dict, *, reach=1.6, spinor=False, seed=0):
    """Random Hermitian H(R), and S(R) close to one, on all pairs nearer than 2 * reach; shells: {Z: (l, ...)}."""
    rng = np.random.default_rng(seed)
    graph = build_graph(structure, dict.fromkeys(shells, reach))
    layout = OrbitalLayout(tuple(shells[z] for z in structure.numbers.tolist()))

    def fill(spins, scale, onsite):
        sizes = spins * layout.sizes
        blocks = {}
        for (i, j), r in zip(graph.pairs.tolist(), graph.shifts.tolist(), strict=True):
            block = scale * rng.normal(size=(sizes[i], sizes[j])) + (
                scale * 1j * rng.normal(size=(sizes[i], sizes[j])) if spins == 2 else 0
            )
            blocks[i, j, tuple(r)] = block + (onsite * np.eye(sizes[i]) if i == j and not any(r) else 0)
        return BlockMatrix.from_blocks(layout, blocks, "spinor" if spins == 2 else "none").symmetrized()

    return fill(2 if spinor else 1, 1.0, 0.0), fill(1, 0.02, 1.0)


PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def haldane_model(structure: Structure, *, second=0.3, mass=0.4):
    """Honeycomb with hopping i * second along left turns and -i along right turns (Phys. Rev. Lett. 61, 2015 (1988)),
    and +-mass on the sublattices. Complex without spin: E(-k) differs from E(k)."""
    nearest, positions, cell = _neighbors(structure), structure.positions, structure.cell
    blocks = {(i, i, (0, 0, 0)): [[mass * (-1) ** i]] for i in range(2)} | {bond: [[-1.0]] for bond in nearest}
    for i, j, r in nearest:
        for j2, k, r2 in nearest:
            cells = tuple(np.add(r, r2).tolist())
            if j2 == j and (k, cells) != (i, (0, 0, 0)):
                first = positions[j] + r @ cell - positions[i]
                turn = np.cross(first, positions[k] + r2 @ cell - positions[j])[2]
                blocks[i, k, cells] = [[1j * second * np.sign(turn)]]
    return BlockMatrix.from_blocks(OrbitalLayout(((0,), (0,))), blocks), None


def rashba_model(structure: Structure, *, strength=0.4, exchange=(0.0, 0.0, 0.0)):
    """Spinors on s orbitals: -1 + i strength (sigma x d)_z to each neighbour along d, and exchange . sigma on each atom.

    Without exchange: time reversal, no inversion, no mirror in the plane."""
    blocks = {(i, i, (0, 0, 0)): np.einsum("a,aij->ij", exchange, PAULI) for i in range(len(structure))}
    for i, j, r in _neighbors(structure):
        d = structure.positions[j] + r @ structure.cell - structure.positions[i]
        x, y, _ = d / np.linalg.norm(d)
        blocks[i, j, r] = -np.eye(2) + 1j * strength * (y * PAULI[0] - x * PAULI[1])
    return BlockMatrix.from_blocks(OrbitalLayout(((0,),) * len(structure)), blocks, "spinor"), None


def unit_overlap(hamiltonian: BlockMatrix) -> BlockMatrix:
    """S of orthonormal orbitals."""
    layout = hamiltonian.layout
    return BlockMatrix.from_blocks(layout, {(i, i, (0, 0, 0)): np.eye(n) for i, n in enumerate(layout.sizes)})


def _neighbors(structure: Structure) -> list:
    """(i, j, R) of all nearest neighbours."""
    graph = build_graph(structure, dict.fromkeys(structure.numbers.tolist(), 1.6))
    i, j = graph.pairs.T
    distances = np.linalg.norm(structure.positions[j] + graph.shifts @ structure.cell - structure.positions[i], axis=1)
    near = distances < 1.001 * distances[distances > 0.1].min()
    found = zip(graph.pairs[near & (distances > 0.1)].tolist(), graph.shifts[near & (distances > 0.1)].tolist(), strict=True)
    return [(a, b, tuple(r)) for (a, b), r in found]
