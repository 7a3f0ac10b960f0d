import numpy as np
import pytest

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.bloch import BlochSum
from ase_tracegrad.electronic.unfold import compute_spectral_function, map_supercell, unfold_bands
from ase_tracegrad.structure import Structure
from tests.electronic.lattice_models import random_on_structure

P = np.array([[2, 1, 0], [0, 3, 0], [0, 0, 1]])


def make_supercell(structure: Structure) -> Structure:
    """Six cells of P, in an order and with an origin cell that no rule would guess."""
    cells = [(0, 0, 0), (0, 1, 0), (1, 2, 0), (1, 1, 0), (0, 2, 0), (1, 3, 0)]
    sites = [(a, t) for t in cells for a in range(len(structure))][::-1]
    positions = [structure.positions[a] + np.array(t) @ structure.cell for a, t in sites]
    return Structure([structure.numbers[a] for a, _ in sites], positions, P @ structure.cell, structure.pbc)


def repeat(matrix: BlockMatrix, mapping) -> BlockMatrix:
    """The primitive matrix as a matrix of the supercell."""
    layout = OrbitalLayout(tuple(matrix.layout.shells[a] for a in mapping.atoms))
    inverse = np.linalg.inv(mapping.matrix)
    blocks = {}
    for first, (a, cell) in enumerate(zip(mapping.atoms, mapping.cells, strict=True)):
        for (i, j, r), block in matrix.items():
            if i != a:
                continue
            target = cell + np.array(r)
            for second in np.nonzero(mapping.atoms == j)[0]:
                shift = (target - mapping.cells[second]) @ inverse
                if np.abs(shift - np.rint(shift)).max() < 1e-9:
                    blocks[first, int(second), tuple(np.rint(shift).astype(int).tolist())] = block
    return BlockMatrix.from_blocks(layout, blocks, matrix.spin)


@pytest.fixture(params=[False, True])
def crystal(request, graphene_structure):
    h, s = random_on_structure(graphene_structure, {6: (0, 1)}, spinor=request.param)
    supercell = make_supercell(graphene_structure)
    mapping = map_supercell(supercell, graphene_structure)
    return h, s, repeat(h, mapping), repeat(s, mapping), mapping


def test_perfect_supercell_has_weights_zero_or_one(crystal, kpts):
    h, s, big_h, big_s, mapping = crystal
    assert mapping.n_cells == 6
    energies, weights = unfold_bands(BlochSum(big_h, big_s), mapping, kpts)
    assert np.minimum(np.abs(weights), np.abs(weights - 1)).max() < 1e-9
    primitive = compute_bands(h, s, kpts)
    for e, w, expected in zip(energies, weights, primitive, strict=True):
        assert np.abs(e[w > 0.5] - expected).max() < 1e-9


def test_folded_energies_are_those_of_the_primitive_cell(crystal):
    """The supercell at its Gamma holds the primitive bands at all k that fold there."""
    h, s, big_h, big_s, _ = crystal
    inverse = np.linalg.inv(P).T  # supercell reciprocal vectors in fractions of the primitive ones
    folding = {tuple(np.round(np.array([i, j, 0]) @ inverse % 1 % 1, 12)) for i in range(6) for j in range(6)}
    assert len(folding) == 6
    together = np.sort(compute_bands(h, s, list(folding)).ravel())
    assert np.abs(together - compute_bands(big_h, big_s, [[0, 0, 0]])[0]).max() < 1e-9


def test_weights_of_a_disordered_supercell_add_up_to_one(crystal):
    *_, big_h, big_s, mapping = crystal
    noise = 0.3 * np.random.default_rng(1).normal(size=big_h.values.shape)
    disturbed = BlockMatrix(big_h.layout, big_h.pairs, big_h.shifts, big_h.values + noise, big_h.spin).symmetrized()
    k = np.array([0.12, 0.31, 0.0])
    inverse = np.linalg.inv(P).T
    equivalent = {tuple(np.round((k + np.array([i, j, 0]) @ inverse) % 1, 12)): None for i in range(6) for j in range(6)}
    assert len(equivalent) == 6
    _, weights = unfold_bands(BlochSum(disturbed, big_s), mapping, list(equivalent))
    assert np.abs(weights.sum(axis=0) - 1).max() < 1e-7
    assert weights.max() < 1 - 1e-3


def test_spectral_function_holds_the_weights():
    grid = np.linspace(-5, 5, 2001)
    spectrum = compute_spectral_function(np.array([[-1.0, 0.5]]), np.array([[0.3, 0.7]]), grid, width=0.1)
    assert spectrum.sum() * (grid[1] - grid[0]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="positive width"):
        compute_spectral_function(np.zeros((1, 2)), np.ones((1, 2)), grid, width=0.0)
    with pytest.raises(ValueError, match="weights"):
        compute_spectral_function(np.zeros((1, 2)), np.ones((1, 3)), grid, width=0.1)
    with pytest.raises(ValueError, match="finite"):
        compute_spectral_function(np.zeros((1, 2)), np.ones((1, 2)), [0.0, np.nan], width=0.1)


def test_displacements_and_strain_are_allowed(graphene_structure):
    supercell = make_supercell(graphene_structure)
    rng = np.random.default_rng(0)
    strained = supercell.cell @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3)))
    positions = supercell.positions @ np.linalg.inv(supercell.cell) @ strained + 0.1 * rng.normal(size=supercell.positions.shape)
    moved = map_supercell(Structure(supercell.numbers, positions, strained, supercell.pbc), graphene_structure)
    still = map_supercell(supercell, graphene_structure)
    assert (moved.atoms == still.atoms).all()
    assert (moved.cells == still.cells).all()


def test_structures_that_do_not_fit_are_refused(graphene_structure):
    supercell = make_supercell(graphene_structure)
    with pytest.raises(ValueError, match="does not consist of"):
        map_supercell(Structure([6], [[0, 0, 0]], supercell.cell, supercell.pbc), graphene_structure)
    other = Structure([7] * 12, supercell.positions, supercell.cell, supercell.pbc)
    with pytest.raises(ValueError, match="every site of its element"):
        map_supercell(other, graphene_structure)
    positions = supercell.positions.copy()
    positions[0] = positions[2] + 0.1
    with pytest.raises(ValueError, match="same site"):
        map_supercell(Structure(supercell.numbers, positions, supercell.cell, supercell.pbc), graphene_structure)
