"""The frame of a page: what is embedded cannot act, and nothing is fetched."""

import json
import re
from importlib.resources import files

import numpy as np
import pytest

import ase_tracegrad.report
from ase_tracegrad.report.page import make_page, write_json
from tests.report.conftest import EVIL

ASSETS = [path for path in files(ase_tracegrad.report).iterdir() if path.name.endswith((".js", ".css", ".html"))]


def test_json_survives_any_text_and_number():
    data = {
        "a": EVIL,
        "b": "\u2028 & <!-- ",
        "c": np.array([[1.0, np.nan], [np.inf, -0.123456789]]),
        "d": np.float32(0.5),
        "e": [None, True],
    }
    text = write_json(data)
    assert not set("<>&\u2028") & set(text)
    found = json.loads(text)
    assert found == {"a": EVIL, "b": data["b"], "c": [[1.0, None], [None, -0.1234568]], "d": 0.5, "e": [None, True]}
    with pytest.raises(TypeError, match="found set"):
        write_json({"a": {1}})


def test_a_title_stays_a_title():
    page = make_page(EVIL, EVIL, ("dom.js",), {"name": EVIL})
    assert page.count("</script>") == 2, "that of the data and that of the program"
    assert "<img" not in page
    assert "&lt;/script&gt;" in page


@pytest.mark.parametrize("asset", ASSETS, ids=lambda path: path.name)
def test_assets_fetch_and_evaluate_nothing(asset):
    text = asset.read_text()
    for forbidden in (
        r"\beval\b",
        "new Function",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        r"\bfetch\(",
        "XMLHttp",
    ):
        assert not re.search(forbidden, text), forbidden
    addresses = set(re.findall(r"[a-z]+://[^\s\"'`]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}, "the name of SVG, which nobody fetches"
    assert "</script" not in text or asset.name == "page.html"
    assert text.count("\n") <= 300
    assert "\r" not in text
