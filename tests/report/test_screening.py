"""The report of a screening: rows of any kind in, a table that sorts and filters, dots and bands in a real browser."""

import json
import re

import numpy as np
import pytest
from ase.dft.kpoints import BandPath
from ase.spectrum.band_structure import BandStructure

from ase_tracegrad.report import write_screening_report
from tests.report.conftest import EVIL


@pytest.fixture(scope="module")
def page(silicon, tmp_path_factory):
    bands = silicon.calc.band_structure("LGX", 20)
    rows = [
        {
            "name": EVIL,
            "formula": "Si2",
            "gap": 1.5,
            "fermi_level": -4.0,
            "flags": ["unseen pair Si-C", "short bond"],
            "bands": bands,
        },
        {"name": "b", "formula": "Si4", "gap": None, "fermi_level": None, "flags": "failed: no element Xx"},
        {"name": "c", "formula": "Ge2", "gap": 0.25, "fermi_level": -5.0, "flags": [], "n_atoms": 2, "magnetic": False},
        *({"name": f"x{i}", "formula": "C", "gap": 3.0 + i, "fermi_level": -6.0} for i in range(60)),
    ]
    path = tmp_path_factory.mktemp("screening") / "report.html"
    assert write_screening_report(iter(rows), path, title=EVIL, labels={"n_atoms": "atoms"}) == 63
    return path


def names(browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)")


def test_columns(page):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])
    labels = [column["label"] for column in data["columns"]]
    assert labels == ["name", "formula", "gap (eV)", "Fermi level (eV)", "atoms", "magnetic", "flags"]
    assert {len(column["values"]) for column in data["columns"]} == {63}
    assert data["columns"][-1]["values"][:3] == ["unseen pair Si-C; short bond", "failed: no element Xx", ""]
    assert list(data["bands"]) == ["0"]


def test_wrong_rows_are_refused(tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(KeyError, match="row 1 of the screening has no 'name'; it has 'gap'"):
        write_screening_report([{"name": "a"}, {"gap": 1.0}], out)
    with pytest.raises(TypeError, match=r"cell of a: a table shows numbers, .* found dict"):
        write_screening_report([{"name": "a", "cell": {}}], out)
    with pytest.raises(TypeError, match="must be an ase BandStructure, found list"):
        write_screening_report([{"name": "a", "bands": [1.0]}], out)
    assert not out.exists()


def test_a_gap_wider_than_the_window_is_shown_with_its_edges(tmp_path):
    """One molecule like HF must not cost the report of all others."""
    bands = BandStructure(
        BandPath(np.eye(3), kpts=np.zeros((1, 3)), special_points={"G": np.zeros(3)}, path="G"), [[[-9.0, -5.0, 4.5, 9.0]]]
    )
    write_screening_report([{"name": "HF", "bands": bands}], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    (found,) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["bands"].values()
    assert found["energies"] == [[-5.0], [4.5]]
    assert found["window"][0] < -5
    assert found["window"][1] > 4.5


def test_an_empty_screening_is_a_page(browser, tmp_path):
    assert write_screening_report([], tmp_path / "report.html") == 0
    browser.open(tmp_path / "report.html")
    assert browser.errors == []


def test_sort_filter_and_pages(browser, page):
    browser.open(page)
    assert browser.errors == []
    assert browser.requests == [page.as_uri()]
    assert len(names(browser)) == 50
    sort = "document.querySelectorAll('thead th button')[2].click()"
    browser.run(sort)
    assert names(browser)[:3] == ["c", EVIL, "x0"]
    assert browser.run("document.querySelectorAll('thead th')[2].getAttribute('aria-sort')") == "ascending"
    browser.run(sort)
    assert names(browser)[0] == "x59"
    browser.run("document.querySelector('button[aria-label=\"Next page\"]').click()")
    assert names(browser)[-1] == "b", "what has no gap comes last in either direction"
    assert len(names(browser)) == 13
    field = "document.querySelector('input[type=search]')"
    browser.run(f"{field}.value = 'XX'; {field}.dispatchEvent(new Event('input'))")
    assert names(browser) == ["b"]
    assert browser.run("document.querySelector('[role=status]').textContent") == "1 of 63 structures"


def test_a_click_opens_the_bands(browser, page):
    browser.open(page)
    box = browser.find("tbody th button")
    browser.click(box["x"] + 5, box["y"] + 5)
    assert browser.run("document.querySelector('#chosen h2').textContent") == f"Bands of {EVIL}"
    assert browser.run("document.activeElement.tagName") == "H2"
    assert browser.run("document.querySelectorAll('#chosen path.curve').length") > 3
    assert browser.errors == []


def test_long_numbers_on_the_axes_fit_and_do_not_overlap(browser, tmp_path):
    rows = [{"name": str(i), "gap": 1e-6 * (1 + 7 * i), "direct_gap": 3e-6 * i} for i in range(10)]
    write_screening_report(rows, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    chart, *texts = browser.run(
        "[...document.querySelectorAll('svg.chart, svg.chart text')].map((element) => element.getBoundingClientRect())"
        ".map(({left, right, top, bottom}) => [left, right, top, bottom])"
    )
    assert len(texts) > 6
    for index, (left, right, top, bottom) in enumerate(texts):
        assert chart[0] <= left
        assert right <= chart[1]
        for other in texts[:index]:
            assert left >= other[1] or right <= other[0] or top >= other[3] or bottom <= other[2]


def test_dots_are_read_and_opened_by_keys_and_mouse(browser, page):
    browser.open(page)
    browser.run("document.querySelector('svg.chart').focus()")
    browser.press("ArrowRight")
    pointed = "document.querySelector('.readout').textContent"
    assert browser.run(pointed) == "c: gap (eV) 0.250, Fermi level (eV) −5.000"
    browser.press("ArrowRight")
    browser.press("Enter")
    assert browser.run("document.querySelector('#chosen h2').textContent") == f"Bands of {EVIL}"
    browser.open(page)
    mark = "(({x, y}) => ({x, y}))(document.querySelector('svg.chart circle').getBoundingClientRect())"
    box = browser.find("svg.chart")
    browser.run("document.querySelector('svg.chart').focus({preventScroll: true})")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    at = browser.run(mark)
    browser.move(box["x"] + 100, box["y"] + 20)
    browser.click(at["x"] + 5, at["y"] + 5)
    assert browser.run("document.querySelector('#chosen h2').textContent") == f"Bands of {EVIL}"
