import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import block_diag

from ase_tracegrad.basis import AtomicBasis, Basis, GaussianRadial, OrbitalLayout, Shell, TabulatedRadial
from ase_tracegrad.harmonics import shell_rotation

EXPONENTS = st.lists(st.floats(0.2, 50.0), min_size=1, max_size=5)


def hydrogen(l: int, n: int = 400, reach: float = 8.0) -> TabulatedRadial:
    """r^l exp(-2 r), smoothly brought to zero at the reach."""
    r = np.linspace(0, reach, n)
    return TabulatedRadial(l, r, r**l * np.exp(-2 * r) * (1 - (r / reach) ** 2) ** 3)


@given(l=st.integers(0, 4), exponents=EXPONENTS)
def test_gaussians_are_normalised_and_end_at_their_reach(l, exponents):
    radial = GaussianRadial(l, np.array(exponents), np.ones(len(exponents)))
    norm = quad(lambda r: r**2 * radial(r) ** 2, 0, radial.reach, epsabs=1e-11, limit=200)[0]
    assert norm == pytest.approx(1, abs=1e-9)
    beyond = np.linspace(radial.reach + 0.02, 2 * radial.reach, 200)
    assert np.abs(beyond * radial(beyond)).max() <= radial.tolerance


@pytest.mark.parametrize("l", range(4))
def test_tabulated_functions_are_normalised_and_vanish_beyond_their_reach(l):
    radial = hydrogen(l)
    assert quad(lambda r: r**2 * radial(r) ** 2, 0, 8, epsabs=1e-11, limit=400)[0] == pytest.approx(1, abs=1e-9)
    assert radial.reach == 8.0
    assert np.array_equal(radial([8.1, 30.0]), [0, 0])
    assert radial(1.234) == pytest.approx(hydrogen(l, 4000)(1.234), abs=1e-7)


def test_a_table_keeps_its_norm_when_asked():
    normalised = hydrogen(1)
    doubled = TabulatedRadial(1, normalised.radii, 2 * normalised.values, normalise=False)
    assert doubled(1.7) == pytest.approx(2 * normalised(1.7), rel=1e-12)


def test_a_table_may_outreach_its_cutoff():
    table = hydrogen(0)
    short = TabulatedRadial(0, table.radii, table.values, cutoff=7.5)  # normalised over the whole table
    assert short.reach == 7.5
    assert float(short(7.8)) == pytest.approx(float(table(7.8)), rel=1e-12)
    assert table(7.8) > 0
    with pytest.raises(ValueError, match=r"within the grid, which ends at 8\.0"):
        TabulatedRadial(0, table.radii, table.values, cutoff=8.5)


@pytest.mark.parametrize(
    ("exponents", "coefficients", "message"),
    [
        ([1.0, 2.0], [1.0], "one coefficient per exponent"),
        ([], [], "one coefficient per exponent"),
        ([-1.0], [1.0], "positive"),
        ([1.0], [np.nan], "finite"),
        ([1.0], [0.0], "vanishes"),
        ([1.0], [1e200], "too large"),
    ],
)
def test_impossible_gaussians_are_refused(exponents, coefficients, message):
    with pytest.raises(ValueError, match=message):
        GaussianRadial(0, np.array(exponents), np.array(coefficients))


@pytest.mark.parametrize(
    ("radii", "values", "message"),
    [
        (np.arange(9.0), np.ones(8), "a value each"),
        (np.arange(4.0), np.ones(4), "at least 8"),
        (np.arange(9.0)[::-1], np.ones(9), "increase"),
        (np.arange(9.0) - 1, np.ones(9), "above zero"),
        (np.arange(9.0), np.full(9, np.inf), "finite"),
        (np.arange(9.0), np.zeros(9), "vanishes"),
        (np.arange(9.0), np.full(9, 1e200), "too large"),
    ],
)
def test_impossible_tables_are_refused(radii, values, message):
    with pytest.raises(ValueError, match=message):
        TabulatedRadial(0, radii, values)


def test_shells_agree_with_their_radial_functions():
    radial = GaussianRadial(1, np.array([1.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="found 0 and 1"):
        Shell(0, radial)
    with pytest.raises(ValueError, match="announced \\[0\\]"):
        AtomicBasis(6, (0,), (Shell(1, radial),))
    with pytest.raises(ValueError, match="no shells"):
        AtomicBasis(6, ())


def test_sizes_reach_and_electrons():
    narrow, wide = (Shell(1, GaussianRadial(1, np.array([a]), np.array([1.0]))) for a in (4.0, 0.5))
    basis = Basis({6: AtomicBasis(6, (1, 1), (narrow, wide), 4.0), 1: AtomicBasis(1, (0, 0, 1))})
    assert basis[6].size == 6
    assert basis[6].reach == wide.reach > narrow.reach
    assert basis.layout([6, 1]).sizes.tolist() == [6, 5]
    assert basis.count_electrons([6, 6]) == 8
    with pytest.raises(ValueError, match=r"element\(s\) \[1\] is unknown"):
        basis.count_electrons([6, 1])
    with pytest.raises(ValueError, match="element 1 has no radial functions"):
        _ = basis[1].reach
    with pytest.raises(KeyError, match=r"no orbitals for element 7; this basis holds \[1, 6\]"):
        basis[7]


def test_layout_numbers_orbitals_atom_by_atom_and_rotates_them():
    layout = OrbitalLayout(((0, 1), (2,)))
    assert (layout.n_atoms, layout.total, layout.offsets.tolist()) == (2, 9, [0, 4, 9])
    mirror = np.diag([1.0, 1.0, -1.0])
    assert np.array_equal(layout.rotation(0, mirror), block_diag(shell_rotation(0, mirror), shell_rotation(1, mirror)))
