import json

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


def job(name: str, compute=toy_label, **arguments) -> LabelJob:
    return LabelJob(name, compute, arguments or {"value": 0.5}, {"split": "train"})


def test_failures_are_rows_and_a_second_run_does_what_is_missing(tmp_path):
    jobs = [job("a"), job("b", failing_label, kind="scf"), job("c", failing_label, kind="format")]
    rows = run_campaign(jobs, tmp_path, workers=1)
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


def test_a_mistake_in_the_program_is_not_hidden_as_a_row(tmp_path):
    with pytest.raises(ZeroDivisionError, match="bug"):
        run_campaign([job("a", failing_label, kind="bug")], tmp_path, workers=1)
