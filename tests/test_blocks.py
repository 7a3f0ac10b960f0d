import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_tracegrad.basis import OrbitalLayout
from ase_tracegrad.blocks import BlockMatrix

SPINS = ["none", "spinor"]
LAYOUT = OrbitalLayout(((0, 1), (0, 0, 2)))
KPTS = np.array([[0, 0, 0], [0.5, 0, 0], [0.13, -0.7, 0.31], [1.2, 0.4, -2.3]])


def naive_bloch(matrix: BlockMatrix, k) -> np.ndarray:
    """The Bloch sum as it is written, element by element."""
    total, offsets = matrix.layout.total, matrix.layout.offsets
    out = np.zeros((matrix.n_orbitals,) * 2, complex)
    for (i, j, shift), block in matrix.items():
        n_i, n_j = matrix.layout.sizes[[i, j]]
        for row in range(block.shape[0]):
            for column in range(block.shape[1]):
                a = (row // n_i) * total + offsets[i] + row % n_i
                b = (column // n_j) * total + offsets[j] + column % n_j
                out[a, b] += np.exp(2j * np.pi * np.dot(k, shift)) * block[row, column]
    return out


@pytest.mark.parametrize("spin", SPINS)
def test_blocks_in_blocks_out(make_matrix, spin):
    matrix = make_matrix(spin=spin)
    again = BlockMatrix.from_blocks(matrix.layout, dict(matrix.items()), spin)
    assert np.array_equal(again.values, matrix.values)
    for (i, j, shift), block in matrix.items():
        assert np.array_equal(matrix.block(i, j, shift), block)
        assert block.shape == (matrix.n_spin * matrix.layout.sizes[i], matrix.n_spin * matrix.layout.sizes[j])
    with pytest.raises(KeyError, match=r"no block \(0, 1, \(9, 9, 9\)\)"):
        matrix.block(0, 1, (9, 9, 9))


@pytest.mark.parametrize("spin", SPINS)
def test_bloch_sum_is_the_naive_one(make_matrix, spin):
    matrix = make_matrix(spin=spin, seed=3)
    found = matrix.bloch(KPTS)
    assert found.dtype == np.complex128
    for k, dense in zip(KPTS, found, strict=True):
        assert np.abs(dense - naive_bloch(matrix, k)).max() < 1e-12
        assert np.abs(dense - dense.conj().T).max() < 1e-12
    assert np.abs(matrix.bloch(KPTS + [1, -2, 3]) - found).max() < 1e-11
    if spin == "none":
        assert np.abs(matrix.bloch(-KPTS) - found.conj()).max() < 1e-12


def test_spinor_sum_of_a_spin_diagonal_matrix_is_two_copies(make_matrix):
    matrix = make_matrix(seed=5)
    doubled = BlockMatrix.from_blocks(matrix.layout, {k: np.kron(np.eye(2), b) for k, b in matrix.items()}, "spinor")
    assert np.abs(doubled.bloch(KPTS) - np.array([np.kron(np.eye(2), m) for m in matrix.bloch(KPTS)])).max() < 1e-12


@pytest.mark.parametrize("kpts", [np.zeros((2, 2)), [[0, 0, np.nan]], np.zeros((1, 2, 3))])
def test_bad_k_points_are_refused(make_matrix, kpts):
    with pytest.raises(ValueError, match=r"finite k-points of shape \(K, 3\)"):
        make_matrix().bloch(kpts)


def test_an_empty_matrix_sums_to_zero():
    empty = BlockMatrix.from_blocks(LAYOUT, {})
    assert len(empty) == 0
    assert np.array_equal(empty.bloch(KPTS), np.zeros((4, 11, 11)))


@given(a=st.floats(-3, 3), seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_algebra_is_that_of_the_bloch_sums(make_matrix_factory, a, seeds):
    x, y = (make_matrix_factory(seed=s) for s in seeds)
    expected = x.bloch(KPTS) + a * y.bloch(KPTS)
    assert np.abs((x + a * y).bloch(KPTS) - expected).max() < 1e-11
    assert np.abs((x - y).bloch(KPTS) - (x.bloch(KPTS) - y.bloch(KPTS))).max() < 1e-11
    assert x.inner(y) == pytest.approx(y.inner(x), abs=1e-10)
    assert (x + y).inner(y) == pytest.approx(x.inner(y) + y.inner(y), abs=1e-9)
    assert x.inner(x) == pytest.approx(np.sum(np.abs(x.values) ** 2))


@pytest.fixture(scope="module")
def make_matrix_factory():
    def make(seed):
        rng = np.random.default_rng(seed)
        shifts = rng.permutation(np.indices((3, 3, 1)).reshape(3, -1).T - [1, 1, 0])[:5]
        keys = [(int(i), int(j), tuple(r)) for r in shifts.tolist() for i in range(2) for j in range(2)]
        return BlockMatrix.from_blocks(LAYOUT, {k: rng.normal(size=(LAYOUT.sizes[k[0]], LAYOUT.sizes[k[1]])) for k in keys})

    return make


@pytest.mark.parametrize("spin", SPINS)
def test_adjoint_and_hermiticity(make_matrix, spin):
    matrix = make_matrix(spin=spin, seed=8)
    assert matrix.is_hermitian(1e-14)
    assert np.array_equal(matrix.reverse[matrix.reverse], np.arange(len(matrix)))
    skewed = BlockMatrix(matrix.layout, matrix.pairs, matrix.shifts, matrix.values + np.arange(len(matrix.values)) * 1e-3, spin)
    adjoint = skewed.bloch(KPTS).conj().transpose(0, 2, 1)
    assert np.abs(skewed.adjoint().bloch(KPTS) - adjoint).max() < 1e-11
    assert not skewed.is_hermitian(1e-6)
    assert skewed.symmetrized().is_hermitian(1e-14)
    assert np.array_equal(skewed.adjoint().adjoint().values, skewed.values)


def test_a_missing_partner_counts_as_zero_and_has_no_adjoint():
    block = np.full((4, 7), 0.25)
    lonely = BlockMatrix.from_blocks(LAYOUT, {(0, 1, (1, 0, 0)): block})
    assert lonely.hermiticity_residual() == 0.25
    with pytest.raises(ValueError, match=r"\(1, 0, \(-1, 0, 0\)\) is missing"):
        lonely.adjoint()


def test_restriction_fills_with_zeros_and_cut_drops(make_matrix):
    wide, narrow = make_matrix(seed=1), make_matrix(seed=2, n_pairs=3)
    restricted = wide.restricted_to(narrow)
    assert restricted.index.keys() == narrow.index.keys()
    for key, block in restricted.items():
        expected = wide.block(*key) if key in wide.index else np.zeros_like(block)
        assert np.array_equal(block, expected)
    keep = wide.pairs[:, 0] == wide.pairs[:, 1]
    assert wide.cut(keep).index.keys() == {key for key in wide.index if key[0] == key[1]}
    assert len(wide.cut(np.zeros(len(wide), bool))) == 0


def test_restriction_keeps_complex_values(make_matrix):
    spinor = make_matrix(spin="spinor")
    assert np.array_equal(spinor.restricted_to(spinor).values, spinor.values)


def test_distances():
    matrix = BlockMatrix.from_blocks(LAYOUT, {(0, 1, (1, 0, 0)): np.zeros((4, 7))})
    cell = np.array([[3.0, 0, 0], [1, 4, 0], [0, 0, 5]])
    assert matrix.distances([[0, 0, 0], [0, 4.0, 0]], cell) == pytest.approx([5.0])


def test_dense_matrices_become_blocks_and_small_ones_are_left_out():
    rng = np.random.default_rng(0)
    cells = np.array([[0, 0, 0], [0, 0, 1]])
    dense = rng.normal(size=(2, 11, 11))
    dense[0, :4, 4:] = dense[0, 4:, :4] = 1e-8
    dense[0, :4, :4] = 0
    matrix = BlockMatrix.from_dense(LAYOUT, cells, dense, threshold=1e-7)
    assert (0, 1, (0, 0, 0)) not in matrix.index
    assert np.array_equal(matrix.block(0, 0), np.zeros((4, 4)))
    assert np.array_equal(matrix.block(1, 0, (0, 0, 1)), dense[1, 4:, :4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 0]], [[0, 0, 0], [1, 0, 0]], np.zeros(16)), "one shift per pair"),
        (([[0, 2]], [[0, 0, 0]], np.zeros(16)), "the layout has 2"),
        (([[0, 0]], [[0, 0, 0]], np.zeros(15)), "hold 16 numbers"),
        (([[0, 0], [0, 0]], [[0, 0, 0]] * 2, np.zeros(32)), "given twice"),
        (([[0, 0]], [[0, 0, 0]], np.zeros(16), "up"), "spin must be"),
    ],
)
def test_inconsistent_arrays_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlockMatrix(LAYOUT, *arguments)


