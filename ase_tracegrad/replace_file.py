"""Files and folders that are there complete or not at all: written beside their place and renamed at the end."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SPARE = 2**20  # bytes that stay free, for what a library keeps back until it closes its file


@contextmanager
def replace_file(path) -> Iterator[Path]:
    """Write to the path this yields (``path`` + '.part'); it takes the place of ``path`` at the end, or goes after an error."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def require_space(path, n_bytes: int):
    """OSError unless the disk of ``path`` has room for so many bytes more.

    HDF5 cannot give up a file when the disk is full: it fails again when the file is closed and when the program ends.
    """
    free = shutil.disk_usage(Path(path).parent).free
    if free < n_bytes + SPARE:
        raise OSError(
            errno.ENOSPC,
            f"the disk is full: {n_bytes / 1e6:.1f} MB are to be written, {free / 1e6:.1f} MB are free; make room for",
            str(path),
        )


def replace_text(path, text: str):
    """Write a text file, complete or not at all."""
    with replace_file(path) as part:
        part.write_text(text)


@contextmanager
def replace_folder(path) -> Iterator[Path]:
    """Fill the new folder this yields (``path`` + '.part'); it takes the name ``path`` at the end, or goes after an error.

    What an interrupted run left under that name is deleted first. OSError if ``path`` is there and not empty.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
