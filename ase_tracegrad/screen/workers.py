"""Where chunks are computed: spawned processes of this machine, Parsl, Dask, or an executor of the user."""

import os
import signal
import sys
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from ..electronic.resources import available_cores
from ..end_with_parent import end_with_parent
from .shards import ScreenError

FORMS = "None or 'processes', 'parsl', 'dask', 'dask:ADDRESS', a parsl Config, a dask Client, or a concurrent.futures.Executor"
# Tasks that wait for a free worker, for each worker: none is idle while results come back.
AHEAD = 2


class Workers(Protocol):
    """lost: what a future raises when its worker died; open() may be called again after that; n_tasks: to have under way."""

    lost: tuple[type[BaseException], ...]

    def open(self) -> Executor: ...

    def close(self, *, now: bool) -> None: ...

    @property
    def n_tasks(self) -> int: ...


def choose_workers(executor, count: int | None, device: str | None) -> Workers:
    """Workers from what ``screen`` was given; count: processes, None for as many as there are cores or graphics cards.

    Raises ScreenError for anything else, or where a package is missing.
    """
    if count is not None and count < 1:
        raise ScreenError(f"expected at least one worker, found {count}")
    if executor is None or executor == "processes":
        return ProcessWorkers(count, device)
    module = type(executor).__module__.split(".")[0]
    if executor == "parsl" or (module == "parsl" and not isinstance(executor, Executor)):
        return ParslWorkers(executor, count)
    if module == "distributed" and not isinstance(executor, Executor):
        return DaskWorkers(executor, count)
    if isinstance(executor, str) and executor.split(":")[0] == "dask":
        return DaskWorkers(executor.partition(":")[2], count)
    if isinstance(executor, Executor):
        return GivenWorkers(executor, count)
    raise ScreenError(f"executor: expected {FORMS}; found {executor!r}")


class ProcessWorkers:
    """Processes of this machine, each with one thread; on a machine with graphics cards one process for each card."""

    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, count: int | None, device: str | None):
        self.devices = _list_devices(device)
        self.count = count or (len(self.devices) if str(self.devices[0]).startswith("cuda") else available_cores())
        self._pool: ProcessPoolExecutor | None = None

    @property
    def n_tasks(self) -> int:
        return AHEAD * self.count

    def open(self) -> Executor:
        again = self._pool is not None
        self.close(now=True)
        context = get_context("spawn")
        devices: Any = context.Queue()
        for number in range(self.count):
            devices.put(self.devices[number % len(self.devices)])
        self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=start_worker, initargs=(devices,))
        if again:
            check_workers(self._pool, self.lost)
        return self._pool

    def close(self, *, now: bool) -> None:
        if self._pool is None:
            return
        if now:
            # Python 3.14 has a name for this: nobody waits for chunks that the next run computes again.
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=now)
        self._pool = None


def start_worker(devices=None):
    """First call in a worker process: one thread, its graphics card, and an end when the process that started it is gone."""
    import torch
    from threadpoolctl import threadpool_limits

    # The libraries and our own solvers ask for these; the process is ours.
    os.environ["OMP_NUM_THREADS"] = "1"
    # Ctrl-C is for the process that started us, which then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    torch.set_num_threads(1)
    if devices is not None:
        WORKER["device"] = devices.get()
    end_with_parent()


# What this worker process was told when it started.
WORKER: dict[str, Any] = {}


class ParslWorkers:
    """Parsl with a Config, or with processes of this machine."""

    def __init__(self, config, count: int | None):
        try:
            from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
        except ImportError:
            raise ScreenError("the executor parsl needs the package parsl: pip install 'ase_tracegrad[parsl]'") from None
        self.lost: tuple[type[BaseException], ...] = (WorkerLost, ManagerLost)
        self.config = local_parsl(count or available_cores()) if config == "parsl" else config
        self._kernel: Any = None
        self._path: str | None = None

    @property
    def n_tasks(self) -> int:
        return AHEAD * sum(_count_parsl_workers(executor) for executor in self.config.executors)

    def open(self) -> Executor:
        from parsl import DataFlowKernel
        from parsl.concurrent import ParslPoolExecutor

        if self._kernel is None:
            # Parsl starts programs by name, which stand beside this Python and need not be on the path.
            self._path = os.environ.get("PATH", "")
            os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), self._path])
            self._kernel = DataFlowKernel(self.config)
        return ParslPoolExecutor(dfk=self._kernel)

    def close(self, *, now: bool) -> None:
        if self._kernel is not None:
            self._kernel.cleanup()
            self._kernel = None
        if self._path is not None:
            os.environ["PATH"], self._path = self._path, None


def local_parsl(count: int):
    """A parsl Config of so many one-thread processes on this machine; logs go to the folder runinfo."""
    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(worker_init="export OMP_NUM_THREADS=1", init_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(
        label="local",
        max_workers_per_node=count,
        address="127.0.0.1",
        provider=provider,
        encrypted=False,
        heartbeat_period=5,  # seconds until a dead worker is noticed
    )
    return Config(executors=[executor], initialize_logging=False)


class DaskWorkers:
    """A dask Client, the address of a scheduler, or ('') processes of this machine."""

    def __init__(self, client, count: int | None):
        try:
            from distributed import KilledWorker
        except ImportError:
            raise ScreenError("the executor dask needs the package distributed: pip install 'ase_tracegrad[dask]'") from None
        self.lost: tuple[type[BaseException], ...] = (KilledWorker,)
        self._client: Any = client
        self._count, self._own = count, isinstance(client, str)

    @property
    def n_tasks(self) -> int:
        return AHEAD * max(1, sum(self._client.nthreads().values()))

    def open(self) -> Executor:
        from distributed import Client, LocalCluster

        if isinstance(self._client, str):
            count = self._count or available_cores()
            cluster = self._client or LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None)
            self._cluster, self._client = cluster, Client(cluster)
        return self._client.get_executor(pure=False)

    def close(self, *, now: bool) -> None:
        if self._own and not isinstance(self._client, str):
            self._client.close()
            if not isinstance(self._cluster, str):
                self._cluster.close()


class GivenWorkers:
    """An executor that somebody else opened and will close; if it breaks, the screening ends."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, executor: Executor, count: int | None):
        self._executor = executor
        self._count = count or getattr(executor, "_max_workers", None) or available_cores()

    @property
    def n_tasks(self) -> int:
        return AHEAD * self._count

    def open(self) -> Executor:
        return self._executor

    def close(self, *, now: bool) -> None:
        """Nothing: it is not ours."""


def check_workers(executor: Executor, lost: tuple[type[BaseException], ...]):
    """ScreenError if workers die before they have done anything."""
    try:
        wait_for([future := executor.submit(os.getpid)])
        future.result()
    except lost as error:
        raise ScreenError(
            f"the workers die when they start ({error}); in a script, the call of screen() must stand below "
            'if __name__ == "__main__":'
        ) from error


def _list_devices(device: str | None) -> list[str | None]:
    """A device for each worker in turn; [None]: the processor, or what the user named."""
    from ..nn.predictor import choose_device, count_devices

    if device not in (None, "cuda"):
        choose_device(device)
        return [device]
    choose_device(device)
    return [f"cuda:{number}" for number in range(count_devices())] or [None]


def _count_parsl_workers(executor) -> int:
    provider = getattr(executor, "provider", None)
    workers: Any = getattr(executor, "max_workers_per_node", None) or getattr(executor, "max_threads", 1)
    cores = available_cores() if workers == float("inf") else int(workers)
    return cores * getattr(provider, "max_blocks", 1) * getattr(provider, "nodes_per_block", 1)
