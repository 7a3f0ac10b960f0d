import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st

from ase_tracegrad.conventions import ABACUS, CONVENTIONS, E3NN_AXES, OPENMX, PYSCF, SIESTA
from ase_tracegrad.harmonics import real_spherical_harmonics

SHELLS = st.lists(st.integers(0, 6), min_size=1, max_size=6)


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=lambda c: c.name)
@given(shells=SHELLS)
def test_there_and_back_is_the_identity(convention, shells):
    values = np.arange(1.0, 1 + sum(2 * l + 1 for l in shells))
    index, sign = convention.to_ours(shells)
    back, back_sign = convention.from_ours(shells)
    ours = sign * values[index]
    assert np.array_equal(back_sign * ours[back], values)
    assert sorted(index) == list(range(len(values)))


@pytest.mark.parametrize(
    ("convention", "l", "gather", "signs"),
    [
        (OPENMX, 1, [1, 2, 0], None),
        (OPENMX, 2, [2, 4, 0, 3, 1], None),
        (OPENMX, 3, [6, 4, 2, 0, 1, 3, 5], None),
        (OPENMX, 4, [8, 6, 4, 2, 0, 1, 3, 5, 7], None),
        (PYSCF, 1, [1, 2, 0], None),
        (PYSCF, 2, [0, 1, 2, 3, 4], None),
        (SIESTA, 2, [0, 1, 2, 3, 4], [1, -1, 1, -1, 1]),
        (ABACUS, 1, [2, 0, 1], [-1, 1, -1]),
        (ABACUS, 2, [4, 2, 0, 1, 3], [1, -1, 1, -1, 1]),
        (ABACUS, 3, [6, 4, 2, 0, 1, 3, 5], [-1, 1, -1, 1, -1, 1, -1]),
    ],
)
def test_orders_as_published(convention, l, gather, signs):
    """The gathers of DeepH-E3 (OpenMX), of the DeepH-dock converters (ABACUS, SIESTA) and of PySCF."""
    index, sign = convention.to_ours([l])
    assert index.tolist() == gather
    assert sign.tolist() == (signs or [1.0] * (2 * l + 1))


def test_a_second_shell_starts_behind_the_first():
    index, _ = OPENMX.to_ours([0, 1, 1])
    assert index.tolist() == [0, 2, 3, 1, 5, 6, 4]


@pytest.mark.parametrize("l", range(7))
def test_e3nn_harmonics_of_permuted_vectors_are_ours(l):
    vectors = np.random.default_rng(l).normal(size=(20, 3))
    permuted = torch.from_numpy(vectors[:, list(E3NN_AXES)])
    theirs = o3.spherical_harmonics(l, permuted, normalize=True, normalization="integral").numpy()
    assert np.abs(theirs - real_spherical_harmonics(l, vectors)).max() < 1e-12


@pytest.mark.parametrize("l", range(5))
def test_pyscf_orbitals_on_a_grid_are_ours(l):
    """Values of PySCF's own orbitals, not only its documentation."""
    gto = pytest.importorskip("pyscf.gto")
    atom = gto.M(atom="He 0 0 0", basis={"He": [[l, [0.7, 1.0]]]}, verbose=0)
    points = np.random.default_rng(l).normal(size=(30, 3))
    values = atom.eval_gto("GTOval_sph", points)
    index, sign = PYSCF.to_ours([l])
    radius = np.linalg.norm(points, axis=1, keepdims=True)
    expected = real_spherical_harmonics(l, points) * radius**l * np.exp(-0.7 * radius**2)
    ratio = (sign * values[:, index]) / expected
    assert np.abs(ratio / ratio[0, 0] - 1).max() < 1e-9
    assert ratio[0, 0] > 0
