"""Pictures: what is on the axes, and that no global state changes."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ase.build import molecule
from ase.spectrum.band_structure import BandStructure

from ase_tracegrad import TraceGradCalculator, plot
from ase_tracegrad.plot.style import RIBBON
from tests.calculator_cases import make_atoms
from tests.standin_model import StandInPredictor


@pytest.fixture(scope="module")
def silicon():
    atoms, _ = make_atoms("silicon")
    return atoms.calc


@pytest.fixture(scope="module")
def sheet():
    atoms, _ = make_atoms("graphene", kpts=(12, 12, 1))
    return atoms.calc


def texts(axes) -> str:
    return " ".join([axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *[t.get_text() for t in axes.get_xticklabels()]])


def test_bands_of_an_insulator_count_from_the_valence_top(silicon, tmp_path):
    bands, gap = silicon.band_structure("LGXU,KG", npoints=60), silicon.band_gap()
    axes = plot.plot_bands(bands, gap=gap, window=(-8, 7))
    assert "E_{VBM}" in axes.get_ylabel()
    assert axes.get_ylim() == (-8, 7)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["L", "Γ", "X", "U|K", "Γ"]
    assert f"gap {gap.gap:.3f} eV, direct at Γ" == axes.get_title()
    curves = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) > 2 and line.get_marker() == "None"]
    tops = [y[:, 3].max() if y.ndim == 2 else y.max() for y in curves if len(y) > 2]
    assert min(abs(t) for t in tops) < 1e-9, "the valence band ends at zero"
    axes.figure.savefig(tmp_path / "bands.png")
    assert (tmp_path / "bands.png").stat().st_size > 10_000


def test_no_line_across_a_jump_of_the_path(silicon):
    bands = silicon.band_structure("GX,UG", npoints=40)
    x = bands.path.get_linear_kpoint_axis()[0]
    jump = x[np.nonzero(np.diff(x) < 1e-12)[0][0]]
    axes = plot.plot_bands(bands)
    for line in axes.lines:
        inside = np.asarray(line.get_xdata(), dtype=float)
        assert not (len(inside) > 2 and inside.min() < jump < inside.max())


def test_bands_of_a_semimetal_count_from_the_fermi_level(sheet):
    bands, gap = sheet.band_structure(npoints=60), sheet.band_gap()
    axes = plot.plot_bands(bands, gap=gap)
    assert "E_F" in axes.get_ylabel()
    assert axes.get_title() == "semimetal, bands touch at K (0.00 meV)"
    assert plot.find_zero(bands, gap) == (bands.reference, "E_F")


def test_bands_and_dos_share_energy(silicon):
    bands, gap = silicon.band_structure(npoints=40), silicon.band_gap()
    left, right = plot.plot_bands_and_dos(bands, silicon.dos(width=0.05), gap=gap)
    assert left.get_ylim() == right.get_ylim()
    assert left.get_shared_y_axes().joined(left, right)
    drawn = right.lines[0]
    weights, energies = np.asarray(drawn.get_xdata()), np.asarray(drawn.get_ydata())
    inside = (energies > 0.3) & (energies < gap.gap - 0.3)
    assert inside.any()
    assert weights[inside].max() < 1e-6, "the gap of the DOS lies above the zero of the bands"


def test_dos_names_its_zero_and_units(sheet):
    axes = plot.plot_dos(sheet.dos())
    assert "E_F" in axes.get_xlabel()
    assert "states / (eV cell)" in axes.get_ylabel()
    assert "E_{VBM}" in plot.plot_dos(sheet.dos(), shift=0.7).get_xlabel()


def test_a_window_without_states_is_refused(sheet):
    bands, shares = sheet.fat_bands("GK", 3)
    for draw in (
        lambda window: plot.plot_bands(bands, window=window),
        lambda window: plot.plot_fat_bands(bands, shares, window=window),
        lambda window: plot.plot_dos(sheet.dos(), window=window),
        lambda window: plot.plot_projected_dos(sheet.projected_dos(), window=window),
    ):
        with pytest.raises(ValueError, match="no states in the window 5000 to 6000 eV; the energies lie from"):
            draw((5000, 6000))


def test_one_kpt_of_a_molecule():
    calc = TraceGradCalculator(StandInPredictor())
    atoms = molecule("CH4")
    atoms.calc = calc
    axes = plot.plot_bands(calc.band_structure(), gap=calc.band_gap(), window=(-10, 50))
    assert [t.get_text() for t in axes.get_xticklabels()] == ["Γ"]
    plot.plot_bands_and_dos(calc.band_structure(), calc.dos())[0].figure.canvas.draw()


def test_names_of_kpts(sheet):
    path = sheet.band_structure("GMK", npoints=10).path
    assert plot.name_kpt([-1 / 3, -1 / 3, 0], path) == "K"
    assert plot.name_kpt([1, 1, 0], path) == "Γ"
    assert plot.name_kpt([0.1, 0.2, 0], path) == "(0.1, 0.2, 0)"


def test_given_axes_are_used(silicon):
    _, axes = plt.subplots()
    assert plot.plot_bands(silicon.band_structure("GX", npoints=5), ax=axes) is axes
    assert plot.plot_dos(silicon.dos(), ax=axes) is axes


def ribbon_heights(axes) -> dict[str, float]:
    """Mean height of the ribbons of each label, in eV; bands of a group follow one another without a label."""
    heights, label = {}, None
    for ribbon in axes.collections:
        label = label if ribbon.get_label().startswith("_") else ribbon.get_label()
        y = ribbon.get_paths()[0].vertices[:, 1]
        heights.setdefault(label, []).append(np.ptp(y))
    return {name: float(np.mean(values)) for name, values in heights.items()}


def test_fat_bands_are_as_wide_as_their_shares(silicon):
    bands = silicon.band_structure("GX", npoints=8)
    flat = BandStructure(bands.path, np.broadcast_to(np.arange(-4.0, 4.0), (1, 8, 8)), reference=0.0)
    shares = {"Si s": np.full((8, 8), 0.25), "Si p": np.full((8, 8), 0.75)}
    axes = plot.plot_fat_bands(flat, shares, window=(-5, 5))
    height = 10 * RIBBON
    assert ribbon_heights(axes) == pytest.approx({"Si s": 0.25 * height, "Si p": 0.75 * height})
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["Si s", "Si p"]
    ends = [ribbon.get_paths()[0].vertices[:, 1] for ribbon in axes.collections]
    assert ends[0].min() == pytest.approx(-4 - height / 2)
    assert ends[8].max() == pytest.approx(-4 + height / 2)
    with pytest.raises(ValueError, match="expected shares of shape"):
        plot.plot_fat_bands(flat, {"Si s": np.ones((3, 8))})


def test_fat_bands_of_the_calculator(silicon, tmp_path):
    bands, shares = silicon.fat_bands("LGX,UG", npoints=30)
    axes = plot.plot_fat_bands(bands, shares, gap=silicon.band_gap(), window=(-8, 7))
    assert "E_{VBM}" in axes.get_ylabel()
    assert "gap" in axes.get_title()
    jump = axes.get_xticks()[2]
    for ribbon in axes.collections:
        x = ribbon.get_paths()[0].vertices[:, 0]
        assert not x.min() < jump - 1e-9 < jump + 1e-9 < x.max(), "no ribbon across the jump"
    axes.figure.savefig(tmp_path / "fat.png")
    assert (tmp_path / "fat.png").stat().st_size > 10_000


def test_groups_without_a_colour_are_grey_together(silicon):
    bands = silicon.band_structure("GX", npoints=4)
    parts = np.random.default_rng(0).dirichlet([9, 8, 7, 6, 5, 4, 1, 1], size=(4, 8))
    axes = plot.plot_fat_bands(bands, {f"group {g}": parts[:, :, g] for g in range(8)}, window=(-100, 100))
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [*(f"group {g}" for g in range(6)), "other"]
    assert sum(ribbon_heights(axes).values()) > 200 * RIBBON


def test_projected_dos_and_its_total(silicon):
    parts = silicon.projected_dos(by="shell")
    axes = plot.plot_projected_dos(parts)
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) > 2}
    assert set(curves) == {"total", "Si s", "Si p"}
    assert np.allclose(curves["total"], curves["Si s"] + curves["Si p"])


def test_fat_levels_of_a_molecule():
    calc = TraceGradCalculator(StandInPredictor())
    atoms = molecule("CH4")
    atoms.calc = calc
    axes = plot.plot_fat_bands(*calc.fat_bands(by="element"), window=(-60, 60))
    assert set(ribbon_heights(axes)) == {"C", "H"}
    axes.figure.canvas.draw()
