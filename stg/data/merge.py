"""Look into graph stores, check them whole, join shards."""

import heapq
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from graphs import GraphStore, StoreError
from stg.config.schema import describe, differences
from stg.data.feature_check import versions_note
from stg.runtime.errors import StgError, UserError
from stg.runtime.files import last_rows, write_atomic
from stg.runtime.reading import counted, read_bytes
from stg.runtime.reporter import SILENT, Progress, Reporter

LISTED = 50

SKIPPED = ".skipped.jsonl"

SIDES = (".clips.jsonl", SKIPPED, ".sources.jsonl")
"""What the names of the lists alongside a store end in."""

ALONGSIDE = ("-lock", "-writer", *SIDES)
"""All that may lie alongside a store; a writer that was killed leaves its ``-writer``."""

CHUNK = 64 * 2**20
"""Bytes of records that one transaction takes."""


def stores_among(paths: Sequence[str]) -> list[str]:
    """The stores of a list that a shell made of ``STORE.rank*``, which also matches what lies alongside each store."""
    others = {f"{path}{end}" for path in paths for end in ALONGSIDE}
    return [path for path in paths if path not in others]


def info(store: GraphStore, reporter: Reporter) -> None:
    """Print count, sizes, fields with their widths, and the manifest."""
    sizes = sorted(store.sizes())
    reporter.say(f"{store.path}: {counted(len(sizes), 'video')}, {store.path.stat().st_size / 2**20:.1f} MiB on disk")
    if sizes:
        mean = sum(sizes) / len(sizes)
        reporter.say(f"bytes a video: {mean:.0f} on average, from {sizes[0]} to {sizes[-1]}")
    fields = ", ".join(f"{name} [{width}]" if width else name for name, width in store.fields.items())
    reporter.say(f"fields: {fields or 'none yet'}; features in {store.features_dtype}")
    for name, kept in store.free_types.items():
        reporter.say(f"free field {name}: {kept}")
    manifest = json.dumps(store.manifest, indent=2, ensure_ascii=False) if store.manifest else "none"
    for line in f"manifest: {manifest}".split("\n"):
        reporter.say(line)
    for versions in store.versions:
        reporter.say(f"made with: {', '.join(f'{name} {version}' for name, version in versions.items())}")


def verify(store: GraphStore, reporter: Reporter) -> None:
    """Read every record again and list the broken ones.

    Raises:
        StgError: there are broken records.
    """
    broken = store.verify()
    _list(reporter, [f"{video!r}: {reason}" for video, reason in broken])
    if broken:
        raise StgError(
            f"{len(broken)} of {counted(len(store), 'record')} in {store.path} broken: extract these videos again "
            "into a new store, or restore the file from a copy"
        )
    reporter.say(f"{store.path}: {counted(len(store), 'record')}, all whole")


def merge(paths: Sequence[str], out: str, reporter: Reporter = SILENT, *, strict: bool = False) -> None:
    """Copy the records of several stores into one, byte by byte, in the order of their keys.

    Everything is checked before the first record is written. A merge that was stopped resumes with the same call; what
    ``out`` holds already is left as it is.

    Args:
        paths: the stores, made with equal manifests, fields and feature types. A video in two of them must have the
            same bytes in both.
        out: the store that takes the records.
        reporter: takes the summary and the progress.
        strict: refuse to write on a network file system.

    Raises:
        UserError: stores made otherwise, or one video with different bytes; named.
        StgError: broken records; named.
    """
    target = Path(out).absolute()
    if target.resolve() in {Path(path).resolve() for path in paths}:
        raise UserError(f"{out!r} is --out and one of the stores to merge: choose another --out")
    with ExitStack() as opened:
        shards = [opened.enter_context(GraphStore(path)) for path in paths]
        _check_alike(shards)
        # An empty shard has no settings to give the new store.
        first = next((shard for shard in shards if len(shard) or shard.manifest), shards[0])
        new = not target.exists()
        # Opened before the long check, so that a place that cannot be written and a second writer show at once.
        store = opened.enter_context(GraphStore(target, "a", first.features_dtype, strict=strict))
        before = len(store)
        # All is read and checked before the first record is written; a store made for this is removed if that fails.
        try:
            _check_alike([store, *shards], reporter)
            with reporter.bar("checking") as progress:
                wanted = _check_records(store, shards, reporter, progress)
            # Before anything is written, too: a damaged list stops the merge while it costs nothing.
            lists = {f"{target}{side}": _joined([f"{path}{side}" for path in (target, *paths)]) for side in SIDES}
        except BaseException:
            if new:
                # Only a store that was made here: whatever was there before is not touched.
                store.close()
                for made in (target, Path(f"{target}-lock")):
                    made.unlink(missing_ok=True)
            raise
        if first.manifest:
            store.require_manifest(first.manifest)
        store.state_versions(*(versions for shard in shards for versions in shard.versions))
        with reporter.bar("merging") as progress:
            for chunk in _chunks(wanted):
                store.put_records((video, shard.record(video)) for video, shard, _ in chunk)
                progress(len(store) - before, len(wanted))
        skipped = f"{target}{SKIPPED}"
        # What one shard left out, another may have stored.
        lists[skipped] = [line for video, line in last_rows(lists[skipped]).items() if video not in store]
        if not lists[skipped]:
            Path(skipped).unlink(missing_ok=True)
        for name, lines in lists.items():
            if lines:
                write_atomic(name, b"".join(line + b"\n" for line in lines))
    added = f"{counted(len(wanted), 'video')} added from {counted(len(shards), 'store')}"
    reporter.say(f"{out}: {added}, {before} there before")


