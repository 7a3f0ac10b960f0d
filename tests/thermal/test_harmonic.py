"""Normal modes of supercells, thermal displacements and special displacements."""

import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy

from ase_tracegrad.thermal.ensemble import draw_displacements, search_signs
from ase_tracegrad.thermal.harmonic import HarmonicCrystal
from ase_tracegrad.thermal.phonons import (
    ImaginaryModesWarning,
    compute_force_constants,
    load_phonons,
    repeat_primitive,
    save_phonons,
    supercell_matrix,
    to_atoms,
)


@pytest.fixture(scope="module")
def crystal(aluminium):
    return HarmonicCrystal.from_phonons(aluminium, (3, 3, 3))


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_mean_squares_are_those_of_phonopy(aluminium, crystal, temperature):
    aluminium.init_random_displacements(dist_func="quantum", cutoff_frequency=0.05)
    aluminium.random_displacements.run_correlation_matrix(temperature)
    expected = np.einsum("iiab->iab", aluminium.random_displacements.uu)
    assert np.allclose(crystal.mean_squares(temperature), expected[0], atol=1e-7)


def test_frequencies_are_those_at_the_folded_q_points(aluminium):
    crystal = HarmonicCrystal.from_phonons(aluminium, [[1, 1, 0], [-1, 2, 0], [0, 0, 1]])
    q = np.array([[0, 0, 0], [1 / 3, -1 / 3, 0], [2 / 3, 1 / 3, 0]])
    q = np.array([x for x in q if np.allclose(np.array([[1, 1, 0], [-1, 2, 0], [0, 0, 1]]) @ x % 1 % 1, 0, atol=1e-9)])
    assert len(crystal.supercell) == 3
    at_q = aluminium.run_qpoints(q).frequencies.ravel()
    assert all(np.abs(crystal.frequencies - f).min() < 1e-4 for f in at_q)
    assert crystal.frequencies.shape == (9,)


def test_translations_stay_if_the_sum_rule_is_broken(aluminium):
    """As grids of real space break it: 0.4 THz instead of 0 would move the whole crystal farther than any phonon moves an atom."""
    broken = Phonopy(aluminium.unitcell, aluminium.supercell_matrix, primitive_matrix="P")
    onsite = 0.02 * np.eye(len(aluminium.supercell))[:, :, None, None] * np.eye(3)
    expected = HarmonicCrystal.from_phonons(aluminium, (3, 3, 3))
    for sign in (1, -1):
        broken.force_constants = aluminium.force_constants + sign * onsite
        with warnings.catch_warnings():
            warnings.simplefilter("error", ImaginaryModesWarning)
            crystal = HarmonicCrystal.from_phonons(broken, (3, 3, 3))
        u = draw_displacements(crystal, 300.0, 3)
        assert np.abs((u * crystal.supercell.get_masses()[:, None]).sum(axis=1)).max() < 1e-6
        assert crystal.mean_squares(300.0) == pytest.approx(expected.mean_squares(300.0), rel=0.02, abs=1e-5)


def test_isotopes_keep_their_masses(tmp_path):
    heavy = bulk("Al", a=3.995)
    heavy.set_masses([4 * heavy.get_masses()[0]])
    phonons = compute_force_constants(heavy, EMT(), (2, 2, 2))
    light = compute_force_constants(bulk("Al", a=3.995), EMT(), (2, 2, 2))
    save_phonons(phonons, tmp_path / "phonopy_params.yaml")
    crystal = HarmonicCrystal.from_phonons(load_phonons(tmp_path / "phonopy_params.yaml"), (2, 2, 2))
    frequencies = HarmonicCrystal.from_phonons(light, (2, 2, 2)).frequencies
    assert crystal.frequencies[3:] == pytest.approx(frequencies[3:] / 2, rel=1e-3)


def test_sampled_mean_squares(crystal):
    u = draw_displacements(crystal, 300.0, 60, seed=3)
    expected = np.trace(crystal.mean_squares(300.0).mean(axis=0))
    assert (u**2).sum(axis=-1).mean() == pytest.approx(expected, rel=0.06)
    assert np.abs((u * crystal.supercell.get_masses()[:, None]).sum(axis=1)).max() < 1e-9, "the crystal as a whole stays"


@pytest.mark.parametrize("method", ["monte-carlo", "special"])
def test_pairs_cancel_what_is_linear(crystal, method):
    u = draw_displacements(crystal, 300.0, 2, method=method)
    assert np.abs(u[0::2] + u[1::2]).max() == 0
    force = np.random.default_rng(0).normal(size=u.shape[1:])
    assert abs(np.einsum("sia,ia->s", u, force).mean()) < 1e-12


