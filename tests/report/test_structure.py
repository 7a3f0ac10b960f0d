"""The report of a structure: its numbers, and what a user with mouse, keys or a screen reader meets in a real browser."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import InputError

from ase_tracegrad import TraceGradCalculator
from ase_tracegrad.report.bands import describe_bands
from ase_tracegrad.report.structure import ReportOptions, write_structure_report
from ase_tracegrad.screen import RunOptions, iterate_rows, screen
from tests.calculator_cases import needs_embedded
from tests.report.conftest import EVIL


def embedded(page) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])


def test_numbers_are_those_of_the_calculator(silicon, silicon_page):
    data, calc = embedded(silicon_page), silicon.calc
    bands, gap = calc.band_structure("LGX,UG", 60), calc.band_gap()
    energies = np.array(data["bands"]["energies"]).T + data["bands"]["zero"]
    assert np.abs(energies - bands.energies[0]).max() < 1e-4
    assert data["bands"]["zero"] == pytest.approx(gap.vbm)
    assert data["bands"]["zeroName"] == "VBM"
    assert data["bands"]["filled"] == 4
    assert [tick["label"] for tick in data["bands"]["ticks"]] == ["L", "Γ", "X|U", "Γ"]
    total = np.sum([group["shares"] for group in data["bands"]["groups"]], axis=0)
    assert np.abs(total - 1000).max() <= 1, "shares add up to one"
    parts = np.sum([group["weights"] for group in data["dos"]["groups"]], axis=0)
    assert np.allclose(parts, data["dos"]["total"], atol=1e-5)
    assert {row[0]: row[1] for row in data["gap"]["rows"]}["gap"] == pytest.approx(gap.gap, abs=1e-5)
    assert dict(data["facts"])["Symmetry"] == "Fd-3m, 48 operations"


def test_bands_outside_of_the_window_are_left_out(silicon):
    bands = silicon.calc.band_structure("GX", 5)
    found = describe_bands(bands, (-3.0, 1.0), gap=silicon.calc.band_gap())
    assert found["numbers"].tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="no bands between 100 and 101 eV from VBM"):
        describe_bands(bands, (100.0, 101.0), gap=silicon.calc.band_gap())


def test_page_is_silent_and_whole(browser, silicon_page):
    browser.open(silicon_page)
    assert browser.errors == []
    assert browser.requests == [silicon_page.as_uri()], "the page itself and nothing else"
    assert browser.run("document.title") == f"Si2: {EVIL}"
    assert browser.run("document.querySelector('h1').textContent") == f"Si2: {EVIL}"
    assert browser.run("document.querySelectorAll('img').length") == 0
    headings = browser.run("[...document.querySelectorAll('h2, h3')].map((element) => element.textContent)")
    expected = [
        "How far to trust it",
        "Bands and density of states",
        "Gap",
        "Structure",
        "Atoms",
        "Brillouin zone",
        "Symmetry",
        "Model",
        "Settings",
    ]
    assert headings == expected
    assert browser.run("document.querySelectorAll('svg.chart path.curve').length") == 8 + 3


def test_nothing_foreign_runs_or_loads(browser, silicon_page):
    browser.open(silicon_page)
    browser.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.foreign = 1'}))")
    browser.run("document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x.png'}))")
    browser.wait_for_frame()
    assert browser.run("window.foreign") is None
    assert len([text for text in browser.errors if "Content Security Policy" in text]) == 2
    assert len(browser.refused) == len(browser.requests) - 1 == 1, "the picture was refused"


def readout(browser) -> str:
    return browser.run("document.querySelector('.readout').textContent")


def test_mouse_reads_a_band(browser, silicon_page):
    browser.open(silicon_page)
    data = embedded(silicon_page)["bands"]
    box = browser.find("svg.chart")
    # A state in pixels: the margins of chart.js, the window of the report.
    k, band = 20, 1
    x = box["x"] + 58 + (box["width"] - 70) * data["x"][k] / data["x"][-1]
    y = box["y"] + 12 + (box["height"] - 58) * (8.0 - data["energies"][band][k]) / 22.0
    browser.move(x + 2, y)
    told = readout(browser).replace("−", "-")
    assert f"E - VBM = {data['energies'][band][k]:.3f} eV" in told
    assert f"band {band + 1}, filled" in told
    assert all(f"{abs(part):.4f}" in told for part in data["kpts"][k] if abs(part) > 1e-4 and abs(part - round(part)) > 1e-4)
    assert re.search(r"Si [sp] \d+ %", told)


def test_zoom_and_drag_move_both_charts(browser, silicon_page):
    browser.open(silicon_page)
    box = browser.find("svg.chart")
    content = "[...document.querySelectorAll('svg.chart g[clip-path] > g:first-child')]"
    heights = f"{content}.map((group) => group.transform.baseVal[0].matrix).map(({{d, f}}) => [d, f])"
    before = browser.run(heights)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.drag(middle, (middle[0], middle[1] + 100))
    dragged = browser.run(heights)
    assert [new[1] - old[1] for old, new in zip(before, dragged, strict=True)] == pytest.approx([100, 100], abs=1)
    browser.run("document.querySelector('svg.chart').focus()")
    browser.press("+")
    zoomed = browser.run(heights)
    assert [new[0] / old[0] for old, new in zip(before, zoomed, strict=True)] == pytest.approx([1.4, 1.4], rel=1e-3)
    browser.press("0")
    assert np.allclose(browser.run(heights), before, rtol=1e-4)


def test_keys_read_band_after_band(browser, silicon_page):
    browser.open(silicon_page)
    data = embedded(silicon_page)["bands"]
    browser.run("document.querySelector('svg.chart').focus()")
    browser.press("ArrowUp")
    assert "E − VBM = 0.000 eV" in readout(browser), "it starts at the top of the valence band"
    assert readout(browser).startswith("Γ")
    browser.press("ArrowUp")
    assert re.search(r"band [3-5]", readout(browser))
    browser.press("PageDown")
    assert readout(browser).startswith("X|U, k = (0.5")
    browser.press("ArrowLeft")
    assert readout(browser).startswith("Γ to X|U, k = ")
    assert len(data["ticks"]) == 4


def test_shares_become_thickness(browser, silicon_page):
    browser.open(silicon_page)
    select = "document.querySelector('.tools select')"
    browser.run(f"{select}.value = 1; {select}.dispatchEvent(new Event('change'))")
    assert browser.run("document.querySelectorAll('path.ribbon').length") == 8 * 2, "two pieces of a path that jumps once"


def test_structure_turns_by_mouse_and_keys(browser, silicon_page):
    browser.open(silicon_page)
    picture = "document.querySelector('canvas.scene').toDataURL()"
    box = browser.find("canvas.scene")
    first = browser.run(picture)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.drag(middle, (middle[0] + 60, middle[1]))
    turned = browser.run(picture)
    browser.run("document.querySelector('canvas.scene').focus()")
    browser.press("ArrowUp")
    again = browser.run(picture)
    assert len({first, turned, again}) == 3
    browser.press("0")
    assert browser.run(picture) == first


def test_a_screen_reader_meets_names_and_tables(browser, silicon_page):
    browser.open(silicon_page)
    browser.run("document.querySelectorAll('details').forEach((element) => { element.open = true; })")
    found = browser.accessible()
    applications = [name for role, name in found if role == "application"]
    assert len(applications) == 4
    assert any(name.startswith("Bands along L, Γ, X|U, Γ, energies from the VBM in eV.") for name in applications)
    assert any(name.startswith("Brillouin zone with the path L to Γ") for name in applications)
    assert all(name for role, name in found if role in ("button", "combobox", "table", "region", "heading"))
    tables = {name for role, name in found if role == "table"}
    assert {"Positions (Å)", "Cell vectors (Å)", "Residuals", "By electron count: insulator"} <= tables
    assert any(name.startswith("Bands at the special points nearest to the VBM") for name in tables)
    focusable = browser.run("[...document.querySelectorAll('svg.chart, canvas')].every((element) => element.tabIndex === 0)")
    assert focusable


def test_a_molecule_has_levels(browser, methane_page):
    browser.open(methane_page)
    assert browser.errors == []
    assert browser.run("document.querySelector('svg.chart').getAttribute('aria-label')").startswith(
        "Levels, energies from the HOMO in eV"
    )
    notes = browser.run("[...document.querySelectorAll('.note.warning')].map((element) => element.textContent)")
    assert any("C-H distance of 0.5 A" in note for note in notes)
    hint = browser.run("document.querySelector('.hint').textContent")
    assert "from level to level" in hint
    assert "path" not in hint
    starts = browser.run("[...document.querySelectorAll('path.level')].map((path) => path.getAttribute('d'))")
    assert len(set(starts)) == len(starts) == 8, "degenerate levels stand side by side"
    browser.run("document.querySelector('svg.chart').focus()")
    browser.press("ArrowUp")
    browser.press("ArrowDown")
    assert re.search(r"E − HOMO = .* eV \(absolute .* eV\); level \d, filled", readout(browser))
    assert browser.run("document.querySelectorAll('canvas').length") == 1, "no Brillouin zone"
    summaries = browser.run("[...document.querySelectorAll('summary')].map((element) => element.textContent)")
    assert "Degeneracies of the levels" in summaries
    assert not any("special points" in text for text in summaries)


@needs_embedded
def test_the_error_expected_from_the_features(browser, tmp_path):
    """That of a screening's row, for models with a trust file."""
    atoms = bulk("Si", a=5.6)
    atoms.calc = TraceGradCalculator("silicon-pbe", kpts=(4, 4, 4))
    write_structure_report(atoms, tmp_path / "report.html", options=ReportOptions("GX", 10, symmetry=False))
    browser.open(tmp_path / "report.html")
    assert browser.errors == []
    (text,) = browser.run(
        "[...document.querySelectorAll('p')].map((p) => p.textContent).filter((text) => text.includes('features'))"
    )
    screen([atoms], "silicon-pbe", out=tmp_path / "rows", executor=ThreadPoolExecutor(1), run=RunOptions(progress=False))
    (row,) = iterate_rows(tmp_path / "rows")
    found = [float(number) for number in re.findall(r"\d+\.\d+", text)]
    assert found[:2] == pytest.approx([row["h_uncertainty"], row["feature_distance"]], abs=0.01)


def test_a_failed_report_leaves_no_file(silicon, tmp_path):
    with pytest.raises(InputError, match="special points"):
        write_structure_report(silicon, tmp_path / "report.html", options=ReportOptions("GQ"))
    assert not list(tmp_path.iterdir())
