import json
import shutil

import pytest


@pytest.fixture
def tables(script, tmp_path, monkeypatch):
    """The script, working on copies of the documents."""
    tables = script("write_tables")
    for document in tables.TABLES:
        (tmp_path / document).parent.mkdir(exist_ok=True)
        shutil.copy(tables.ROOT / document, tmp_path / document)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    return tables


def run(tables, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["write_tables.py", *arguments])
    tables.main()


def test_check_writes_nothing(tables, tmp_path, monkeypatch, capsys):
    documents = [tmp_path / document for document in tables.TABLES]
    before = [path.stat().st_mtime_ns for path in documents]
    run(tables, monkeypatch, "--check")
    assert [path.stat().st_mtime_ns for path in documents] == before

    readme = tmp_path / "README.md"
    stale = readme.read_text().replace("| primitive cell, strained |", "| primitive cell, changed by hand |")
    readme.write_text(stale)
    with pytest.raises(SystemExit) as stopped:
        run(tables, monkeypatch, "--check")
    assert stopped.value.code == 1
    assert "README.md is out of date" in capsys.readouterr().err
    assert readme.read_text() == stale


def test_only_a_stale_document_is_written(tables, tmp_path, monkeypatch):
    readme, training = tmp_path / "README.md", tmp_path / "docs" / "training.md"
    right, untouched = readme.read_text(), training.stat().st_mtime_ns
    readme.write_text(right.replace("| primitive cell, strained |", "| primitive cell, changed by hand |"))
    run(tables, monkeypatch)
    assert readme.read_text() == right
    assert training.stat().st_mtime_ns == untouched


def test_the_comparison_says_what_was_gained(tables, tmp_path, monkeypatch):
    def figures(mae):
        return {key: mae for _, key in tables.COMPARED}

    runs = {
        f"{variant}-{seed}": {"groups": {"test": figures(mae)}}
        for variant, seed, mae in (("backbone", 0, 4.0), ("backbone", 1, 5.0), ("tracegrad", 0, 3.0), ("tracegrad", 2, 9.0))
    }
    entry = {f"test {key}": {"mean": 4.5, "std": 0.71} for _, key in tables.COMPARED}
    one_seed = {f"test {key}": {"mean": 3.0, "std": None} for _, key in tables.COMPARED}
    result = {
        "name": "mg",
        "description": "graphene",
        "training_structures": 34,
        "test_structures": 12,
        "epochs": 20,
        "machine": "a processor",
        "settings": ["limit=34"],
        "summary": {
            "backbone": {"seeds": 2, "parameters": 10, "cpu_seconds": 30.0, **entry},
            "TraceGrad": {"seeds": 1, "parameters": 12, "cpu_seconds": 40.0, **one_seed},
        },
        "runs": runs,
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "comparison_mg.json").write_text(json.dumps(result))
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    text = tables.comparison_tables()
    assert "34 training and 12 test structures, 20 epochs; one core of a processor; limit=34" in text
    assert "| backbone | 2 | 10 | 1.5 | 4.50 ± 0.71 |" in text
    assert "| TraceGrad | 1 | 12 | 2 | 3.00 |" in text
    assert text.endswith("* H MAE of TraceGrad / backbone, seed by seed: 0.75")  # only the seed that both have

    runs["harmose-0"] = {
        "groups": {"test": figures(2.0)},
        "equivariance": {"rmse": 0.25, "max": 3, "band_rmse": 0.5, "band_max": 4.5},
    }
    runs["standardized-0"] = {"groups": {"test": figures(2.5)}, "equivariance": {}}
    (tmp_path / "results" / "comparison_mg.json").write_text(json.dumps(result))
    text = tables.comparison_tables()
    assert "* H MAE of HarmoSE / its stage 1, seed by seed: 0.80" in text
    assert text.endswith("(harmose-0) H by 0.25 meV, at most 3; bands by 0.5, at most 4.5")
