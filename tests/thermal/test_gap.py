"""Gap against temperature with an exact small model: edges, averages, resuming, fits, spectral functions."""

import json
import shutil

import numpy as np
import pytest
from ase.build import bulk

from ase_tracegrad.electronic.unfold import map_supercell
from ase_tracegrad.lock import OutputInUseError, lock_output
from ase_tracegrad.structure import Structure
from ase_tracegrad.thermal.edges import find_edges, measure_edges
from ase_tracegrad.thermal.gap import SpreadEdgeWarning, gap_vs_temperature
from ase_tracegrad.thermal.harmonic import HarmonicCrystal
from ase_tracegrad.thermal.result import GAPS, ThermalGap
from ase_tracegrad.thermal.snapshots import SnapshotError
from ase_tracegrad.thermal.spectral import compute_spectral_functions

EDGES = ("vbm", "cbm", "direct vbm", "direct cbm")

pytestmark = pytest.mark.filterwarnings("ignore::ase_tracegrad.thermal.gap.SpreadEdgeWarning")


@pytest.fixture(scope="module")
def crystal(diamond):
    return HarmonicCrystal.from_phonons(diamond, (2, 2, 2))


def test_edges_of_the_undisplaced_supercell_are_those_of_the_primitive_cell(hueckel, crystal):
    primitive, large = hueckel.electronic_structure(crystal.primitive), hueckel.electronic_structure(crystal.supercell)
    gap = hueckel.band_gap(atoms=crystal.primitive, progress=False)
    edges = find_edges(primitive.sums(), primitive.sample.structure, gap)
    assert edges[0].states.shape[2] == 3, "the top of diamond's valence band is threefold"
    mapping = map_supercell(large.sample.structure, primitive.sample.structure)
    found = measure_edges(large.sums(), mapping, edges, gap.n_filled * mapping.n_cells)
    assert np.abs(found.energies - [edge.energy for edge in edges]).max() < 1e-6
    assert found.spreads.max() < 1e-6
    assert edges[0].energy == pytest.approx(gap.vbm, abs=1e-6)
    assert edges[1].energy == pytest.approx(gap.cbm, abs=1e-6)


def test_equivalent_points_have_one_energy(hueckel, diamond_atoms):
    """The bottom of diamond's conduction band is at six points, three of them up to time reversal."""
    structure = hueckel.electronic_structure(diamond_atoms)
    gap = hueckel.band_gap(atoms=diamond_atoms, progress=False)
    edge = find_edges(structure.sums(), structure.sample.structure, gap)[1]
    energies = structure.energies(edge.kpts)[:, gap.n_filled]
    assert np.ptp(energies) < 1e-6
    assert np.abs(energies - gap.cbm).max() < 1e-6


def test_metals_have_no_edges(aluminium, hueckel, monkeypatch):
    carbon = bulk("C", "sc", a=1.8)
    structure = hueckel.electronic_structure(carbon)
    gap = hueckel.band_gap(atoms=carbon, progress=False)
    assert gap.is_metal
    with pytest.raises(ValueError, match="followed in insulators"):
        find_edges(structure.sums(), structure.sample.structure, gap)


@pytest.fixture(scope="module")
def first(hueckel, diamond, tmp_path_factory):
    folder = tmp_path_factory.mktemp("thermal")
    return folder, gap_vs_temperature(hueckel, diamond, [0, 300], (2, 2, 2), n_pairs=2, seed=1, out=folder / "run")


def test_result(first):
    result = first[1]
    assert result.energies.shape == (2, 4, 4)
    assert np.array_equal(result.temperatures, [0, 300])
    assert np.isfinite(result.energies).all()
    assert (result.shift() < 0).all(), "electron-phonon coupling closes the gap of diamond"
    assert result.mean("cbm")[0] - result.mean("vbm")[0] == pytest.approx(result.mean()[0])
    assert "zero-point renormalization" in str(result)
    with pytest.raises(ValueError, match="expected one of gap"):
        result.select("bandwidth")


def test_resuming_gives_the_same_numbers(hueckel, diamond, first, monkeypatch):
    folder, result = first
    lost = folder / "run" / "300K" / "0002.npz"
    lost.unlink()
    asked = []
    ask = hueckel.electronic_structure
    monkeypatch.setattr(hueckel, "electronic_structure", lambda atoms=None: asked.append(len(atoms)) or ask(atoms))
    again = gap_vs_temperature(hueckel, diamond, [300, 0], (2, 2, 2), n_pairs=2, seed=1, out=folder / "run")
    assert np.abs(again.energies - result.energies).max() < 1e-9
    assert asked.count(16) == 1, "one snapshot was missing"
    assert lost.exists()
    more = gap_vs_temperature(hueckel, diamond, [300], (2, 2, 2), n_pairs=3, seed=1, out=folder / "run")
    assert np.abs(more.energies[0, :4] - result.energies[1]).max() < 1e-9


