"""Disks of a megabyte, and of nothing but reading."""

import os
import subprocess
from pathlib import Path

import pytest


def _mount(place: Path, *options: str):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB, of which SPARE stays free."""
    place = tmp_path / "disk"
    _mount(place, "-t", "tmpfs", "-o", "size=6m")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def make_read_only(small_disk):
    """(folder, function that makes it read-only, for root too)."""
    return small_disk, lambda: subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
