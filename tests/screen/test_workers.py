"""Spawned processes, Parsl and Dask: a worker killed in the middle loses nothing."""

import os
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from ase_tracegrad.screen import RunOptions, ScreenError, iterate_rows, screen
from ase_tracegrad.screen.chunk import compute_chunk
from ase_tracegrad.screen.shards import list_shards
from ase_tracegrad.screen.workers import ProcessWorkers, check_workers, choose_workers, local_parsl
from tests.screen.conftest import MESH
from tests.screen.killers import compute_or_die

ROOT = Path(__file__).parents[2]
RUN = RunOptions(chunk=2, progress=False)


@pytest.fixture
def crowd(sheets, monkeypatch):
    """Six sheets; the worker that meets the third for the first time is killed."""
    monkeypatch.setattr("ase_tracegrad.screen.driver.compute_chunk", compute_or_die)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for workers that are programs of their own
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    structures = sheets(6)
    structures[2].info["name"] = "victim"
    return structures


def check_rows(folder, model, structures, run_here, other):
    """Each structure has one row, and these are the rows that no worker died for."""
    rows = {row["source"]: row for row in iterate_rows(folder)}
    assert sorted(rows) == sorted(atoms.info["name"] for atoms in structures)
    assert all(row["status"] == "ok" for row in rows.values())
    run_here(structures, model, out=other)
    for row in iterate_rows(other):
        found = rows[row["source"]]
        assert found["fermi_level"] == pytest.approx(row["fermi_level"], abs=1e-5)
        assert np.allclose(found["positions"], row["positions"])
    assert not list((Path(folder) / "shards").glob("*.part"))


def test_processes_lose_nothing(tmp_path, model, crowd, run_here, monkeypatch):
    done = screen(crowd, model, out=tmp_path / "out", workers=2, run=RUN, kpts=MESH)
    assert (done.ok, done.failed) == (6, 0)
    assert (tmp_path / "out" / "victim.met").exists()
    monkeypatch.undo()
    check_rows(tmp_path / "out", model, crowd, run_here, tmp_path / "other")


class Died(Exception):
    """What the workers of the next test raise instead of dying."""


class MortalWorkers:
    """Threads; a task with 'poison' in it, and the first one with 'victim', ends as if its process had been killed."""

    lost = (Died,)
    n_tasks = 3

    def __init__(self):
        self.opened, self.met = 0, set()

    def open(self):
        self.opened += 1
        return self

    def close(self, *, now):
        """Nothing to do."""

    def submit(self, compute, *task):
        future = Future()
        names = {entry.source for entry in task[0].entries} if task else set()
        deadly = "poison" in names or ("victim" in names and "victim" not in self.met)
        self.met |= names
        try:
            future.set_result(compute_or_raise(compute, task, deadly))
        except Died as error:
            future.set_exception(error)
        return future


def compute_or_raise(compute, task, deadly):
    if deadly:
        raise Died
    return compute(*task)


def test_a_structure_that_kills_its_workers_is_found_and_recorded(tmp_path, model, sheets, monkeypatch):
    structures = sheets(9)
    structures[1].info["name"], structures[5].info["name"] = "victim", "poison"
    workers = MortalWorkers()
    monkeypatch.setattr("ase_tracegrad.screen.driver.choose_workers", lambda *_: workers)
    done = screen(structures, model, out=tmp_path / "out", run=RunOptions(chunk=4, progress=False), kpts=MESH)
    assert (done.ok, done.failed) == (8, 1)
    assert {row["source"]: row["error"][:20] for row in iterate_rows(tmp_path / "out") if row["error"]} == {
        "poison": "a worker process die"
    }
    assert 5 <= workers.opened <= 10


class BreakingWorkers(MortalWorkers):
    """Like a broken pool of processes: the first of its tasks ends at once, the others when the pool is closed."""

    n_tasks = 4

    def open(self):
        for future in getattr(self, "waiting", []):
            future.set_exception(Died())
        self.waiting = []
        return super().open()

    def submit(self, compute, *task):
        if self.opened > 1:
            return super().submit(compute, *task)
        future = Future()
        self.waiting.append(future)
        if len(self.waiting) == self.n_tasks:
            self.waiting.pop(0).set_exception(Died())
        return future


