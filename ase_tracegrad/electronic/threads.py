"""run_in_threads: independent pieces of work on the cores of this machine, each with its own BLAS threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property

import torch
from threadpoolctl import ThreadpoolController


def run_in_threads(work: Callable, items: list, workers: int, blas_threads: int) -> Iterator:
    """Results in order, ``workers`` at a time, each with its own BLAS threads: on small matrices more than one only disturb."""
    with limit_blas_threads(blas_threads):
        if workers == 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(blas_threads,)) as pool:
            try:
                yield from pool.map(work, items)
            finally:
                pool.shutdown(cancel_futures=True)


class _BlasThreads:
    """How many threads BLAS uses is a setting of the process: of solvers that run at the same time in several
    threads of the caller, the first remembers what it was and the last restores it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def __call__(self, count: int):
        with self._lock:
            if self._users == 0:
                self._torch_before = torch.get_num_threads()
                self._limiter = self._pools.limit(limits=count, user_api="blas")
            self._users += 1
        torch.set_num_threads(count)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._limiter.restore_original_limits()
                    torch.set_num_threads(self._torch_before)

    @cached_property
    def _pools(self) -> ThreadpoolController:
        """The BLAS libraries of this process; looking for them takes as long as a hundred small matrices."""
        return ThreadpoolController()


limit_blas_threads = _BlasThreads()
