"""The rules of the house: sizes, floors of imports, documents that name what exists, tables that match their json."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for folder in ("ase_tracegrad", "training", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
# Every exception has its reason.
LONG_FILES: dict[str, str] = {}
MANY_PARAMETERS = {
    "ase_tracegrad/cli.py": "a command's options are parameters for typer",
    "ase_tracegrad/nn/card.py": "a dataclass",
}


def _functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    name = str(path.relative_to(ROOT))
    lines = path.read_text().count("\n")
    assert lines <= 300 or name in LONG_FILES, f"{name} has {lines} lines: what is it really about?"
    for function in _functions(path):
        length = function.end_lineno - function.lineno + 1
        assert length <= 60, f"{name}: {function.name} has {length} lines"
        count = len(function.args.args) + len(function.args.kwonlyargs) + len(function.args.posonlyargs)
        assert count <= 8 or name in MANY_PARAMETERS, f"{name}: {function.name} has {count} parameters"


def test_exceptions_are_still_needed():
    for name in LONG_FILES:
        assert (ROOT / name).read_text().count("\n") > 300, f"{name} is short again: remove it from LONG_FILES"


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"])
def test_documents_name_what_exists(document):
    text = (ROOT / document).read_text()
    named = re.findall(r"`([A-Za-z0-9_./-]+(?:\.(?:py|md|yaml|toml)|/))`", text) + re.findall(r"\]\(([A-Za-z0-9_./-]+)\)", text)
    assert named
    for name in named:
        outside = name.startswith("../")
        assert outside or (ROOT / name).exists() or (ROOT / "ase_tracegrad" / name).exists(), f"{document} names {name}"


def test_import_floors():
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed beside this Python")
    result = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]


def test_readme_tables_match_the_json():
    result = subprocess.run(
        [sys.executable, ROOT / "training" / "write_tables.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
