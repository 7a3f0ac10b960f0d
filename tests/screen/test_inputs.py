"""Whatever users have is read, one structure at a time, and a broken file is one entry."""

import gzip
import io
import sqlite3
import sys
from contextlib import closing

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.db import connect
from ase.io import write

from ase_tracegrad.screen.inputs import count_structures, iterate_structures


@pytest.fixture
def frames():
    found = []
    for number in range(12):
        atoms = graphene(a=2.46 + 0.01 * number, size=(2, 3, 1), vacuum=5.0)
        atoms.info["number"] = number
        found.append(atoms)
    return found


def check(entries, frames):
    entries = list(entries)
    assert len(entries) == len(frames)
    for entry, atoms in zip(entries, frames, strict=True):
        assert entry.error == ""
        assert np.allclose(entry.atoms.positions, atoms.positions, atol=1e-7)
        assert np.array_equal(entry.atoms.pbc, atoms.pbc)


def test_every_form(tmp_path, frames, monkeypatch):
    write(tmp_path / "many.extxyz", frames)
    write(tmp_path / "many.traj", frames)
    for number, atoms in enumerate(frames[:3]):
        write(tmp_path / f"sheet-{number}.cif", atoms)
    with connect(tmp_path / "sheets.db") as database:
        for atoms in frames:
            database.write(atoms, number=int(atoms.info["number"]))
    monkeypatch.chdir(tmp_path)
    for name in ("many.extxyz", "many.traj", "sheets.db"):
        check(iterate_structures(name), frames)
    check(iterate_structures("many.extxyz@2:5"), frames[2:5])
    check(iterate_structures("many.traj@4"), frames[4:5])
    check(iterate_structures("sheets.db@number=7"), frames[7:8])
    check(iterate_structures(["many.traj@1", "many.extxyz", frames[0]]), [frames[1], *frames, frames[0]])
    found = list(iterate_structures("sheet-*.cif"))
    assert [entry.source for entry in found] == [f"sheet-{n}.cif@0" for n in range(3)]
    monkeypatch.setattr(sys, "stdin", io.StringIO((tmp_path / "many.extxyz").read_text()))
    check(iterate_structures("-"), frames)


def test_sources_find_the_structure_again(tmp_path, frames, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("many.extxyz", frames)
    write("many.traj", frames)
    write("one.vasp", frames[0])
    named = ["many.extxyz", "many.traj", "many.traj@2:8:3", "many.extxyz@5", "one.vasp"]
    sources = [entry.source for entry in iterate_structures(named)]
    for entry, again in zip(iterate_structures(named), iterate_structures(sources), strict=True):
        assert np.allclose(entry.atoms.positions, again.atoms.positions)


def test_facts_of_the_user_come_along(frames):
    frames[0].info.update(name="first", strain=np.float64(0.1), array=np.zeros(3))
    entry = next(iterate_structures(frames))
    assert entry.source == "first"
    assert entry.info == {"number": 0, "name": "first", "strain": 0.1}


def test_nothing_is_read_before_its_turn(tmp_path, frames):
    path = tmp_path / "many.extxyz"
    write(path, frames)
    entries = iterate_structures(str(path))
    next(entries)
    with open(path, "a") as stream:
        stream.write(path.read_text())
    assert sum(1 for _ in entries) == 2 * len(frames) - 1

    def endless():
        while True:
            yield bulk("Si")

    assert isinstance(next(iterate_structures(endless())).atoms, Atoms)


def test_broken_files_are_entries_with_the_reason(tmp_path, frames):
    good, broken, cut = tmp_path / "good.extxyz", tmp_path / "broken.cif", tmp_path / "cut.extxyz"
    write(good, frames[:2])
    broken.write_text("data_\nloop_\n nonsense")
    lines = good.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace("C", "Qq")
    cut.write_text("".join(lines[:-2]))
    entries = list(iterate_structures([str(broken), str(cut), str(good)]))
    assert [bool(entry.error) for entry in entries] == [True, True, True, False, False]
    assert "cannot be read" in entries[0].error
    assert entries[1].source.endswith("cut.extxyz@0")
    assert "ends inside a frame" in entries[2].error


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_without_structures_is_an_entry_with_the_reason(tmp_path):
    """ASE only warns of this CIF, and yields nothing."""
    for name, text in (("broken.cif", "data_\nloop_\n nonsense"), ("empty.extxyz", ""), ("empty.db", "")):
        (tmp_path / name).write_text(text)
        (entry,) = iterate_structures(str(tmp_path / name))
        assert "cannot be read" in entry.error
        assert "no structure" in entry.error or "no database" in entry.error


def test_a_sqlite_file_of_others_is_not_written_to(tmp_path):
    path = tmp_path / "QH9Stable.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table data (id integer)")
    before = path.read_bytes()
    assert count_structures(str(path)) is None
    (entry,) = iterate_structures(str(path))
    assert "no database of ASE" in entry.error
    assert path.read_bytes() == before


def test_what_cannot_be_counted_does_not_end_the_screening(tmp_path, frames):
    (tmp_path / "bad.db").write_bytes(b"nonsense" * 200)
    (tmp_path / "bad.traj").write_bytes(b"- of UlmASE-Trajectory\x00" + b"\xff" * 60)
    (tmp_path / "cut.xyz.gz").write_bytes(gzip.compress(b"2\n\n" + b"C 0 0 0\n" * 2)[:20])
    for name in ("bad.db", "bad.traj", "cut.xyz.gz"):
        assert count_structures([str(tmp_path / name), frames[0]]) is None
        broken, good = iterate_structures([str(tmp_path / name), frames[0]])
        assert broken.error
        assert not good.error


def test_a_frame_of_more_atoms_than_there_are_lines_ends_with_the_file(tmp_path, frames):
    path = tmp_path / "bomb.extxyz"
    write(path, frames[0])
    with open(path, "a") as stream:
        stream.write("999999999999999\nLattice\nC 0 0 0\n")
    good, broken = iterate_structures(str(path))
    assert not good.error
    assert "ends inside a frame of 999999999999999 atoms" in broken.error
    assert broken.source.endswith("bomb.extxyz after 1")


def test_names_of_nothing_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no structure file"):
        list(iterate_structures(str(tmp_path / "missing.cif")))
    with pytest.raises(ValueError, match="is a folder"):
        list(iterate_structures(str(tmp_path)))


def test_counts(tmp_path, frames):
    write(tmp_path / "many.extxyz", frames)
    write(tmp_path / "many.traj", frames)
    write(tmp_path / "one.cif", frames[0])
    with connect(tmp_path / "sheets.db") as database:
        database.write(frames[0])
    names = [str(tmp_path / name) for name in ("many.extxyz", "one.cif", "sheets.db")]
    assert count_structures([*names, frames[0]]) == 12 + 1 + 1 + 1
    assert count_structures(str(tmp_path / "many.traj")) == 12
    assert count_structures(frames) == 12
    assert count_structures(iter(frames)) is None
    assert count_structures("-") is None
