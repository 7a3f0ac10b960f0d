"""A campaign of two labels for test_kill.py, as a program of its own: the second one waits for a sign."""

import os
import subprocess
import sys
import time
from pathlib import Path

from ase_tracegrad.labels.campaign import LabelJob, run_campaign
from tests.labels.test_campaign import toy_label


def wait_and_label(folder: Path):
    """Run a program, tell which processes these are, and wait for the file 'go'."""
    program = subprocess.Popen(["sleep", "600"])
    (folder / "worker.part").write_text(f"{os.getpid()} {program.pid}")
    os.replace(folder / "worker.part", folder / "worker")
    while not (folder / "go").exists():
        time.sleep(0.05)
    program.kill()
    program.wait()
    return toy_label(0.25)


def make_jobs(folder: Path) -> list[LabelJob]:
    """One that is done at once, one that waits."""
    return [LabelJob("a", toy_label, {"value": 0.5}, {}), LabelJob("b", wait_and_label, {"folder": folder}, {})]


if __name__ == "__main__":
    from tests.trouble.label_run import make_jobs as jobs_of_the_module  # not of __main__, so that workers find them

    run_campaign(jobs_of_the_module(Path(sys.argv[1])), Path(sys.argv[1]) / "labels", workers=1)
