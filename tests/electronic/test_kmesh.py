import numpy as np
import pytest
from ase.calculators.calculator import kpts2kpts
from ase.dft.kpoints import monkhorst_pack

from ase_tracegrad.electronic.bands import compute_bands
from ase_tracegrad.electronic.kmesh import make_list, make_mesh
from tests.electronic.lattice_models import graphene_model, random_model


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (4, 4, 4), (5, 2, 3)])
def test_same_points_in_the_same_order_as_ase(size):
    mesh = make_mesh(size)
    assert np.abs(mesh.full_kpts - monkhorst_pack(size)).max() < 1e-15
    centred = make_mesh(size, gamma=True)
    assert np.abs(centred.full_kpts - kpts2kpts({"size": size, "gamma": True}).kpts).max() < 1e-15
    assert np.abs(centred.full_kpts).sum(axis=1).min() < 1e-15


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (4, 4, 4), (5, 2, 3)])
@pytest.mark.parametrize("gamma", [False, True])
def test_time_reversal_pairs(size, gamma):
    mesh = make_mesh(size, gamma=gamma)
    assert abs(mesh.weights.sum() - 1) < 1e-14
    kept = mesh.kpts[mesh.full_to_irreducible]
    same, opposite = kept - mesh.full_kpts, kept + mesh.full_kpts
    assert np.minimum(*(np.abs(x - np.rint(x)).max(axis=1) for x in (same, opposite))).max() < 1e-14
    self_paired = (np.abs(2 * mesh.full_kpts - np.rint(2 * mesh.full_kpts)) < 1e-12).all(axis=1).sum()
    assert len(mesh) == (len(mesh.full_kpts) + self_paired) // 2


def test_unfolded_energies_equal_the_full_mesh():
    h, s = random_model()
    mesh = make_mesh((4, 3, 1))
    full = compute_bands(h, s, mesh.full_kpts).reshape(4, 3, 1, -1)
    assert np.abs(mesh.unfold(compute_bands(h, s, mesh.kpts)) - full).max() < 1e-11


@pytest.mark.parametrize("gamma", [False, True])
@pytest.mark.parametrize("size", [(6, 6, 1), (5, 5, 1), (6, 4, 1)])
def test_reduction_by_rotations(size, gamma):
    """Graphene: k -> W k with the sixfold rotation and a mirror, in fractions of reciprocal vectors."""
    six = np.array([[1, -1, 0], [1, 0, 0], [0, 0, 1]])
    mirror = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    group = [np.linalg.matrix_power(six, n) @ m for n in range(6) for m in (np.eye(3, dtype=int), mirror)]
    mesh = make_mesh(size, gamma=gamma).reduced_by(group)
    h, s = graphene_model()
    full = compute_bands(h, s, mesh.full_kpts)
    assert np.abs(compute_bands(h, s, mesh.kpts)[mesh.full_to_irreducible] - full).max() < 1e-11
    assert abs(mesh.weights.sum() - 1) < 1e-14
    if size == (5, 5, 1) or (size == (6, 6, 1) and gamma):  # the half-shifted mesh lacks the threefold rotations
        assert len(mesh) < len(make_mesh(size, gamma=gamma)) / 2


def test_list_of_points():
    mesh = make_list([[0, 0, 0], [0.5, 0, 0]], [1, 3])
    assert mesh.weights.tolist() == [0.25, 0.75]
    assert mesh.size is None
    with pytest.raises(ValueError, match="regular mesh"):
        mesh.reduced_by([np.eye(3, dtype=int)])


@pytest.mark.parametrize("bad", [(0, 1, 1), (2.5, 1, 1), (2, 2), "abc"])
def test_bad_sizes_are_refused(bad):
    with pytest.raises(ValueError):
        make_mesh(bad)


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        make_list([[0, 0, 0], [0.5, 0, 0]], weights)
