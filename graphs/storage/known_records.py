"""Which records of a store were checked in this process, so that each is checked once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from graphs.flat import FlatBatch
from graphs.storage.collate import Located, collate
from graphs.storage.graph_records import check_graph, check_shapes, graph
from graphs.storage.records import Field, Layout, Record, StoreError, decode, layout, read_ahead, stamp, view

KEPT = 65_536
"""Layouts that are kept, 4.5 KiB each where no two are alike; those of further videos are read again each time."""


class _Known(NamedTuple):
    """While the header of a record is the same, checksum and length included, so is its layout; None: not kept."""

    stamp: bytes
    checksum: int
    layout: Layout | None

    def of(self, record: Record) -> Layout:
        """The layout of this record."""
        return layout(record)[1] if self.layout is None else self.layout


class KnownRecords:
    """Batches out of the records of one store, each of which is checked the first time that it is in one.

    Args:
        path: the store, for errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, _Known] = {}

    def forget(self) -> None:
        """Check every record again."""
        self._known.clear()

    def graph(self, video: str, read: Callable[[bytes], Record | None], find: Callable[[str], Record]) -> FlatBatch:
        """The graph of one video; arguments and errors as :meth:`batch`."""
        known = self._known.get(video)
        record = read(video.encode()) if known else None
        if known is None or record is None or record[: len(known.stamp)] != known.stamp:
            record = find(video)
            fields = checked(self._path, video, record)
            self._keep({video: _known(self._path, video, record)})
        else:
            fields = {slot.name: Field(slot.kind, view(record, slot)) for slot in known.of(record).slots.values()}
        return graph(fields, video)

    def batch(
        self, videos: Sequence[str], read: Callable[[bytes], Record | None], find: Callable[[str], Record]
    ) -> tuple[FlatBatch, list[str]]:
        """One flat batch and the names of its free fields by edge: see :func:`graphs.storage.collate.collate`.

        Of a new record the shapes are checked as it is found, and its checksum before any of its numbers is read; the
        numbers of all new records are checked together. Only when something is wrong are they taken one by one, to find
        which and what.

        Args:
            videos: the ids.
            read: the record under a key, or None.
            find: the record of a video; raises :class:`StoreError` in words if there is none.

        Raises:
            StoreError: what ``find`` raises, a damaged record, naming the video, or records that do not fit together.
        """
        located: list[Located] = []
        new: dict[str, _Known] = {}
        unread = {video: find(video) for video in videos if video not in self._known}
        read_ahead(list(unread.values()))
        for video in videos:
            stated = None
            known = self._known.get(video)
            record = read(video.encode()) if known else None
            # Another header than when it was checked: the video was stored again since, or is new here.
            if known is None or record is None or record[: len(known.stamp)] != known.stamp:
                record = unread[video] if video in unread else find(video)
                # A batch may hold a video twice, and it is checked once.
                if video not in new:
                    new[video] = _known(self._path, video, record)
                    stated = new[video].checksum
                known = new[video]
            located.append(Located(record, known.of(record), stated))
        try:
            data = collate(videos, located)
        except StoreError:
            # Only now one by one: the first that is damaged raises an error with its name.
            for video, one in zip(videos, located, strict=True):
                if one.stated is not None:
                    checked(self._path, video, one.record)
            raise  # they are well, each by itself
        self._keep(new)
        return data

    def _keep(self, new: Mapping[str, _Known]) -> None:
        for video, known in new.items():
            before = self._known.get(video)
            kept = len(self._known) < KEPT if before is None else before.layout is not None
            self._known[video] = known if kept else known._replace(layout=None)


def checked(path: Path, video: str, record: Record) -> dict[str, Field]:
    """The fields of one record, checked through and through.

    Raises:
        StoreError: damaged, or not a graph; it names the store and the video.
    """
    try:
        fields = decode(record)
        check_graph(fields)
    except StoreError as error:
        raise StoreError(f"{path}, video {video!r}: {error}") from error
    return fields


def _known(path: Path, video: str, record: Record) -> _Known:
    try:
        checksum, found = layout(record)
        check_shapes(dict(zip(found.names, zip(found.kinds, found.shapes, strict=True), strict=True)))
    except StoreError as error:
        raise StoreError(f"{path}, video {video!r}: {error}") from error
    return _Known(stamp(record), checksum, found)
