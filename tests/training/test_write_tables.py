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

    stale = documents[0].read_text().replace("| primitive cell, strained |", "| primitive cell, changed by hand |")
    documents[0].write_text(stale)
    with pytest.raises(SystemExit) as stopped:
        run(tables, monkeypatch, "--check")
    assert stopped.value.code == 1
    assert "README.md is out of date" in capsys.readouterr().err
    assert documents[0].read_text() == stale


def test_only_a_stale_document_is_written(tables, tmp_path, monkeypatch):
    readme, training = (tmp_path / document for document in tables.TABLES)
    right, untouched = readme.read_text(), training.stat().st_mtime_ns
    readme.write_text(right.replace("| primitive cell, strained |", "| primitive cell, changed by hand |"))
    run(tables, monkeypatch)
    assert readme.read_text() == right
    assert training.stat().st_mtime_ns == untouched
