"""Whole video graphs in one LMDB file: sparse, checked, and read straight into batches."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs.flat import FlatBatch, GraphData
from graphs.storage.additions import MAX_KEY, Additions, about, fitting_fields, key_of, require_fit, video_of
from graphs.storage.free_fields import FreeField, declaration, declared, require_same_declaration, stated, types
from graphs.storage.graph_records import FEATURE_TYPES, FIELDS, check_graph
from graphs.storage.header import (
    FORMAT,
    header_item,
    made_with,
    manifest_differences,
    read_header,
    require_known_types,
)
from graphs.storage.known_records import KnownRecords
from graphs.storage.lmdb_check import check_file
from graphs.storage.lmdb_file import HEADER_KEY, MAP_GROWTH, LMDBFile, Transaction
from graphs.storage.records import Record, StoreError, decode, stamp
from graphs.variants import set_edges

if TYPE_CHECKING:
    import torch_geometric.data

MODES = ("r", "a", "w")


class GraphStore:
    """Video graphs by video id, in one file; every record carries its types, shapes and a checksum. No pickle.

    Features lie on disk in half precision by default and come back as float32; indices take the narrowest integers. A
    record is checked (checksum, then shapes, ranges and finite numbers) the first time a process reads it.

    Objects are picklable and survive a fork: a copy in another process opens the file itself, for reading. Many may
    read while one writes. Without the right to write in its folder, reading takes no lock; then nobody should write.

    Where a ``with`` block fails that made the file and has stored nothing yet, the file goes too.

    Args:
        path: the file.
        mode: ``r`` reads; ``a`` appends, and creates what is not there; ``w`` empties the store first.
        features_dtype: ``float16`` or ``float32`` for ``x``, ``scene``, ``motion``, ``grid`` and ``audio``; None: that
            of the store, float16 in a new one.
        map_growth: bytes by which the memory map grows when full; a step, not a limit.
        manifest: how the features were made, as :meth:`require_manifest` takes it; None: as in the store.
        strict: refuse to write on a network file system, where a store can be damaged; otherwise that is a warning.
        free: tensors of the graphs beyond the known fields, name -> :class:`graphs.FreeField`; every graph must have
            them. ``y`` (by graph) and ``edge_attr`` (by edge) need no declaration. The store keeps it; None: as it is
            there.

    Raises:
        StoreError: no such store, damaged or truncated, another format, manifest or declaration of free fields, not
            permitted, or being written by somebody else (who is named).
    """

    def __init__(
        self,
        path: str | Path,
        mode: str = "r",
        features_dtype: str | None = None,
        map_growth: int = MAP_GROWTH,
        manifest: Mapping[str, Any] | None = None,
        strict: bool = False,
        free: Mapping[str, FreeField] | None = None,
    ) -> None:
        if mode not in MODES:
            raise StoreError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if features_dtype is not None and features_dtype not in FEATURE_TYPES:
            raise StoreError(f"features_dtype must be one of {', '.join(FEATURE_TYPES)}, got {features_dtype!r}")
        free = declared(free, FIELDS)
        self._made = mode != "r" and not Path(path).exists()
        # The arguments are good by now: a wrong one must not create a file.
        self._file = LMDBFile(path, write=mode != "r", map_growth=map_growth, strict=strict)
        self._known = KnownRecords(self.path)
        self._versions: list[dict[str, str]] = []
        try:
            # A store that is refused must not stay locked for this process.
            self._begin(mode, features_dtype, free)
            if manifest is not None:
                self.require_manifest(manifest)
        except BaseException:
            self._file.close()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {"_file": self._file, "_known": KnownRecords(self.path), "_versions": [], "_made": False}

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self._file.path

    @property
    def manifest(self) -> dict[str, Any]:
        """How the features were made; empty if never stated."""
        return self._header()["manifest"] or {}

    def require_manifest(self, manifest: Mapping[str, Any]) -> None:
        """State how the features were made, or check it: from the first graph on, only the same is accepted.

        Raises:
            StoreError: it differs from the one in the store (the fields are named), or comes after the first graph.
        """
        # Through JSON, so that tuples and lists, say, compare as they will when read back from the header.
        try:
            given = json.loads(json.dumps(manifest, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise StoreError(f"a manifest must be JSON (text, finite numbers, lists, dicts): {error}") from error
        if not isinstance(given, dict):
            raise StoreError(f"a manifest must be a dict, got {type(manifest).__name__}")
        header = self._header()
        if given == header["manifest"]:
            return
        # Graphs made before there was a manifest may have been made in any way: one cannot be added later.
        held = len(self)
        if header["manifest"] is None and held:
            raise StoreError(f"{self.path} already holds {held} graphs made without a manifest: use a new store")
        if not held and self._file.writable:
            self._file.commit([header_item(header | {"manifest": given})])
        else:
            differing = "; ".join(manifest_differences(header["manifest"], given))
            raise StoreError(
                f"{self.path} holds features made otherwise (its value first, the new one second): {differing}. "
                "Use the same settings, or another store"
            )

    @property
    def versions(self) -> tuple[dict[str, str], ...]:
        """Package -> version of what made the features: each combination that was stated, the oldest first."""
        return made_with(self._header(), self.path)

    def state_versions(self, *versions: Mapping[str, str]) -> None:
        """State what makes the graphs that are put from now on; kept with the first of them.

        Unlike the manifest this refuses nothing, and two stores that differ in it alone hold the same features.
        """
        self._versions = [dict(given) for given in versions]

    @property
    def features_dtype(self) -> str:
        """``float16`` or ``float32``: how the features lie on disk."""
        return str(self._header()["features_dtype"])

    @property
    def fields(self) -> dict[str, int]:
        """The fields of every graph here: for features their width, otherwise 0. Empty before the first graph."""
        return dict(self._header()["fields"])

    @property
    def free_fields(self) -> dict[str, FreeField]:
        """The free fields of every graph here, as they were declared, and ``y`` and ``edge_attr`` if they are there."""
        return declaration(self._header())

    @property
    def free_types(self) -> dict[str, str]:
        """Of each free field its axis, and its type on disk and the shape of a row once there are graphs."""
        return types(self._header())

    def put(self, video: str, data: GraphData) -> None:
        """Store one graph, replacing an older one; on disk when this returns.

        Raises:
            StoreError: what cannot be stored, naming the video and the field; nothing is written then.
            StoreFullError: the disk is full; the store stays as it was.
        """
        self.put_many([(video, data)])

    def put_many(self, graphs: Mapping[str, GraphData] | Iterable[tuple[str, GraphData]]) -> None:
        """Store several graphs with their ids in one transaction: all of them, or none. Errors as in :meth:`put`."""
        added = Additions(self.path, self._header())
        for item in graphs.items() if isinstance(graphs, Mapping) else graphs:
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise StoreError(f"put_many takes pairs (video id, graph), got {type(item).__name__}")
            added.graph(*item)
        self._commit(added)

    def record(self, video: str) -> bytes:
        """The stored bytes of one video, checked: what :meth:`put_records` takes.

        Raises:
            StoreError: not in the store, or damaged.
        """
        with self._file.read() as transaction:
            record = bytes(self._find(transaction, video))
        with about(self.path, video):
            fitting_fields(self._header(), record)
        return record

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every video with its bytes, in the order of :meth:`keys`, each checked as it is reached.

        Raises:
            StoreError: a damaged record, named.
        """
        for video in self.keys():
            yield video, self.record(video)

    def put_records(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Store records of another store as they are, byte by byte, in one transaction: all of them, or none.

        Replaces the records of videos that are here already. That the features were made alike is for the caller to
        see to: compare the manifests first.

        Raises:
            StoreError: a damaged record, other fields, widths or feature types than here, or a video twice.
            StoreFullError: the disk is full; the store stays as it was.
        """
        added = Additions(self.path, self._header())
        for video, record in items:
            added.record(video, record)
        self._commit(added)

    def get(self, video: str) -> "torch_geometric.data.Data":
        """The graph of one video, features as float32.

        Raises:
            StoreError: not in the store, or damaged.
        """
        with self._file.read() as transaction:
            return self._known.graph(video, transaction.get, partial(self._find, transaction)).to_data()

    def batch(
        self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal"
    ) -> "torch_geometric.data.Data":
        """One flat batch with the edges of a variant, each feature copied once, from the file into the batch.

        Equals ``Batch.from_data_list([store.get(v) for v in videos])`` followed by :func:`graphs.select_edges`, with
        ``batch [N]``, ``ptr [B + 1]``, ``num_frames [B]``, and ``videos`` (the ids) in the place of ``video``; also
        ``motion_ptr [B + 1]`` and ``audio_ptr [B + 1]``, where the rows of each video begin and end. ``edge_attr`` and
        free fields by edge go with their edges; those of ``dense`` are new, and the batch lacks these fields there.

        Raises:
            StoreError: no video given, one not in the store, or damaged.
            ValueError: an unknown variant or time flow.
        """
        return self.flat_batch(videos, variant, time_flow).to_data()

    def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> FlatBatch:
        """The same batch without PyG, for models that do not convolve over the graph: see :meth:`batch`."""
        if not videos:
            raise StoreError("a batch needs at least one video")
        with self._file.read() as transaction:
            data, edge_fields = self._known.batch(videos, transaction.get, partial(self._find, transaction))
        set_edges(data, variant, time_flow, edge_fields)
        return data

    def __len__(self) -> int:
        with self._file.read() as transaction:
            return max(0, int(transaction.stat()["entries"]) - 1)

    def __contains__(self, video: object) -> bool:
        if not isinstance(video, str) or not 1 <= len(video.encode(errors="surrogatepass")) <= MAX_KEY:
            return False
        with self._file.read() as transaction:
            return transaction.get(video.encode(errors="surrogatepass")) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        """All video ids, ordered by their UTF-8 bytes."""
        with self._file.read() as transaction:
            keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]
        return [video_of(key, self.path) for key in keys if key != HEADER_KEY]

    def sizes(self) -> list[int]:
        """Bytes of each record, in the order of :meth:`keys`."""
        with self._file.read() as transaction:
            return [len(value) for key, value in transaction.cursor() if bytes(key) != HEADER_KEY]

    def stamps(self) -> list[tuple[str, bytes]]:
        """Every video with the header of its record, checksum included, which changes with it; reads nothing else."""
        with self._file.read() as transaction:
            found = [(bytes(key), stamp(value)) for key, value in transaction.cursor() if bytes(key) != HEADER_KEY]
        return [(video_of(key, self.path), value) for key, value in found]

    def verify(self) -> list[tuple[str, str]]:
        """Read every record again: which are broken, and why. An empty list means that all is well.

        Raises:
            StoreError: the file's structure or header is damaged, so that no record can be trusted.
        """
        # The tree of the file first: records found through a damaged one mean nothing.
        check_file(self.path)
        header = self._header()
        broken = []
        for video in self.keys():
            try:
                with self._file.read() as transaction:
                    fields = decode(transaction.get(key_of(video), b""))
                    check_graph(fields)
                    require_fit(header, fields)
                    # Views into the map, which must not outlive the transaction.
                    del fields
            except StoreError as error:
                broken.append((video, str(error)))
        return broken

    def close(self) -> None:
        """Close the file. Closing twice is harmless; using a closed store is an error."""
        self._file.close()

    def __enter__(self) -> "GraphStore":
        return self

    def __exit__(self, error: object, *details: object) -> None:
        # An empty store of a script that failed before its first graph would pass for one that was made.
        with suppress(StoreError):
            if error is not None and self._made and self._file.writable and not len(self):
                # Before it is closed, as another process may write from then on.
                for end in ("", "-lock"):
                    Path(os.path.realpath(self.path) + end).unlink(missing_ok=True)
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def _begin(self, mode: str, features_dtype: str | None, free: Mapping[str, FreeField]) -> None:
        with self._file.read() as transaction:
            new = transaction.stat()["entries"] == 0
        fresh: dict[str, Any] = {
            "format": FORMAT,
            "features_dtype": features_dtype or "float16",
            "fields": {},
            "manifest": None,
        } | ({"free_fields": stated(free)} if free else {})
        # A reader changes nothing: only a writer gives an empty file its header.
        if mode != "r" and new:
            self._file.commit([header_item(fresh)])
        present = self._header()
        if mode == "w":
            self._file.commit([header_item(fresh)], clear=True)
            return
        require_known_types(present, self.path)
        if free and free != declaration(present):
            # Before the first graph nothing follows from the older declaration.
            if mode == "a" and not present["fields"]:
                present |= {"free_fields": stated(free)}
                self._file.commit([header_item(present)])
            else:
                require_same_declaration(present, free, self.path)
        if mode == "a" and features_dtype not in (None, present["features_dtype"]):
            # Such as one whose first features were all refused, as beyond the range of this type.
            if not len(self):
                self._file.commit([header_item(present | {"features_dtype": features_dtype})])
                return
            raise StoreError(
                f"{self.path} keeps its features as {present['features_dtype']}, asked for {features_dtype}: leave "
                "features_dtype out, or use another store"
            )

    def _header(self) -> dict[str, Any]:
        with self._file.read() as transaction:
            # Read afresh each time: another process may have added to it since.
            return read_header(transaction.get(HEADER_KEY), self.path)

    def _find(self, transaction: Transaction, video: str) -> Record:
        with about(self.path, video):
            record = transaction.get(key_of(video))
            if record is None:
                raise StoreError(f"not among its {len(self)} graphs; is it the right store, and the right spelling?")
        return record

    def _commit(self, added: Additions) -> None:
        if items := added.items(self._versions):
            self._file.commit(items)
