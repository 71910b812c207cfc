"""Import features that others have extracted."""

from contextlib import closing
from pathlib import Path

from rich.console import Console

from graphs import GraphStore, StoreFullError, flat_graph
from stg.config.extraction import ImportConfig
from stg.features.log import ExtractionLog
from stg.features.precomputed.description import Description
from stg.features.precomputed.importer import Importer
from stg.features.precomputed.sources import SourceList
from stg.runtime.errors import Preempted, TooManySkipped
from stg.runtime.progress import ConsoleReporter, progress_bar
from stg.runtime.reading import Spellings, some
from stg.runtime.signals import interrupted_by_sigterm


def main(config: ImportConfig) -> int:
    """Import the features; returns 0, or raises what the command turns into an exit code."""
    description = Description.read(config.description)
    log = ExtractionLog(config.out, clips=False)
    log.skips.parent.mkdir(parents=True, exist_ok=True)
    console = ConsoleReporter(Console(soft_wrap=True, highlight=False, markup=False)).console
    with (
        interrupted_by_sigterm(),
        closing(Importer(description, Path(config.description).parent)) as importer,
        GraphStore(config.out, "a", strict=config.strict) as store,
        progress_bar(console, "importing") as progress,
    ):
        store.require_manifest(importer.manifest())
        sources = SourceList(f"{config.out}.sources.jsonl")
        videos, spelt = importer.videos, Spellings(store.keys(), config.out)
        # An import that was stopped resumes: what is in the store is not read again, only compared.
        held = [video for video in videos if spelt(video) in store]
        waiting = sorted(set(videos).difference(held))
        already, skipped, unknown = len(held), 0, []
        try:
            # Videos of an earlier import are checked first: a source that has changed must not be mixed in.
            for checked, video in enumerate(held, 1):
                # Stored without a note of its source, as by an earlier version: that is reported, not refused.
                if (before := sources.get(video)) is None:
                    unknown.append(video)
                elif (now := importer.check(video, before)) != before:
                    sources.add(video, now)
                progress(checked, len(videos))
            for done, video in enumerate(waiting, 1):
                try:
                    features, origin = importer(video)
                    graph = flat_graph(features)
                    # Noted before it is stored: after a kill a stored video always has its origin.
                    sources.add(video, origin)
                    store.put(video, graph)
                # A full disk is no fault of the video: it ends the command.
                except StoreFullError:
                    raise
                except ValueError as error:
                    skipped += 1
                    log.skip(video, "import", error)
                progress(already + done, len(videos))
            log.settle(store)
        except KeyboardInterrupt:
            raise Preempted(
                f"stopped: {sum(video in store for video in videos)} of {len(videos)} videos are in {config.out}; the "
                "same command resumes from there"
            ) from None
    if unknown:
        console.print(
            f"{len(unknown)} videos of {config.out} are not in {sources.path} ({some(unknown)}): nobody knows whether "
            "their features are still the same"
        )
    console.print(f"{config.out}: {len(waiting) - skipped} videos added, {already} there before, {skipped} skipped")
    if skipped > config.max_skip * len(videos):
        raise TooManySkipped(
            f"{skipped} of {len(videos)} videos were skipped, more than --max_skip {config.max_skip:g}: {log.skips} "
            f"says why; all others are in {config.out}"
        )
    return 0
