"""LMDB files read page by page: what the library wrote, and numbers that lead nowhere."""

import struct

import pytest

from ase_tracegrad.io.lmdb_pages import LmdbPages
from ase_tracegrad.io.sample import FormatError

lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")


def write(folder, entries, deleted=()):
    environment = lmdb.open(str(folder), map_size=2**26)
    with environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    with environment.begin(write=True) as transaction:
        for key in deleted:
            transaction.delete(key)
    environment.close()
    return folder / "data.mdb"


def test_small_and_large_entries_in_the_order_of_their_keys(tmp_path):
    """Enough of them for a tree of pages; some have pages of their own, some are gone again."""
    entries = {k.to_bytes(4, "big"): bytes([k % 251]) * (k % 700 if k % 50 else 9000 + k) for k in range(3000)}
    deleted = [key for k, key in enumerate(entries) if k % 7 == 0]
    pages = LmdbPages(write(tmp_path / "x", entries, deleted))
    expected = [value for key, value in sorted(entries.items()) if key not in deleted]
    assert [pages[k] for k in range(len(pages))] == expected
    pages.close()


def test_no_entries(tmp_path):
    pages = LmdbPages(write(tmp_path / "x", {}))
    assert len(pages) == 0
    pages.close()


@pytest.mark.parametrize(
    ("at", "number", "message"),
    [
        (16, "<I", "it begins with"),
        (16 + 24, "<I", "its pages hold"),
        (16 + 112, "<Q", "something lies at"),
        (16 + 76, "<H", "of the kind 7"),
    ],
)
def test_damaged_heads(tmp_path, at, number, message):
    path = write(tmp_path / "x", {b"a": b"1"})
    data = bytearray(path.read_bytes())
    for page in (0, 4096):
        struct.pack_into(number, data, page + at, 7 if number == "<H" else 123456)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        LmdbPages(path)


def test_a_tree_that_bites_its_tail(tmp_path):
    path = write(tmp_path / "x", {k.to_bytes(4, "big"): bytes(900) for k in range(40)})
    data = bytearray(path.read_bytes())
    roots = [struct.unpack_from("<QQ", data, page + 16 + 112) for page in (0, 4096)]
    root = max(roots, key=lambda found: found[0] != 2**64 - 1)[0]
    node = struct.unpack_from("<H", data, root * 4096 + 16)[0]
    struct.pack_into("<HHH", data, root * 4096 + node, root, 0, 0)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=f"page {root} is named twice"):
        LmdbPages(path)
