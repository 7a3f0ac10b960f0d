"""The rules of the house: sizes, floors of imports, documents that name what exists, tables that match their json."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ase_tracegrad import __version__

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for folder in ("ase_tracegrad", "training", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
# Every exception has its reason.
MANY_PARAMETERS = dict.fromkeys(
    (
        "ase_tracegrad/band_commands.py",
        "ase_tracegrad/convert_command.py",
        "ase_tracegrad/report_command.py",
        "ase_tracegrad/screen_command.py",
        "ase_tracegrad/thermal_commands.py",
    ),
    "a command's options are parameters for typer",
)
DOCUMENTS = ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
# Files of other programs, and what lies beside the repository.
ELSEWHERE = {
    "e3modules.py",
    "deephe3-preprocess.py",
    "deephe3-train.py",
    "deephe3-eval.py",
    "analyzer.py",
    "translate_abacus_to_deeph.py",
    "docs/key_concepts.md",
    "../shared",
}


def _functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    name = str(path.relative_to(ROOT))
    lines = path.read_text().count("\n")
    assert lines <= 300, f"{name} has {lines} lines: what is it really about?"
    for function in _functions(path):
        length = function.end_lineno - function.lineno + 1
        assert length <= 60, f"{name}: {function.name} has {length} lines"
        count = _count_parameters(function)
        assert count <= 8 or name in MANY_PARAMETERS, f"{name}: {function.name} has {count} parameters"


def _count_parameters(function) -> int:
    return len(function.args.args) + len(function.args.kwonlyargs) + len(function.args.posonlyargs)


@pytest.mark.parametrize("name", MANY_PARAMETERS)
def test_exceptions_are_still_needed(name):
    assert max(_count_parameters(function) for function in _functions(ROOT / name)) > 8, f"remove {name} from MANY_PARAMETERS"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_what_exists(document):
    text = (ROOT / document).read_text()
    named = re.findall(r"`([A-Za-z0-9_./-]+(?:\.(?:py|md|yaml|toml)|/))`", text) + re.findall(r"\]\(([A-Za-z0-9_./-]+)\)", text)
    assert named
    for name in set(named) - ELSEWHERE:
        places = (ROOT / document).parent, ROOT, ROOT / "ase_tracegrad"
        assert any((place / name).exists() for place in places), f"{document} names {name}"


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


def test_the_citation_is_of_this_version():
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert facts["version"] == __version__
    assert {"cff-version", "message", "title", "authors", "license"} <= facts.keys()
    assert [author["family-names"] for author in facts["references"][0]["authors"]] == ["Yin", "Pan", "Wang", "He"]
