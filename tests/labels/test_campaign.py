import json
import logging
import multiprocessing
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from ase_tracegrad.basis import AtomicBasis, Basis
from ase_tracegrad.blocks import BlockMatrix
from ase_tracegrad.io.sample import FormatError, Sample
from ase_tracegrad.io.store import StoreReader
from ase_tracegrad.labels.campaign import LabelJob, label_path, run_campaign
from ase_tracegrad.labels.cp2k import ScfNotConvergedError
from ase_tracegrad.structure import Structure


def toy_label(value: float) -> Sample:
    """A one-atom label; runs in the worker processes, so it lives at module level."""
    basis = Basis({1: AtomicBasis(1, (0,))})
    layout = basis.layout([1])
    hamiltonian, overlap = (BlockMatrix(layout, [[0, 0]], [[0, 0, 0]], np.array([x])) for x in (value, 1.0))
    return Sample(Structure([1], np.zeros((1, 3)), np.eye(3), [True] * 3), basis, hamiltonian, overlap)


def failing_label(kind: str) -> Sample:
    if kind == "scf":
        raise ScfNotConvergedError("SCF did not converge in 2 steps")
    if kind == "format":
        raise FormatError("label.out is empty")
    raise ZeroDivisionError(kind)


def one_sided_label() -> Sample:
    sample = toy_label(0.5)
    lonely = BlockMatrix(sample.hamiltonian.layout, [[0, 0]], [[1, 0, 0]], np.ones(1))
    return Sample(sample.structure, sample.basis, lonely, sample.overlap)


def waiting_label(start: Path) -> Sample:
    deadline = time.monotonic() + 120
    while not start.exists():
        assert time.monotonic() < deadline, "nobody gave the signal"
        time.sleep(0.01)
    return toy_label(0.5)


def dying_label() -> Sample:
    os.kill(os.getpid(), signal.SIGKILL)


def job(name: str, compute=toy_label, **arguments) -> LabelJob:
    return LabelJob(name, compute, arguments or ({"value": 0.5} if compute is toy_label else {}), {"split": "train"})


def test_failures_are_rows_and_a_second_run_does_what_is_missing(tmp_path, caplog):
    jobs = [job("a"), job("b", failing_label, kind="scf"), job("c", failing_label, kind="format")]
    with caplog.at_level(logging.INFO):
        rows = run_campaign(jobs, tmp_path, workers=1)
    assert "3 of 3 structures to do, 1 at a time" in caplog.text  # before the first one, which may take minutes
    assert "b failed: ScfNotConvergedError" in caplog.text
    assert [(row["name"], row["ok"]) for row in rows] == [("a", True), ("b", False), ("c", False)]
    assert rows[1]["error"] == "ScfNotConvergedError: SCF did not converge in 2 steps"
    assert rows[2]["error"] == "FormatError: label.out is empty"
    assert json.loads((tmp_path / "b.failed.json").read_text())["error"] == rows[1]["error"]
    with StoreReader(label_path(tmp_path, "a")) as store:
        assert store["a"].info == {"split": "train"}

    finished = label_path(tmp_path, "a").stat().st_mtime_ns
    rows = run_campaign([job("a", value=7.0), job("b", value=0.25)], tmp_path, workers=1)
    assert [row["ok"] for row in rows] == [True, True]
    assert label_path(tmp_path, "a").stat().st_mtime_ns == finished
    assert not (tmp_path / "b.failed.json").exists()
    with StoreReader(label_path(tmp_path, "b")) as store:
        assert store["b"].hamiltonian.block(0, 0) == 0.25


def test_nothing_to_do_starts_no_process(tmp_path, monkeypatch):
    run_campaign([job("a")], tmp_path, workers=1)
    monkeypatch.setattr("ase_tracegrad.labels.campaign.ProcessPoolExecutor", lambda *_: pytest.fail("a pool was started"))
    assert run_campaign([job("a")], tmp_path)[0]["ok"]


def test_a_matrix_that_is_not_hermitian_is_a_row(tmp_path):
    rows = run_campaign([job("a", one_sided_label), job("b")], tmp_path, workers=1)
    assert [row["ok"] for row in rows] == [False, True]
    assert rows[0]["error"].startswith("NotHermitianError: ")
    assert json.loads((tmp_path / "a.failed.json").read_text()) == rows[0]
    assert not label_path(tmp_path, "a").exists()


def test_a_mistake_in_the_program_stops_the_campaign_at_once(tmp_path):
    """Others still run and many wait when the error arrives: it names its structure and nothing new is started."""
    out, start = tmp_path / "labels", tmp_path / "start"
    others = [job(f"b{k}", waiting_label, start=start) for k in range(12)]
    jobs = [job("a"), job("broken", failing_label, kind="bug"), *others]
    with pytest.raises(ZeroDivisionError, match="bug") as caught:
        run_campaign(jobs, out, workers=2)
    assert "while labelling broken" in caught.value.__notes__
    start.touch()
    for process in multiprocessing.active_children():
        process.join(60)
    finished = {path.stem for path in out.glob("*.h5")}
    # Two were running and the pool holds a few more ready for its workers.
    assert "a" in finished
    assert "b11" not in finished
    assert len(finished) < 8


def test_a_killed_worker_is_explained(tmp_path):
    with pytest.raises(BrokenProcessPool, match=r"one of 2 worker processes was killed.*fewer workers") as caught:
        run_campaign([job("a"), job("b", dying_label), job("c")], tmp_path, workers=2)
    assert isinstance(caught.value.__cause__, BrokenProcessPool)
