"""One process at a time on one output."""

import errno
import subprocess
import sys

import pytest

from ase_tracegrad.lock import OutputInUseError, lock_output

pytest.importorskip("fcntl", reason="this system has no such locks")


def test_a_second_one_is_told_who_is_at_work(tmp_path):
    with lock_output(tmp_path / "out"):
        with (
            pytest.raises(OutputInUseError, match=r"another process \(number \d+\) is writing to .*out: wait for it"),
            lock_output(tmp_path / "out"),
        ):
            pass
        with lock_output(tmp_path / "other"):
            pass
    with lock_output(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_after_kill_9_the_output_is_free(tmp_path):
    code = (
        "import os, signal, sys; from ase_tracegrad.lock import lock_output\n"
        "with lock_output(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False).returncode == -9
    assert (tmp_path / "out.lock").exists()
    with lock_output(tmp_path / "out"):
        pass
    assert not (tmp_path / "out.lock").exists()


def test_a_system_without_locks_is_told_and_goes_on(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock_output(tmp_path / "out"):
        assert "out cannot be locked" in caplog.text


def test_the_current_folder_is_an_output_too(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with lock_output("."), pytest.raises(OutputInUseError), lock_output(tmp_path / "here"):
        pass