def test_a_block_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"block \(0, 1, \(0, 0, 0\)\) must have shape \(4, 7\), found \(7, 4\)"):
        BlockMatrix.from_blocks(LAYOUT, {(0, 1, (0, 0, 0)): np.zeros((7, 4))})


def test_matrices_of_different_structures_do_not_mix(make_matrix):
    with pytest.raises(ValueError, match="different structures"):
        make_matrix() + make_matrix(shells=((0,), (0, 1)))
    with pytest.raises(ValueError, match="different structures"):
        make_matrix().inner(make_matrix(spin="spinor"))


def test_single_precision_is_stored_as_double():
    assert BlockMatrix(LAYOUT, [[0, 0]], [[0, 0, 0]], np.zeros(16, np.float32)).values.dtype == np.float64


def test_repr_is_one_line(make_matrix):
    matrix = make_matrix()
    text = f"BlockMatrix(2 atoms, {matrix.n_orbitals} orbitals, {len(matrix)} blocks, largest {np.abs(matrix.values).max():.4g})"
    assert repr(matrix) == text
    assert "spinor" in repr(make_matrix(spin="spinor"))


def test_a_spinless_matrix_acts_on_both_spins(make_matrix):
    """M(k) becomes 1_2 x M(k); the way back does not exist, and nothing is copied where nothing changes."""
    matrix = make_matrix()
    spinor, k = matrix.with_spin("spinor"), [[0.1, 0.2, -0.3]]
    assert np.abs(spinor.bloch(k)[0] - np.kron(np.eye(2), matrix.bloch(k)[0])).max() == 0
    assert spinor.with_spin("spinor") is spinor
    assert matrix.with_spin("none") is matrix
    with pytest.raises(ValueError, match="a spinor matrix cannot be made spinless"):
        spinor.with_spin("none")
