"""screen: many structures through a model, on any executor, in chunks that are written once and never computed twice."""

import logging
import sqlite3
import sys
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from ase import Atoms
from tqdm.auto import tqdm

from ..lock import lock_output
from .chunk import Task, compute_chunk, identify, write_failure
from .inputs import Entry, check_names, count_structures, iterate_structures
from .settings import ScreenSettings
from .shards import SHARDS, ScreenError, import_pyarrow, iterate_rows, list_shards, prepare_folder
from .workers import GivenWorkers, Workers, choose_workers

log = logging.getLogger(__name__)

# A chunk ends at so many structures or atoms: enough that a file is worth its name, few enough that little is lost.
CHUNK, CHUNK_ATOMS = 100, 5000
# The first chunks are small, and twice as large after so many each: few structures, too, are shared by workers and show progress.
FIRST_CHUNK, DOUBLED_AFTER = 5, 4
# A chunk whose worker died this often is computed alone, in ever smaller parts, until the structure is found.
ATTEMPTS = 2
DIED = "a worker process died on this structure, twice and alone: killed from outside, or out of memory"


@dataclass(frozen=True)
class ScreenSummary:
    """What one run did: ok and failed rows, structures that were there already, and those given more than once."""

    ok: int
    failed: int
    known: int
    repeated: int
    folder: Path

    def __str__(self) -> str:
        parts = [f"{self.ok} structure(s) computed"]
        parts += [f"{self.failed} failed, with the reason in their rows"] if self.failed else []
        parts += [f"{self.known} were there from an earlier run"] if self.known else []
        parts += [f"{self.repeated} given more than once"] if self.repeated else []
        return f"{', '.join(parts)}; rows in {self.folder}"


def screen(
    structures, model, properties=("gap",), *, executor=None, out="results", workers: int | None = None, run=None, **settings
) -> ScreenSummary:
    """Compute ``properties`` of many structures into the folder ``out``; a second run goes on where the first ended.

    structures: see inputs.iterate_structures; model: name or file, or a list, whose other members estimate the uncertainty;
    properties: of 'gap' (with the Fermi level), 'bands', 'dos', 'symmetry'; executor: see workers.choose_workers; workers:
    how many processes; run: RunOptions; settings: of ScreenSettings. Results: shards.iterate_rows(out), collect(out).
    Raises ScreenError, OutputInUseError, and what models and settings raise; a structure that fails is a row with the reason.
    """
    import_pyarrow()
    run, chosen = run or RunOptions(), ScreenSettings(models=model, properties=properties, **settings)
    folder, pool = Path(out), choose_workers(executor, workers, chosen.device)
    check_names(structures)
    with lock_output(folder / SHARDS):  # inside: what is above may not be ours to write to
        prepare_folder(folder, chosen)
        total = count_structures(structures) if run.progress else None
        with (
            closing(Ledger(folder, run.retry_failed)) as ledger,
            tqdm(total=total, desc="screen", unit="structure", mininterval=_interval(), disable=not run.progress) as bar,
        ):
            driver = _Driver(pool, bar)
            tasks = _make_tasks(iterate_structures(structures), chosen, ledger, run.chunk, bar)
            try:
                driver.run(tasks)
            except BaseException:
                driver.give_up()
                raise
            pool.close(now=False)
    return ScreenSummary(driver.counts["ok"], driver.counts["error"], ledger.known, ledger.repeated, folder)


@dataclass(frozen=True)
class RunOptions:
    """chunk: structures per shard at most; retry_failed: compute those again that failed before; progress: show a bar."""

    chunk: int = CHUNK
    retry_failed: bool = False
    progress: bool = True

    def __post_init__(self):
        if self.chunk < 1:
            raise ScreenError(f"a chunk holds at least one structure, found {self.chunk}")


class Ledger:
    """Which structures are done, or under way; on disk, so that ten million cost no more memory than ten."""

    def __init__(self, folder: Path, retry_failed: bool):
        self.folder = folder
        # The empty name: a private file that SQLite deletes by itself.
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute("pragma journal_mode = off")
        self._table.execute("create table done (id text primary key, earlier integer) without rowid")
        self.known = self.repeated = 0
        self.n_shards = max((int(path.name.split("-")[0]) + 1 for path in list_shards(folder)), default=0)
        self._table.execute("begin")
        for row in iterate_rows(folder, ["id", "status"]):
            if row["status"] == "ok" or not retry_failed:
                self._table.execute("insert or ignore into done values (?, 1)", (row["id"],))
        self._table.execute("commit")

    def close(self):
        """Forget everything."""
        self._table.close()

    def enter(self, identity: str) -> bool:
        """True once for each structure that is still to be computed."""
        if self._table.execute("insert or ignore into done values (?, 0)", (identity,)).rowcount:
            return True
        earlier = self._table.execute("select earlier from done where id = ?", (identity,)).fetchone()[0]
        self.known, self.repeated = self.known + earlier, self.repeated + 1 - earlier
        return False


