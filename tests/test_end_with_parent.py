"""A worker ends with its parent, whatever it meets on its way out; with a real process: tests/screen, tests/trouble."""

from pathlib import Path

import pytest

from ase_tracegrad import end_with_parent


class Ended(BaseException):
    """Instead of the end of this process."""


class Parent:
    def join(self):
        """It is gone already."""


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError, PermissionError])
def test_a_thread_that_ends_in_between_does_not_keep_the_worker_alive(monkeypatch, error):
    def vanish(_):
        raise error

    def leave(code):
        raise Ended(code)

    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/proc/self/task/1/children")]))
    monkeypatch.setattr(Path, "read_text", vanish)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(Ended):
        end_with_parent._end_after(Parent())
