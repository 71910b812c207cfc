"""What an LMDB file says about itself, read with plain file reads before LMDB maps it.

LMDB trusts its file: a page that is missing at the end of a half-copied file ends the process with SIGBUS, a forged
one with SIGSEGV. So size and structure are checked here first.
"""

import os
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from lmdb.verify import VerifyError, verify

from graphs.storage.locks import lock_holder
from graphs.storage.records import StoreError

_MAGIC = struct.pack("=I", 0xBEEFC0DE)
_PAGE_HEADERS = {16: 1, 24: 3}  # size of a page header on 64-bit machines -> version of the data format
_META = struct.Struct("=I8x8x I44x 48x QQ")  # from `version` on: page size, last page, transaction
_ATTEMPTS = 5


class Extent(NamedTuple):
    """The committed extent of an LMDB file."""

    page_size: int
    last_page: int
    transaction: int

    @property
    def bytes(self) -> int:
        """How long the file must be."""
        return (self.last_page + 1) * self.page_size


def check_file(path: str | Path) -> None:
    """Refuse what LMDB must not be given: no regular file, another format, cut short, or structurally broken.

    A file that another process writes meanwhile never counts as broken: its pages change while they are read. Its
    writer has checked it, and LMDB's own reads are safe alongside a writer.

    Raises:
        StoreError: naming the file and the reason.
    """
    path = Path(path)
    _check_kind(path)
    for _ in range(_ATTEMPTS):
        # A writer may change pages while they are checked: tried again as long as the extent moves.
        before = read_extent(path)
        size = path.stat().st_size
        problems = [] if size >= before.bytes else [f"{size} bytes, its index needs {before.bytes}"]
        truncated = bool(problems)
        try:
            problems = problems or verify(str(path), subdir=False)
        except VerifyError as error:
            problems = [str(error)]
        if not problems or (not truncated and being_written(path)):
            return
        # Nobody is writing, so that what is wrong stays wrong.
        if read_extent(path) == before:
            break
    if truncated:
        raise StoreError(f"{path} is truncated: {problems[0]}; copy it again, whole")
    raise StoreError(f"{path} is damaged: {problems[0]} ({len(problems)} problems in its pages); restore or remake it")


def being_written(path: str | Path) -> bool:
    """Whether a living writer in another process holds the lock ``<path>-writer``."""
    return lock_holder(os.path.realpath(path) + "-writer", elsewhere=True) is not None


def read_extent(path: str | Path) -> Extent:
    """The page size and last page that the newer of the two meta pages states.

    Raises:
        StoreError: not an LMDB file, or one of another machine.
    """
    with open(path, "rb") as file:
        head = file.read(256)
        header = _page_header(Path(path), head)
        first = _meta(Path(path), head, header)
        file.seek(first.page_size)
        second = _meta(Path(path), file.read(256), header)
    return max(first, second, key=lambda meta: meta.transaction)


def _check_kind(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise StoreError(f"there is no store at {path}: {error.strerror or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{path} is a folder; a store is one file")
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a regular file, and a store is one")
    if not os.access(path, os.R_OK):
        raise StoreError(f"{path} may not be read by this user: change its permissions")


def _page_header(path: Path, head: bytes) -> int:
    for size in _PAGE_HEADERS:
        if head[size : size + 4] == _MAGIC:
            return size
        if head[size : size + 4] == _MAGIC[::-1]:
            raise StoreError(
                f"{path} was written on a machine with the other byte order (this one is {sys.byteorder}-endian): "
                "LMDB files do not travel between the two; make the store again here"
            )
    if head[12:16] in (_MAGIC, _MAGIC[::-1]):
        raise StoreError(f"{path} was written on a 32-bit machine: make the store again here")
    if not head:
        raise StoreError(f"{path} is empty, not a store")
    raise StoreError(f"{path} is not an LMDB file: it begins with {head[:16]!r}")


def _meta(path: Path, page: bytes, header: int) -> Extent:
    body = page[header + 4 : header + 4 + _META.size]
    if page[header : header + 4] != _MAGIC or len(body) < _META.size:
        raise StoreError(f"{path} is truncated within its first two pages; copy it again, whole")
    version, page_size, last_page, transaction = _META.unpack(body)
    if version != _PAGE_HEADERS[header]:
        raise StoreError(f"{path} has the LMDB data format {version}, expected {_PAGE_HEADERS[header]}")
    if not 256 <= page_size <= 65536 or page_size & (page_size - 1):
        raise StoreError(f"{path} is damaged: it states a page size of {page_size} bytes")
    return Extent(page_size, last_page, transaction)
