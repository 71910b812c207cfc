"""Records on their way into a store: each must fit it, and what they state goes into its header."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphs.flat import GraphData
from graphs.storage.free_fields import declaration, described, require_same_free
from graphs.storage.graph_records import FEATURES, attributes, check_graph, graph_fields, widths
from graphs.storage.header import header_item, own_types, require_same_fields, stated_header
from graphs.storage.lmdb_file import Item
from graphs.storage.records import Field, Record, StoreError, decode, encode

MAX_KEY = 511  # LMDB's limit


class Additions:
    """What one transaction adds to a store: all of it, or none.

    Args:
        path: the store, for errors.
        header: its header; unchanged.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path, self._old, self._header = path, header, dict(header)
        self._records: dict[bytes, bytes | bytearray] = {}
        self._types: dict[str, int] = {}

    def graph(self, video: str, data: GraphData) -> None:
        """Add a graph.

        Raises:
            StoreError: it cannot be stored here, or its video has been added already.
        """
        key = self._new_key(video)
        with about(self._path, video):
            # A graph filed under another name would be wrong in every later use, without an error.
            own = attributes(data).get("video")
            if own and own != video:
                raise StoreError(f"the graph says that it belongs to {own!r}")
            fields = graph_fields(data, self._header["features_dtype"], declaration(self._header))
            require_fit(self._header, fields)
            self._records[key] = encode(fields)
        self._state(fields)

    def record(self, video: str, record: bytes) -> None:
        """Add a record as it is.

        Raises:
            StoreError: it is damaged, does not fit, or its video has been added already.
        """
        key = self._new_key(video)
        with about(self._path, video):
            fields = fitting_fields(self._header, record)
        self._records[key] = record
        self._state(fields)

    def items(self, versions: Sequence[Mapping[str, str]]) -> list[Item]:
        """The keys and values to write, with the header where it says something new."""
        stated = stated_header(self._header, self._header["fields"], self._types, versions)
        # The header only then, as it is one more page to write.
        changed = [] if stated == self._old else [header_item(stated)]
        return [*changed, *self._records.items()] if self._records else []

    def _new_key(self, video: str) -> bytes:
        key = key_of(video)
        if key in self._records:
            raise StoreError(f"video {video!r} is given twice")
        return key

    def _state(self, fields: Mapping[str, Field]) -> None:
        # The first graph sets the fields of an empty store: the others are compared with it.
        if not self._header["fields"]:
            self._header["fields"] = widths(fields)
            if free := described(fields):
                self._header["free_fields"] = free
        self._types |= own_types(fields)


def fitting_fields(header: Mapping[str, Any], record: Record) -> dict[str, Field]:
    """The fields of a whole record that fits a store with that header.

    Raises:
        StoreError: it is damaged, or does not fit.
    """
    fields = decode(record)
    check_graph(fields)
    require_fit(header, fields)
    # A record is copied byte by byte, so its dtype must already be the store's.
    kinds = {field.kind for name, field in fields.items() if name in FEATURES}
    if kinds != {header["features_dtype"]}:
        raise StoreError(f"features in {', '.join(kinds)}, but the store keeps {header['features_dtype']}")
    return fields


def require_fit(header: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Refuse a graph whose fields, widths or free fields are not those of the store's other graphs.

    Raises:
        StoreError: which differ.
    """
    found = widths(fields)
    require_same_fields(header["fields"] or found, found)
    require_same_free(header, described(fields))


@contextmanager
def about(path: Path, video: str) -> Iterator[None]:
    """Name the store and the video in a store's error."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{path}, video {video!r}: {error}") from error


def key_of(video: str) -> bytes:
    """The key of a video.

    Raises:
        StoreError: no store can hold an id like that.
    """
    if not isinstance(video, str):
        raise StoreError(f"a video id is a text, got {type(video).__name__}")
    try:
        key = video.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"a video id must be valid Unicode, got {video!r}") from error
    if not 1 <= len(key) <= MAX_KEY:
        raise StoreError(f"a video id has 1 to {MAX_KEY} bytes of UTF-8, got {len(key)}: {video[:40]!r}")
    return key


def video_of(key: bytes, path: Path) -> str:
    """The video of a key.

    Raises:
        StoreError: it is none that a store writes.
    """
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} holds a key that is no video id: {key[:40]!r}") from error
