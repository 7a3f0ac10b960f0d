"""Some damaged files for every reader, drawn from fixed seeds; python -m tests.fuzz tries thousands."""

import pytest

from tests.fuzz.campaign import Victim
from tests.fuzz.targets import SHARED, TARGETS

CASES = 25
# Finds of the long runs that these seeds do not repeat have tests of their own beside the tests of each reader.


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(tmp_path, name):
    """Whatever is wrong with a file, its reader says so with the error that it promises, or reads finite numbers."""
    if name == "hsx":
        pytest.importorskip("sisl", reason="sisl is not installed")
        if not (SHARED / "data").is_dir():
            pytest.skip(f"no .HSX file at {SHARED}")
    if name == "qh9-lmdb":
        pytest.importorskip("lmdb", reason="lmdb is not installed")
    victim = Victim(name, tmp_path)
    victim.read_valid()
    messages = []
    for seed in range(CASES):
        victim.damage(seed)
        messages.append(victim.read())
    refused = [message for message in messages if message is not None]
    assert len(refused) >= 3, "the damage is not seen"
    assert all(refused), "an error without a message"
