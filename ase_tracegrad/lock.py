"""One process at a time on one output: a lock that the system drops when its process ends, however it ends."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)
# What systems say that have no such locks, such as Lustre without the option flock.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class OutputInUseError(OSError):
    """Another process is writing to the same place."""


@contextmanager
def lock_output(path) -> Iterator[None]:
    """Be the only process that writes to ``path``, a file or folder; OutputInUseError if another one is at work on it.

    The lock is on the file ``path`` + '.lock', which goes at the end; what a killed process leaves is free again. Where the system
    has no such locks, a warning is logged and nothing is locked; on Windows nothing is.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = Path(path).resolve()  # '.' has no name, and a folder may have several
    place = path.with_name(path.name + ".lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(handle, 20).decode(errors="replace").strip() or "unknown"
                raise OutputInUseError(
                    f"another process (number {owner}) is writing to {path}: wait for it, or choose another place"
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                log.warning("%s cannot be locked (%s): see to it that no other process writes to it", path, error)
            if _is_file_of(handle, place):  # else its owner deleted it between our two calls
                os.truncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                try:
                    yield
                finally:
                    place.unlink(missing_ok=True)
                return
        finally:
            os.close(handle)


def _is_file_of(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(place))
    except FileNotFoundError:
        return False