def test_a_folder_of_another_calculation_is_refused(hueckel, diamond, first):
    folder, _ = first
    with pytest.raises(SnapshotError, match="different in seed"):
        gap_vs_temperature(hueckel, diamond, [0], (2, 2, 2), n_pairs=1, seed=2, out=folder / "run")
    np.save(folder / "run" / "300K" / "displacements.npy", np.zeros((4, 16, 3)))
    with pytest.raises(SnapshotError, match="other displacements"):
        gap_vs_temperature(hueckel, diamond, [300], (2, 2, 2), n_pairs=1, seed=1, out=folder / "run")


def test_damaged_snapshots_are_named(hueckel, diamond, first, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(first[0] / "run", run)
    arguments = (hueckel, diamond, [0], (2, 2, 2))
    (run / "0K" / "0001.npz").write_bytes(b"")
    with pytest.raises(SnapshotError, match=r"0001\.npz cannot be read.*delete it"):
        gap_vs_temperature(*arguments, n_pairs=1, seed=1, out=run)
    np.save(run / "0K" / "displacements.npy", np.full((4, 16, 3), np.nan))
    with pytest.raises(SnapshotError, match="other displacements"):
        gap_vs_temperature(*arguments, n_pairs=1, seed=1, out=run)
    (run / "settings.json").write_text("{")
    with pytest.raises(SnapshotError, match=r"settings\.json cannot be read.*choose another folder"):
        gap_vs_temperature(*arguments, n_pairs=1, seed=1, out=run)


def test_another_model_with_the_same_card_is_another_calculation(hueckel, diamond, tmp_path, monkeypatch):
    """As members of an ensemble are: name, training set and settings are the same, the weights are not."""
    for number in range(2):
        (tmp_path / f"{number}.safetensors").write_bytes(bytes([number]))
    monkeypatch.setattr(hueckel.predictor, "path", tmp_path / "0.safetensors", raising=False)
    gap_vs_temperature(hueckel, diamond, [0], (2, 2, 2), n_pairs=1, out=tmp_path / "run")
    hueckel.predictor.path = tmp_path / "1.safetensors"
    with pytest.raises(SnapshotError, match="different in model_sha256"):
        gap_vs_temperature(hueckel, diamond, [0], (2, 2, 2), n_pairs=1, out=tmp_path / "run")


def test_two_processes_do_not_share_a_folder(hueckel, diamond, tmp_path):
    with lock_output(tmp_path / "run"), pytest.raises(OutputInUseError, match="is writing to"):
        gap_vs_temperature(hueckel, diamond, [0], (2, 2, 2), n_pairs=1, out=tmp_path / "run")
    assert not list((tmp_path).rglob("*.npz"))


def test_special_displacements_agree_with_random_ones(hueckel, diamond, first):
    special = gap_vs_temperature(hueckel, diamond, [0], (2, 2, 2), method="special", n_pairs=2)
    random = first[1]
    assert special.shift()[0] == pytest.approx(random.shift()[0], abs=4 * random.error()[0] + 0.05)
    assert (special.shift()[0] < 0) == (random.shift()[0] < 0)


def test_spread_edges_are_warned_about(hueckel, diamond):
    with pytest.warns(SpreadEdgeWarning, match="is spread over"):
        gap_vs_temperature(hueckel, diamond, [5000], (2, 2, 2), n_pairs=1)


def make_result(temperatures, gaps) -> ThermalGap:
    """Two pairs with an error of 1 meV around given gaps."""
    noise = np.array([1e-3, 1e-3, -1e-3, -1e-3])
    energies = np.zeros((len(temperatures), 4, 4))
    energies[:, :, 1] = energies[:, :, 3] = np.asarray(gaps)[:, None] + noise
    static = np.array([0, 2.0, 0, 2.0])
    return ThermalGap(np.array(temperatures, float), EDGES, static, energies, np.ones_like(energies), "monte-carlo")


def test_fits_find_their_own_formulas():
    t = np.array([0.0, 100, 200, 300, 450, 600])
    varshni = make_result(t, 1.9 - 5e-4 * t**2 / (t + 200)).fit_varshni()
    assert list(varshni.parameters.values()) == pytest.approx([1.9, 5e-4, 200], rel=1e-4)
    with np.errstate(divide="ignore"):
        einstein = make_result(t, 2.0 - 0.1 * (1 + 2 / np.expm1(400 / t))).fit_bose_einstein()
    assert list(einstein.parameters.values()) == pytest.approx([2.0, 0.1, 400], rel=1e-4)
    assert einstein([0.0])[0] == pytest.approx(1.9)
    with pytest.raises(ValueError, match="needs 4 temperatures"):
        make_result(t[:2], [1.9, 1.8]).fit_varshni()


def test_fits_that_the_gaps_do_not_determine_are_left_out():
    """Two pairs of MoS2: noise that no formula of a mean phonon can explain."""
    result = make_result([0.0, 100, 200, 300], [1.6422, 1.6385, 1.6189, 1.6392])
    assert not result.fit_bose_einstein().is_determined
    assert result.fits() == []
    assert "Bose-Einstein: not determined by these gaps" in str(result)


def test_errors_of_fits_are_those_of_the_pairs():
    """All temperatures share their random numbers: the points lie on a smooth curve, and the curve is as uncertain as they are."""
    t, factors = np.array([0.0, 100, 200, 300, 400]), np.random.default_rng(0).normal(1.0, 0.3, size=10)
    with np.errstate(divide="ignore"):
        gaps = 2.0 - 0.05 * factors * (1 + 2 / np.expm1(400 / t[:, None]))
    energies = np.zeros((5, 20, 4))
    energies[:, :, 1] = energies[:, :, 3] = np.repeat(gaps, 2, axis=1)
    result = ThermalGap(t, EDGES, np.array([0, 2.0, 0, 2.0]), energies, np.zeros_like(energies), "monte-carlo")
    assert result.fit_varshni().errors["E_0"] == pytest.approx(result.error()[0], rel=0.1)
    einstein = result.fit_bose_einstein()
    assert einstein.errors["a"] == pytest.approx(0.05 * factors.std(ddof=1) / np.sqrt(10), rel=0.05)
    assert einstein.errors["theta"] < 0.1
    single = ThermalGap(t, EDGES, result.static, energies[:, :2], np.zeros((5, 2, 4)), "monte-carlo")
    assert np.isnan(single.fit_varshni().errors["E_0"])
    assert single.fit_varshni().is_determined
    assert "+-" not in str(single.fit_varshni())


def test_standard_errors_count_pairs():
    result = make_result([0.0], [1.9])
    assert result.error()[0] == pytest.approx(1e-3)  # two pairs at +-1 meV: 1.41 / sqrt(2)
    means, errors = result.converge()
    assert means[0].tolist() == pytest.approx([1.901, 1.9])
    assert np.isnan(errors[0, 0])
    assert errors[0, 1] == pytest.approx(1e-3)


def test_json(tmp_path):
    make_result([0.0, 100, 200, 300], [1.9, 1.89, 1.86, 1.82]).write(tmp_path / "gap.json")
    found = json.loads((tmp_path / "gap.json").read_text())
    assert set(GAPS) <= set(found["mean"])
    assert set(found["fits"]) == {"Varshni", "Bose-Einstein"}


def test_spectral_function(hueckel, crystal, tmp_path):
    """Of the undisplaced supercell: the primitive bands, one state in each; displaced: broader, not lost."""
    still = compute_spectral_functions(hueckel, crystal.primitive, [crystal.supercell], "GX", 6, window=(-40, 120), width=0.2)
    step = still.energies[1] - still.energies[0]
    assert still.values.sum(axis=1) * step == pytest.approx(np.full(6, 8.0), abs=1e-3)
    inside = (still.bands > still.energies[0] + 0.3) & (still.bands < still.energies[-1] - 0.3)
    for values, bands, visible in zip(still.values, still.bands, inside, strict=True):
        assert all(values[np.abs(still.energies - band).argmin()] > 0.9 / (0.2 * np.sqrt(2 * np.pi)) for band in bands[visible])
    rng = np.random.default_rng(0)
    moved = [crystal.displace(rng.normal(size=(16, 3)) * 0.05) for _ in range(2)]
    mean = compute_spectral_functions(hueckel, crystal.primitive, moved, "GX", 6, window=(-40, 120), width=0.2)
    assert mean.n_snapshots == 2
    assert mean.values.max() < still.values.max()
    mean.write(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as stored:
        assert {"kpts", "x", "energies", "values", "zero", "bands"} <= set(stored)
    with pytest.raises(ValueError, match="no supercell"):
        compute_spectral_functions(hueckel, crystal.primitive, [], "GX", 6)


def test_structure_of_the_supercell(crystal):
    mapping = map_supercell(Structure.from_atoms(crystal.supercell), Structure.from_atoms(crystal.primitive))
    assert mapping.n_cells == 8
