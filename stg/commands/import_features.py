"""Import features that others have extracted."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from graphs import GraphStore, StoreFullError, flat_graph
from stg.config.extraction import ImportConfig
from stg.features.log import ExtractionLog
from stg.features.precomputed.description import Description
from stg.features.precomputed.importer import Importer
from stg.features.precomputed.sources import SourceList
from stg.runtime.errors import Preempted, TooManySkipped, UserError
from stg.runtime.files import noted
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import Spellings, counted, some
from stg.runtime.reporter import Progress
from stg.runtime.signals import interrupted_by_sigterm


def main(config: ImportConfig) -> int:
    """Import the features; returns 0, or raises what the command turns into an exit code."""
    description = Description.read(config.description)
    log = ExtractionLog(config.out, clips=False)
    log.skips.parent.mkdir(parents=True, exist_ok=True)
    reporter = ConsoleReporter(Console(soft_wrap=True))
    with (
        interrupted_by_sigterm(),
        closing(Importer(description, Path(config.description).parent, download=config.download)) as importer,
        GraphStore(config.out, "a", config.features_dtype, strict=config.strict) as store,
        reporter.bar("importing") as progress,
    ):
        store.require_manifest(importer.manifest())
        videos = importer.videos
        work = _Import(config, importer, store, log)
        try:
            # Videos of an earlier import are checked first: a source that has changed must not be mixed in.
            work.compare(progress)
            work.add(progress)
            log.settle(set(store.keys()) - set(work.skipped))
        except KeyboardInterrupt:
            raise Preempted(
                f"stopped: {sum(video in store for video in videos)} of {len(videos)} videos are in {config.out}; the "
                "same command resumes from there"
            ) from None
    if work.unknown:
        reporter.say(
            f"{counted(len(work.unknown), 'video')} of {config.out} without a note in {work.sources.path} "
            f"({some(work.unknown)}): nobody knows whether the features are still the same; --refresh imports them anew"
        )
    if kept := [video for video in work.skipped if video in work.changed]:
        reporter.say(f"{config.out} still holds the former graphs of videos that could not be made again: {some(kept)}")
    again = f"{len(work.changed) - len(kept)} made again, " if work.changed else ""
    added = len(work.waiting) - len(work.skipped) + len(kept)
    there = len(work.held) - len(work.changed)
    reporter.say(
        f"{config.out}: {counted(added, 'video')} added, {again}{there} there before, {len(work.skipped)} skipped"
    )
    if len(work.skipped) > config.max_skip * len(videos):
        raise TooManySkipped(
            f"{len(work.skipped)} of {len(videos)} videos were skipped, more than --max_skip {config.max_skip:g}: "
            f"{log.skips} says why (the first: {work.reason}); all others are in {config.out}"
        )
    return 0


class _Import:
    """What one call works with, and what became of its videos so far."""

    def __init__(self, config: ImportConfig, importer: Importer, store: GraphStore, log: ExtractionLog) -> None:
        self.config, self.importer, self.store, self.log = config, importer, store, log
        self.sources = SourceList(f"{config.out}.sources.jsonl")
        self.spelt = Spellings(store.keys(), config.out)
        # An import that was stopped resumes: what is in the store is not read again, only compared.
        self.held = [video for video in importer.videos if self.spelt(video) in store]
        self.waiting = sorted(set(importer.videos).difference(self.held))
        self.unknown: list[str] = []
        self.changed = set[str]()
        self.skipped: list[str] = []
        self.reason = ""

    def compare(self, progress: Progress) -> None:
        """See that stored videos would be made from the same contents today; with --refresh, note which would not."""
        for checked, video in enumerate(self.held, 1):
            before = self.sources.get(video)
            try:
                if before is not None and (now := self.importer.check(video, before)) != before:
                    self.sources.add(video, now)
            except UserError:
                if not self.config.refresh:
                    raise
                self.changed.add(video)
            # Stored without a note of its source, as by an earlier version: that is reported, not refused.
            if before is None:
                (self.changed.add if self.config.refresh else self.unknown.append)(video)
            progress(checked - len(self.changed), len(self.importer.videos))

    def add(self, progress: Progress) -> None:
        """Import what is not there yet, or has changed."""
        done = len(self.held) - len(self.changed)
        for count, video in enumerate([*sorted(self.changed), *self.waiting], done + 1):
            try:
                features, origin = self.importer(video, self.store.features_dtype)
                key = self.spelt(video)
                graph = flat_graph(replace(features, video=key))
                with noted(partial(self.sources.add, video, origin), replaces=video in self.changed):
                    self.store.put(key, graph)
            # A full disk is no fault of the video: it ends the command.
            except StoreFullError:
                raise
            except ValueError as error:
                self.skipped.append(video)
                self.reason = self.reason or str(error)
                self.log.skip(video, "import", error)
            progress(count, len(self.importer.videos))