def _check_alike(stores: Sequence[GraphStore], reporter: Reporter = SILENT) -> None:
    # A process that had nothing to do leaves a store that says nothing: it agrees with all others.
    first, *others = [store for store in stores if len(store) or store.manifest] or [stores[0]]
    for store in others:
        ours, theirs = (
            # Empty stores have no fields yet: they take those of the other, so that only real differences count.
            {
                "manifest": one.manifest,
                "fields": one.fields or other.fields,
                "features": one.features_dtype,
                "free fields": (one if one.fields else other).free_types,
            }
            for one, other in ((first, store), (store, first))
        )
        differing = differences(ours, theirs)
        if differing:
            listed = describe(differing, "{old!r}, {new!r}")
            raise UserError(
                f"{first.path} and {store.path} hold features made otherwise, which never mix (the first one's value "
                f"first): {listed}. Extract one of them again"
            )
    stated = [store for store in stores if store.versions]
    for store in stated[1:]:
        what = f"{stated[0].path} and {store.path} hold features made with different versions"
        if note := versions_note(stated[0].versions, store.versions, what):
            reporter.say(note)


def _check_records(
    store: GraphStore, shards: Sequence[GraphStore], reporter: Reporter, progress: Progress
) -> list[tuple[str, GraphStore, int]]:
    """What to copy, in key order: video, where it comes from, its bytes. Every record of the shards has been read."""

    keys = [[(video.encode(), place) for video in shard] for place, shard in enumerate(shards)]
    total, done = sum(len(entries) for entries in keys), 0
    wanted, broken, unlike = [], [], []
    # Merged from sorted lists, so that a copy of a video is met next to the first, and one record is in memory.
    for key, entries in groupby(heapq.merge(*keys), key=lambda entry: entry[0]):
        video, holders = key.decode(), [shards[place] for _, place in entries]
        done += len(holders)
        records = []
        # The target's own record first: it is what copies are compared with, as it stays.
        for holder in [store, *holders] if video in store else holders:
            try:
                records.append((holder, holder.record(video)))
            except StoreError as error:
                broken.append(str(error))
        unlike += [
            f"{video!r} in {records[0][0].path} and {other.path}"
            for other, record in records[1:]
            if record != records[0][1]
        ]
        if video not in store and records:
            wanted.append((video, records[0][0], len(records[0][1])))
        progress(done, total)
    # Listed whole before the refusal: one run shows all that is to be mended.
    _list(reporter, broken + unlike)
    if broken:
        raise StgError(
            f"{len(broken)} of {counted(total, 'record')} broken, so nothing was merged: extract these videos again, "
            f"or restore their store from a copy; the first is {broken[0]}"
        )
    if unlike:
        raise UserError(
            f"{counted(len(unlike), 'video', 'has', 'have')} different bytes in two stores, so nothing was merged: "
            f"leave one store out; the first is {unlike[0]}"
        )
    return wanted


def _chunks(wanted: Sequence[tuple[str, GraphStore, int]]) -> Iterator[list[tuple[str, GraphStore, int]]]:
    """Runs of records that fill a transaction."""
    chunk: list[tuple[str, GraphStore, int]] = []
    filled = 0
    for entry in wanted:
        # A record larger than a chunk is one by itself.
        if chunk and filled + entry[2] > CHUNK:
            yield chunk
            chunk, filled = [], 0
        chunk.append(entry)
        filled += entry[2]
    if chunk:
        yield chunk


def _joined(names: Sequence[str]) -> list[bytes]:
    """The lines of several JSON lines files, each line once, in the order of the files."""
    lines: dict[bytes, None] = {}
    for name in names:
        *content, last = (read_bytes(name) if Path(name).exists() else b"").split(b"\n")
        for number, line in enumerate([*content, last], 1):
            try:
                row: Any = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:
                if number > len(content):  # a writer was killed within it
                    continue
                raise UserError(f"{name} line {number} is not JSON ({error}): take it out, then merge again") from error
            if row is not None:
                # A dict as an ordered set: shards that were merged before have lines in common.
                lines[line] = None
    return list(lines)


def _list(reporter: Reporter, lines: Sequence[str]) -> None:
    for line in lines[:LISTED]:
        reporter.say(line)
    if len(lines) > LISTED:
        reporter.say(f"... and {len(lines) - LISTED} more")
