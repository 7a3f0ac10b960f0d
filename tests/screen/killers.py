"""Chunks whose worker process is killed, importable by the workers of any executor."""

import os
import signal
from pathlib import Path

from ase_tracegrad.screen.chunk import Task, compute_chunk


def compute_or_die(task: Task) -> dict[str, int]:
    """compute_chunk; 'victim' kills its worker (kill -9) the first time, 'poison' every time it is met."""
    for entry in task.entries:
        mark = Path(task.folder) / f"{entry.source}.met"
        if entry.source.startswith("poison") or (entry.source.startswith("victim") and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return compute_chunk(task)
