import numpy as np
import pytest

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.dispersion import find_dispersive_axes
from tests.electronic.lattice_models import add_adjoints, random_model


def ladder(*bonds) -> BlockMatrix:
    """One orbital per atom; bonds (i, j, R) of -1 eV."""
    n_atoms = 1 + max(max(i, j) for i, j, _ in bonds)
    home = {(i, i, (0, 0, 0)): [[0.5]] for i in range(n_atoms)}
    return BlockMatrix.from_blocks(OrbitalLayout(((0,),) * n_atoms), home | add_adjoints({bond: [[-1.0]] for bond in bonds}))


@pytest.mark.parametrize(
    ("bonds", "axes"),
    [
        ([(0, 1, (0, 0, 0))], ""),
        ([(0, 1, (0, 0, 1))], ""),  # a molecule stored in two cells
        ([(0, 1, (0, 0, 1)), (0, 1, (0, 0, 0))], "c"),
        ([(0, 0, (1, 0, 0))], "a"),
        ([(0, 1, (0, 0, 2)), (1, 2, (0, 0, -5)), (0, 2, (0, 0, -3))], ""),  # a ring
        ([(0, 1, (0, 0, 2)), (1, 2, (0, 0, -5)), (0, 2, (0, 0, -2))], "c"),
        ([(0, 1, (1, 1, 0)), (2, 3, (0, 0, 4)), (0, 1, (0, 0, 0))], "ab"),  # two parts, one of them a chain
    ],
)
def test_only_closed_loops_through_the_crystal_count(bonds, axes):
    assert find_dispersive_axes(ladder(*bonds), 0.1).tolist() == [axis in axes for axis in "abc"]
    assert not find_dispersive_axes(ladder(*bonds), 2.0).any()


@pytest.mark.parametrize("seed", range(3))
def test_atoms_stored_in_other_cells_change_neither_axes_nor_bands(seed):
    h, _ = random_model(seed=seed)
    moved = np.random.default_rng(seed).integers(-3, 4, (2, 3))
    i, j = h.pairs.T
    other = BlockMatrix(h.layout, h.pairs, h.shifts + moved[i] - moved[j], h.values)
    kpts = np.random.default_rng(seed).uniform(size=(3, 3))
    assert np.abs(compute_bands(other, None, kpts) - compute_bands(h, None, kpts)).max() < 1e-10
    assert find_dispersive_axes(other, 1e-3).tolist() == find_dispersive_axes(h, 1e-3).tolist() == [True, True, False]
