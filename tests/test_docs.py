"""Every block of the documents that is marked as Python or as commands runs, page by page, in an empty folder."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import pytest

import ase_tracegrad.models
from tests.calculator_cases import EMBEDDED

matplotlib.use("agg")
ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text())


PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if blocks(page)]


def run_commands(text: str, folder: Path):
    """Each line that begins with $, by the shell, with the commands of this Python's environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert commands, "a block of commands has none"
    for command in commands:
        call = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert call.returncode == 0, f"{command}\n{call.stdout[-1500:]}\n{call.stderr[-1500:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, tmp_path, monkeypatch):
    if EMBEDDED not in ase_tracegrad.models.available_models():
        pytest.skip(f"the documents use the model {EMBEDDED}, which is not embedded")
    monkeypatch.chdir(tmp_path)
    session: dict = {"__name__": "__main__"}
    for number, (language, text) in enumerate(blocks(page)):
        if language == "console":
            run_commands(text, tmp_path)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a user sees warnings; they are no errors there
            exec(compile(text, f"{page.name}, block {number}", "exec"), session)
    matplotlib.pyplot.close("all")


def test_pages_without_blocks_are_known():
    """The tutorials have blocks; a typo in a fence would silence them."""
    assert {page.name for page in PAGES} >= {"README.md", "first_bands.md", "own_data.md", "faq.md"}
    for page in (ROOT / "docs").glob("*.md"):
        fences = re.findall(r"^```(\w*)$", page.read_text(), re.MULTILINE)
        assert set(fences) <= {"python", "console", ""}, f"{page.name}: fences are python or console"
        assert len(fences) == 2 * len(blocks(page)), f"{page.name}: a block is not executed"


def test_the_site_builds(tmp_path):
    """With warnings as errors: links and names in the reference."""
    pytest.importorskip("mkdocs", reason="the site is built by make docs, which installs mkdocs")
    pytest.importorskip("mkdocstrings", reason="the site is built by make docs, which installs mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    call = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert call.returncode == 0, call.stderr[-2000:]
    reference = (tmp_path / "site" / "api" / "index.html").read_text()
    assert "TraceGradCalculator" in reference
    assert "https://" not in re.sub(r"<a [^>]*>", "", reference), "a page fetches something from a server"
