"""The entries of an LMDB file, read page by page without mapping it into memory.

The library follows the page numbers in a file wherever they lead, so that a damaged one ends the whole process. Here every number
is checked. Layout (lmdb.c of OpenLDAP 0.9, 64-bit little-endian): page header of 16 bytes (own number u64, u16, flags u16, end of
the pointers u16, u16); pointers u16 to nodes (u16, u16, flags u16, length of the key u16, key, content). Two meta pages, of which
the one of the later transaction counts.
"""

import struct
import threading
from pathlib import Path

from .sample import FormatError

MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW = 1, 2, 4
HEADER = 16  # bytes of a page before its pointers
NONE = 2**64 - 1  # number of the page that is not there


class LmdbPages:
    """pages[k] -> content of the k-th entry, sorted by key. FormatError for what is damaged or of another kind."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("rb")
        self._reading = threading.Lock()  # threads share the place in the file
        try:
            self._size = path.stat().st_size
            self._page_size, root = self._find_root()
            self._places = [] if root == NONE else self._walk(root)
        except BaseException as error:
            self.close()
            if isinstance(error, struct.error):
                raise self._damage(str(error)) from error
            raise

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> bytes:
        start, length, overflow = self._places[row]
        if overflow:
            self._page(start // self._page_size, OVERFLOW)
            start += HEADER
        return self._read(start, length)

    def close(self):
        """Close the file."""
        self._file.close()

    def _damage(self, what: str) -> FormatError:
        return FormatError(f"{self.path} is not a readable LMDB file (truncated or damaged): {what}")

    def _read(self, start: int, length: int) -> bytes:
        if start + length > self._size:
            raise self._damage(f"it ends at byte {self._size}, something lies at {start + length}")
        with self._reading:
            self._file.seek(start)
            return self._file.read(length)

    def _page(self, number: int, *kinds: int) -> tuple[bytes, int]:
        """(page, its kind), which must be one of ``kinds``."""
        page = self._read(number * self._page_size, self._page_size)
        own, _, flags = struct.unpack_from("<QHH", page)
        kind = flags & (BRANCH | LEAF | OVERFLOW)
        if own != number or kind not in kinds:
            raise self._damage(f"page {number} calls itself {own} and is of kind {flags}, expected {kinds}")
        return page, kind

    def _find_root(self) -> tuple[int, int]:
        """(bytes of a page, number of the first page of the tree)."""
        first = self._meta(0)
        _, page_size, flags, root, last = max(first, self._meta(first[1]))
        if (last + 1) * page_size > self._size:
            raise self._damage(f"expected {(last + 1) * page_size} bytes, found {self._size}")
        if flags:
            raise self._damage(f"its entries are of the kind {flags}, expected plain ones")
        return page_size, root

    def _meta(self, start: int) -> tuple[int, int, int, int, int]:
        """(transaction, bytes of a page, kind of the entries, first page of the tree, last page of the file) of a meta page."""
        meta = self._read(start + HEADER, 136)
        magic, version, page_size = struct.unpack_from("<II16xI", meta)
        if (magic, version) != (MAGIC, VERSION):
            raise self._damage(f"it begins with {magic:#x}, version {version}, expected {MAGIC:#x}, version {VERSION}")
        if page_size not in (2**n for n in range(9, 17)):
            raise self._damage(f"its pages hold {page_size} bytes")
        flags, root, last, transaction = struct.unpack_from("<H34xQQQ", meta, 76)
        return transaction, page_size, flags, root, last

    def _walk(self, root: int) -> list[tuple[int, int, bool]]:
        """(first byte, length, on pages of its own) of each entry below the page ``root``."""
        places, waiting, seen = [], [root], set()
        while waiting:
            number = waiting.pop()
            if number in seen:
                raise self._damage(f"page {number} is named twice")
            seen.add(number)
            page, kind = self._page(number, BRANCH, LEAF)
            count = (struct.unpack_from("<H", page, 12)[0] - HEADER) // 2
            if count < 0:
                raise self._damage(f"page {number} has no pointers")
            nodes = struct.unpack_from(f"<{count}H", page, HEADER)
            if kind == BRANCH:
                children = [struct.unpack_from("<HHH", page, node) for node in nodes]
                waiting += [low | high << 16 | flags << 32 for low, high, flags in reversed(children)]
            else:
                places += [self._place(number, page, node) for node in nodes]
        return places

    def _place(self, number: int, page: bytes, node: int) -> tuple[int, int, bool]:
        low, high, flags, key = struct.unpack_from("<HHHH", page, node)
        length, content = low | high << 16, node + 8 + key
        if flags not in (0, 1):
            raise self._damage(f"an entry on page {number} is of the kind {flags}")
        if flags == 1:
            return struct.unpack_from("<Q", page, content)[0] * self._page_size, length, True
        if content + length > len(page):
            raise self._damage(f"an entry leaves page {number}")
        return number * self._page_size + content, length, False