@pytest.mark.parametrize("method", ["monte-carlo", "special"])
def test_more_pairs_begin_with_the_same(crystal, method):
    assert np.allclose(
        draw_displacements(crystal, 200.0, 3, method=method, seed=5)[:4],
        draw_displacements(crystal, 200.0, 2, method=method, seed=5),
    )


def test_one_special_displacement_has_the_exact_mean_square(crystal):
    u = draw_displacements(crystal, 300.0, 1, method="special")[0]
    assert (u**2).sum(axis=-1).mean() == pytest.approx(np.trace(crystal.mean_squares(300.0).mean(axis=0)), rel=1e-9)


def test_special_displacements_give_the_harmonic_mean_of_a_quadratic_coupling(crystal):
    """O(u) = sum over near pairs of (u_i - u_j) K (u_i - u_j), the same in all cells."""
    atoms, rng = crystal.supercell, np.random.default_rng(1)
    coupling = rng.normal(size=(3, 3))
    near = np.argwhere((atoms.get_all_distances(mic=True) < 3.0) & ~np.eye(len(atoms), dtype=bool))

    def mean(u):
        difference = u[..., near[:, 0], :] - u[..., near[:, 1], :]
        return np.einsum("...pa,ab,...pb->...", difference, coupling, difference)

    amplitudes = crystal.amplitudes(300.0)
    exact = mean(amplitudes).sum()
    scale = np.abs(mean(amplitudes)).sum()
    errors = search_signs(crystal, 300.0, 4)[1]
    assert errors[-1] < errors[0] / 2
    found = mean(draw_displacements(crystal, 300.0, 4, method="special")).mean()
    # Random signs: what is not searched is several times further from the mean.
    rng = np.random.default_rng(2)
    signs = rng.choice([-1.0, 1.0], size=(200, 4, len(amplitudes)))
    spread = np.std(mean(np.einsum("tpv,via->tpia", signs, amplitudes)).mean(axis=1))
    assert abs(found - exact) < min(0.05 * scale, 0.6 * spread)


def test_imaginary_modes_are_warned_about():
    stretched = compute_force_constants(bulk("Al", a=5.2), EMT(), (2, 2, 2))
    with pytest.warns(ImaginaryModesWarning, match="imaginary, down to"):
        HarmonicCrystal.from_phonons(stretched, (2, 2, 2))


def test_phonopy_file(aluminium, tmp_path, monkeypatch):
    path = tmp_path / "phonopy_params.yaml"
    save_phonons(aluminium, path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FORCE_SETS").write_text("nonsense that phonopy would read\n")
    found = load_phonons(path)
    assert np.allclose(found.force_constants, aluminium.force_constants, atol=1e-8)
    with pytest.raises(ValueError, match="no phonopy file"):
        load_phonons(tmp_path / "nothing.yaml")


def test_phonopy_without_force_constants(aluminium):
    with pytest.raises(ValueError, match="no force constants"):
        load_phonons(Phonopy(aluminium.unitcell, np.eye(3, dtype=int), primitive_matrix="P"))


@pytest.mark.parametrize("wrong", [(2, 2), (0, 1, 1), (1.5, 1, 1), np.diag([-1, 1, 1])])
def test_supercells_that_are_none(wrong):
    with pytest.raises(ValueError, match="supercell"):
        supercell_matrix(wrong)


@pytest.mark.parametrize("matrix", [(2, 3, 1), [[2, 1, 0], [-1, 1, 0], [0, 0, 1]], [[4, 2, 0], [-2, 2, 0], [0, 0, 1]]])
def test_the_cell_at_the_origin_is_the_first(diamond_atoms, matrix):
    matrix = supercell_matrix(matrix)
    large, cells = repeat_primitive(diamond_atoms, matrix)
    assert not cells[0].any()
    assert np.allclose(large.positions[:2], diamond_atoms.positions)
    assert len(cells) == round(np.linalg.det(matrix))
    assert large.get_all_distances(mic=True)[np.triu_indices(len(large), 1)].min() > 1.5


def test_arguments(crystal):
    with pytest.raises(ValueError, match="method"):
        draw_displacements(crystal, 300.0, 1, method="magic")
    with pytest.raises(ValueError, match="at least one pair"):
        draw_displacements(crystal, 300.0, 0)
    with pytest.raises(ValueError, match="not negative"):
        draw_displacements(crystal, -1.0, 1)


def test_atoms_there_and_back(aluminium):
    assert len(to_atoms(aluminium.primitive)) == 1
