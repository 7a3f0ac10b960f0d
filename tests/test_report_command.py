"""The command tracegrad report."""

import json
import re
from pathlib import Path

import pytest
from ase.build import graphene
from ase.io import write

from tests.calculator_cases import write_untrained_model


def test_report(tracegrad, tmp_path, monkeypatch, graphene_store):
    monkeypatch.chdir(tmp_path)
    write("sheet.xyz", graphene(vacuum=5.0), format="extxyz")
    write_untrained_model(tmp_path / "untrained.safetensors", graphene_store.basis)
    arguments = (
        "report",
        "sheet.xyz",
        "-m",
        "untrained.safetensors",
        "--path",
        "GMK",
        "--npoints",
        9,
        "--kpts",
        "3,3,1",
        "--by",
        "element",
    )
    code, out, _ = tracegrad(*arguments, "--no-symmetry", "-o", "sheet.html", "--window=-30,30")
    assert code == 0
    assert "wrote sheet.html: open it in a browser" in out
    page = Path("sheet.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert "<title>C2: sheet.xyz</title>" in page
    assert dict(data["settings"])["k-points of the DOS"] == "3 x 3 x 1, with Gamma"
    assert [group["name"] for group in data["bands"]["groups"]] == ["C"]
    assert data["symmetry"] is None
    assert data["atoms"]["repeated"] == [True, True, False]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sheet.xyz", "-o", "report.pdf"), "a report ends in .html"),
        (("sheet.xyz", "-o", "nowhere/report.html"), "there is no folder"),
        (("sheet.xyz", "--by", "color"), "expected atom, element, shell or orbital"),
        (("missing.xyz",), "no structure file missing.xyz"),
    ],
)
def test_what_is_wrong_is_said_first(tracegrad, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = tracegrad("report", *arguments)
    assert code == 2
    assert message in err
