"""The wheel holds the whole package, models and all, and is small enough to mail."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ase_tracegrad

pytest.importorskip("setuptools", reason="setuptools, which builds the package, is not installed")

ROOT = Path(__file__).parents[1]
LARGEST = 15e6  # bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing is left in the working tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "ase_tracegrad", source / "ase_tracegrad", ignore=shutil.ignore_patterns("__pycache__", "*.part"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    folder = ROOT / "ase_tracegrad"
    ours = {str(path.relative_to(ROOT)) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in ours if not name.endswith(".part")}
    assert {"ase_tracegrad/py.typed", "ase_tracegrad/models/graphene-pbe.safetensors"} <= packed


def test_one_version_everywhere():
    newest = re.search(r"^## \[([^]]+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert newest.group(1) == cited.group(1) == ase_tracegrad.__version__


def test_the_wheel_is_small_and_names_its_commands(wheel):
    assert wheel.stat().st_size < LARGEST
    with zipfile.ZipFile(wheel) as archive:
        texts = {name.split("/")[-1]: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert "tracegrad = ase_tracegrad.cli:main" in texts["entry_points.txt"]
    assert "[ase.plugins]" in texts["entry_points.txt"]
    assert "MIT License" in texts["LICENSE"]
