"""Files and folders that are there complete or not at all: written beside their place and renamed at the end."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
