"""CPU seconds of calls in this process, and the commit, machine and versions that the numbers belong to."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from ase_tracegrad.replace_file import replace_text


def fastest(call: Callable, repeats: int) -> tuple[float, object]:
    """Least CPU seconds of some calls, and the last answer."""
    seconds, answer = [], None
    for _ in range(repeats):
        start = time.process_time()
        answer = call()
        seconds.append(time.process_time() - start)
    return min(seconds), answer


def fastest_in_turns(calls: dict[str, Callable], repeats: int, warm_up: int = 2) -> dict[str, float]:
    """Least CPU seconds of each call; the calls take turns, so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            taken, _ = fastest(call, 1)
            if turn >= warm_up:
                seconds[name].append(taken)
    return {name: min(values) for name, values in seconds.items()}


def describe_machine(*packages: str) -> dict:
    """Commit, machine, load and versions; uncommitted: whether the program or the benchmarks differed from the commit."""

    def git(*arguments: str) -> str:
        call = subprocess.run(["git", *arguments], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
        return call.stdout.strip()

    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "commit": git("rev-parse", "HEAD"),
        "uncommitted": bool(git("status", "--porcelain", "--", "ase_tracegrad", "benchmarks/*.py")),
        "machine": cpu,
        "threads": 1,
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def write_result(path: Path, result: dict):
    """The figures as json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(result, indent=1) + "\n")