@dataclass
class _Driver:
    """Keeps a bounded number of tasks under way, and brings back those whose worker died."""

    pool: Workers
    bar: tqdm
    counts: Counter = field(default_factory=Counter)
    under_way: dict[Future, Task] = field(default_factory=dict)

    def run(self, tasks: Iterator[Task]):
        self.executor: Executor = self.pool.open()
        self.again: deque[Task] = deque()
        self.attempts: Counter[tuple[str, ...]] = Counter()
        for task in tasks:
            self._submit(task)
            while len(self.under_way) >= self.pool.n_tasks:
                self._harvest()
            self._bring_back()
        while self.under_way or self.again:
            self._harvest()
            self._bring_back()

    def give_up(self):
        """Leave nothing at work that would write beside the next run."""
        for future in self.under_way:
            future.cancel()
        self.pool.close(now=True)
        if isinstance(self.pool, GivenWorkers):
            wait(self.under_way)  # nobody ends an executor that is not ours: what it has begun, it finishes

    def _submit(self, task: Task):
        try:
            self.under_way[self.executor.submit(compute_chunk, task)] = task
        except self.pool.lost:
            # The pool broke since the last look; its tasks say so themselves.
            self.again.append(task)
            self._reopen()

    def _harvest(self):
        done, _ = wait(self.under_way, return_when=FIRST_COMPLETED)
        broken = False
        for future in done:
            task = self.under_way.pop(future)
            try:
                self._count(task, future.result())
            except self.pool.lost as error:
                log.warning("a worker died (%s): %d structures are computed again", error, len(task))
                self.attempts[task.ids] += 1
                self.again.append(task)
                broken = True
        if broken:
            self._reopen()

    def _reopen(self):
        """New workers where the old ones are gone; those of Parsl and Dask come back by themselves."""
        self.executor = self.pool.open()
        # All tasks of a broken pool have ended with it; taken for a death among the new workers, they would cost these their work.
        for future, task in list(self.under_way.items()):
            if future.done() and isinstance(future.exception(), self.pool.lost):
                del self.under_way[future]
                self.attempts[task.ids] += 1
                self.again.append(task)

    def _bring_back(self):
        for _ in range(len(self.again)):
            task = self.again.popleft()
            if self.attempts[task.ids] < ATTEMPTS:
                self._submit(task)
            else:
                self._isolate(task)

    def _isolate(self, task: Task):
        """Compute a task with nothing beside it, in halves where its worker dies again."""
        while self.under_way:
            self._harvest()
        try:
            self._count(task, self.executor.submit(compute_chunk, task).result())
        except self.pool.lost:
            self.executor = self.pool.open()
            if len(task) == 1:
                log.warning("%s: %s", task.entries[0].source, DIED)
                self._count(task, write_failure(task, DIED))
            else:
                for part in task.split():
                    self._isolate(part)

    def _count(self, task: Task, counts: dict[str, int]):
        self.counts.update(counts)
        self.bar.update(len(task))
        if self.counts["error"]:
            self.bar.set_postfix(failed=self.counts["error"], refresh=False)


def _make_tasks(entries: Iterator[Entry], settings: ScreenSettings, ledger: Ledger, chunk: int, bar: tqdm) -> Iterator[Task]:
    """Tasks of the structures that are not done yet."""
    pending: list[tuple[str, Entry]] = []
    atoms, number = 0, ledger.n_shards
    limit = min(chunk, FIRST_CHUNK)
    for entry in entries:
        identity = identify(entry, settings.fingerprint)
        if not ledger.enter(identity):
            bar.total = bar.total and bar.total - 1
            continue
        size = 0 if entry.atoms is None else len(entry.atoms)
        if pending and (len(pending) >= limit or atoms + size > CHUNK_ATOMS):
            yield _make_task(pending, settings, ledger.folder, number)
            pending, atoms, number = [], 0, number + 1
            if (number - ledger.n_shards) % DOUBLED_AFTER == 0:
                limit = min(chunk, 2 * limit)
        # Only what defines the structure travels to the workers: no calculator, no arrays of the user.
        pending.append((identity, replace(entry, atoms=_strip(entry.atoms))))
        atoms += size
    if pending:
        yield _make_task(pending, settings, ledger.folder, number)


def _strip(atoms: Atoms | None) -> Atoms | None:
    return None if atoms is None else Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _make_task(pending: list[tuple[str, Entry]], settings: ScreenSettings, folder: Path, number: int) -> Task:
    ids, entries = zip(*pending, strict=True)
    return Task(str(folder.absolute()), number, settings, ids, entries)


def _interval() -> float:
    """Seconds between two reports: often for people, seldom for log files."""
    return 0.5 if sys.stderr.isatty() else 60.0
