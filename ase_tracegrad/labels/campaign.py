"""A label campaign: many structures through a DFT code, resumable, one process per core, failures kept as rows.

Each finished structure is one packed file in the output folder; a second run does what is missing.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..end_with_parent import end_with_parent
from ..io.sample import FormatError, Sample
from ..io.store import NotHermitianError, StoreWriter
from ..lock import lock_output
from ..replace_file import replace_text
from ..structure import StructureError
from .errors import LabelError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelJob:
    """One structure to label: ``compute(**arguments) -> Sample`` runs in a worker process."""

    name: str
    compute: Callable[..., Sample]
    arguments: dict[str, Any]
    facts: dict[str, Any]


def run_campaign(jobs: Iterable[LabelJob], out, *, workers: int | None = None) -> list[dict]:
    """Run the jobs whose file is not there yet and return one row per job, in the order given.

    Rows: name, ok, error (or None), seconds. A failure is also written as NAME.failed.json; it is
    tried again on the next run. Ctrl-C keeps what is finished. Any other error stops the campaign at once: nothing
    new is started, and the structures being computed finish in the background. After kill -9 the workers and the
    programs they run end at once. OutputInUseError if another campaign writes to ``out``.
    """
    jobs, out = list(jobs), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with lock_output(out):
        return _run_missing(jobs, out, workers)


def _run_missing(jobs: list[LabelJob], out: Path, workers: int | None) -> list[dict]:
    rows = {job.name: {"name": job.name, "ok": True, "error": None, "seconds": 0.0} for job in jobs}
    missing = [job for job in jobs if not label_path(out, job.name).exists()]
    if not missing:
        return list(rows.values())
    n_workers = min(workers or os.cpu_count() or 1, len(missing))
    log.info("%d of %d structures to do, %d at a time; the first takes a while", len(missing), len(jobs), n_workers)
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), end_with_parent)
    try:
        futures = {pool.submit(_run_job, job, out): job.name for job in missing}
        with tqdm(total=len(missing), desc="labels", unit="structure", disable=None) as bar:
            for future in as_completed(futures):
                rows[futures[future]] = row = _result(future, futures[future], n_workers)
                bar.update()
                if not row["ok"]:
                    log.warning("%s failed: %s", row["name"], row["error"])
                elif bar.disable:  # a log file instead of a terminal
                    log.info("%s: %.0f s", row["name"], row["seconds"])
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return list(rows.values())


def _result(future: Future[dict], name: str, n_workers: int) -> dict:
    """The row of a finished job; an error that is no failed label goes on, with the name of the structure."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise BrokenProcessPool(
            f"one of {n_workers} worker processes was killed, probably because the memory ran out: run again with fewer workers; "
            "finished labels are kept"
        ) from error
    except Exception as error:
        error.add_note(f"while labelling {name}")
        raise


def label_path(out, name: str) -> Path:
    """File of one finished label."""
    return Path(out) / f"{name}.h5"


def _run_job(job: LabelJob, out: Path) -> dict:
    start = time.perf_counter()
    row: dict[str, Any] = {"name": job.name, "ok": True, "error": None}
    failed = out / f"{job.name}.failed.json"
    try:
        sample = job.compute(**job.arguments)
        sample.info.update(job.facts)
        with StoreWriter(label_path(out, job.name)) as store:
            store.add(job.name, sample)
        failed.unlink(missing_ok=True)
    except (LabelError, FormatError, StructureError, NotHermitianError) as error:
        row.update(ok=False, error=f"{type(error).__name__}: {error}")
    row["seconds"] = round(time.perf_counter() - start, 1)
    if not row["ok"]:
        replace_text(failed, json.dumps(row))
    return row