def test_one_death_opens_one_new_pool(tmp_path, model, sheets, monkeypatch):
    """Tasks that end a moment later with the same pool are no second death: the new workers would lose their work."""
    workers = BreakingWorkers()
    monkeypatch.setattr("ase_tracegrad.screen.driver.choose_workers", lambda *_: workers)
    assert screen(sheets(6), model, out=tmp_path / "out", run=RunOptions(chunk=1, progress=False), kpts=MESH).ok == 6
    assert workers.opened == 2


class WatchedThread(ThreadPoolExecutor):
    """One thread, and the futures it was asked for."""

    def __init__(self):
        super().__init__(1)
        self.futures = []

    def submit(self, *arguments):
        self.futures.append(super().submit(*arguments))
        return self.futures[-1]


def test_an_error_leaves_nothing_at_work(tmp_path, model, sheets, monkeypatch):
    """An executor that is not ours stays open: what it has not begun is taken back, what it has begun ends before the lock does."""
    begun, finished = Event(), []

    def compute_slowly(task):
        begun.set()
        deadline = time.monotonic() + 20
        while not all(future.cancelled() for future in pool.futures[1:]) and time.monotonic() < deadline:
            time.sleep(0.01)
        finished.append(task.number)
        return compute_chunk(task)

    def fail_later():
        yield from sheets(4)
        begun.wait(60)
        raise RuntimeError("no more structures")

    monkeypatch.setattr("ase_tracegrad.screen.driver.compute_chunk", compute_slowly)
    with WatchedThread() as pool:
        with pytest.raises(RuntimeError, match="no more structures"):
            screen(
                fail_later(), model, executor=pool, workers=4, out=tmp_path / "out", run=RunOptions(1, progress=False), kpts=MESH
            )
        shards = list_shards(tmp_path / "out")
    assert len(pool.futures) == 3
    assert finished == [0]
    assert list_shards(tmp_path / "out") == shards != []


def test_parsl_loses_nothing(tmp_path, model, crowd, run_here, monkeypatch):
    pytest.importorskip("parsl", reason="parsl is not installed (the extra [parsl])")
    config = local_parsl(2)
    config.run_dir = str(tmp_path / "runinfo")
    done = screen(crowd, model, executor=config, out=tmp_path / "out", run=RUN, kpts=MESH)
    assert (done.ok, done.failed) == (6, 0)
    assert (tmp_path / "out" / "victim.met").exists()
    monkeypatch.undo()
    check_rows(tmp_path / "out", model, crowd, run_here, tmp_path / "other")


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_dask_loses_nothing(tmp_path, model, crowd, run_here, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="dask is not installed (the extra [dask])")
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),  # so that Dask tells us of the first
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        done = screen(crowd, model, executor=client, out=tmp_path / "out", run=RUN, kpts=MESH)
    assert (done.ok, done.failed) == (6, 0)
    assert (tmp_path / "out" / "victim.met").exists()
    monkeypatch.undo()
    check_rows(tmp_path / "out", model, crowd, run_here, tmp_path / "other")


def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = (
        "import os, signal\n"
        "from ase_tracegrad.screen.workers import ProcessWorkers\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessWorkers(1, 'cpu').open()\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "main.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # The pipe to us closes when the last process that holds it is gone: the worker too.
    found = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == -9
    status = Path(f"/proc/{int(found.stdout)}/status")
    if status.exists():  # nobody has collected its exit code yet
        assert "State:\tZ" in status.read_text()


def test_workers_that_cannot_start_are_an_error():
    with ProcessPoolExecutor(1, initializer=os._exit, initargs=(1,)) as pool, pytest.raises(ScreenError, match="__main__"):
        check_workers(pool, ProcessWorkers.lost)


def test_workers_are_counted():
    assert choose_workers(None, 3, "cpu").n_tasks == 6
    with ProcessPoolExecutor(2) as pool:
        assert choose_workers(pool, None, None).n_tasks == 4
    assert choose_workers(local_parsl(4), None, None).n_tasks == 8
