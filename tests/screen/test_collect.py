"""The views of a screening: an ase.db and a CSV."""

import csv

import numpy as np
import pytest
from ase.build import graphene
from ase.db import connect

from ase_tracegrad.screen import ScreenError, collect, iterate_rows


def test_collected_rows(tmp_path, model, sheets, run_here):
    structures = sheets(3)
    structures[1].info.update(H2O=1, id=7, label="12", note="strained")
    boron = graphene(vacuum=5.0)
    boron.numbers[:] = 5
    run_here([*structures, boron], model, ("gap", "bands", "dos"), out=tmp_path / "out", npoints=10)
    done = collect(tmp_path / "out")
    assert (done.n_structures, done.n_rows) == (3, 4)
    assert str(done).startswith("wrote ")
    rows = list(iterate_rows(tmp_path / "out"))
    found = list(connect(done.database).select())
    for row, stored, atoms in zip(rows, found, structures, strict=False):
        assert np.allclose(stored.toatoms().positions, atoms.positions)
        assert stored.gap == row["gap"]
        assert stored.kind == row["kind"]
        assert stored.strain == atoms.info["strain"]
        assert stored.source == row["source"]
        assert np.allclose(stored.data["bands"], row["bands"])
        assert np.allclose(stored.data["dos"], row["dos"])
    # What ase.db does not take as a key or value is kept in the data.
    assert {name: found[1].data[name] for name in ("H2O", "id", "label")} == {"H2O": 1, "id": 7, "label": "12"}
    assert found[1].note == "strained"
    with open(done.table, newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["status"] for line in table] == ["ok", "ok", "ok", "error"]
    assert "knows C, not B" in table[3]["error"]
    assert float(table[0]["fermi_level"]) == rows[0]["fermi_level"]
    assert collect(tmp_path / "out", tmp_path / "mine.db").table == tmp_path / "mine.csv"
    with pytest.raises(ScreenError, match=r"ends in \.db"):
        collect(tmp_path / "out", tmp_path / "mine.csv")  # both would go into one file


@pytest.mark.parametrize("n_failed", [0, 1])
def test_nothing_computed_yet_is_an_empty_data_base(tmp_path, model, run_here, n_failed):
    boron = graphene(vacuum=5.0)
    boron.numbers[:] = 5
    run_here([boron] * n_failed, model, out=tmp_path / "out")
    done = collect(tmp_path / "out")
    assert (done.n_structures, done.n_rows) == (0, n_failed)
    assert list(connect(done.database).select()) == []
    assert done.table.read_text().startswith("id,source,status")


def test_folders_without_a_screening_are_refused(tmp_path):
    with pytest.raises(ScreenError, match=r"no settings\.json"):
        collect(tmp_path)
    (tmp_path / "settings.json").write_text('{"format": "other"}')
    with pytest.raises(ScreenError, match="expected format"):
        list(iterate_rows(tmp_path))
    for text in ('{"format": "ase_tracegrad-screen 1"}', '{"format": "ase_tracegrad-screen 1", "identity": 3}', "[" * 100_000):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(ScreenError, match="damaged"):
            collect(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ScreenError, match="damaged"):
        list(iterate_rows(tmp_path))
