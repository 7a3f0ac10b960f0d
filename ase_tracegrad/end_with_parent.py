"""A worker process that ends when the process that started it is gone, also if that was killed and could not say so."""

import os
import signal
import threading
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path


def end_with_parent():
    """Call in a worker: without this it would finish its work beside the next run, or wait forever.

    Programs that it runs (CP2K) end with it on Linux; elsewhere they finish by themselves.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent):
    parent.join()
    try:
        for listed in Path("/proc/self/task").glob("*/children"):
            # A thread, or a program, may end while we look.
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in listed.read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
    finally:
        os._exit(1)
