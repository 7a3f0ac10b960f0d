"""tracegrad screen, screen collect, screen calibrate."""

import csv

import pytest
from ase.io import write

from ase_tracegrad.cli import main
from ase_tracegrad.screen import iterate_rows
from ase_tracegrad.screen_command import load_executor
from tests.screen.conftest import model, sheets  # noqa: F401 - fixtures


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code


def test_screen_and_collect(tmp_path, model, sheets, capsys):  # noqa: F811
    write(tmp_path / "a.extxyz", sheets(2))
    write(tmp_path / "b.traj", sheets(1, first=2))
    arguments = ["screen", tmp_path / "*.*", "--model", model, "--out", tmp_path / "out", "--kpts", "3,3,1", "--workers", "1"]
    assert run(*arguments) == 0
    assert "3 structure(s) computed" in capsys.readouterr().out
    assert len(list(iterate_rows(tmp_path / "out"))) == 3
    assert run("screen", "collect", tmp_path / "out") == 0
    assert "screen.db (3 structures)" in capsys.readouterr().out
    assert run("screen", "report", tmp_path / "out", "--out", tmp_path / "page.html") == 0
    assert "page.html: 3 structure(s)" in capsys.readouterr().out
    assert "a.extxyz" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with open(tmp_path / "out" / "screen.csv", newline="") as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok"] * 3


def test_what_is_wrong_is_one_line(tmp_path, model, sheets, capsys):  # noqa: F811
    write(tmp_path / "a.extxyz", sheets(1))
    for arguments, message in (
        (["screen", "run", tmp_path / "a.extxyz", "--batch", "many"], "--batch many: expected"),
        (["screen", tmp_path / "a.extxyz", "--executor", "slurm"], "--executor slurm: expected processes, parsl"),
        (["screen", tmp_path / "a.extxyz", "--executor", "parsl:none.py"], "there is no file none.py"),
        (["screen", tmp_path / "a.extxyz", "--model", model, "--properties", "spin", "--out", tmp_path / "x"], "'spin'"),
        (["screen", "collect", tmp_path], "holds no screening"),
    ):
        assert run(*arguments) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1
    assert run("screen", "--help") in (0, None)
    assert "collect" in capsys.readouterr().out


def test_an_interrupt_says_how_to_go_on(tmp_path, model, sheets, capsys, monkeypatch):  # noqa: F811
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ase_tracegrad.screen.driver.screen", interrupt)
    write(tmp_path / "a.extxyz", sheets(1))
    assert run("screen", tmp_path / "a.extxyz", "--model", model, "--out", tmp_path / "out") == 130
    assert "the same command goes on where it ended" in capsys.readouterr().err


def test_a_parsl_file_is_run(tmp_path):
    pytest.importorskip("parsl", reason="parsl is not installed (the extra [parsl])")
    (tmp_path / "cluster.py").write_text("from parsl import Config\nconfig = Config(run_dir='of-this-test')\n")
    assert load_executor(f"parsl:{tmp_path / 'cluster.py'}").run_dir == "of-this-test"
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="defines no 'config'"):
        load_executor(f"parsl:{tmp_path / 'empty.py'}")
    assert load_executor("dask:tcp://node:8786") == "dask:tcp://node:8786"
