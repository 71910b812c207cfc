"""The share of one process in an extraction: its networks, its clips, its store."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from graphs import GraphStore
from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
from stg.data.feature_check import versions_note, versions_now
from stg.data.shards import done_elsewhere, rank_and_world, shard, shard_path, shard_paths
from stg.features.build import make_extractor
from stg.features.ingestion import IngestReport, ingest, source_of
from stg.features.log import ExtractionLog, compare
from stg.features.ray import ingest_with_ray
from stg.runtime.errors import Preempted, UserError
from stg.runtime.reading import Spellings, counted, normal_id, open_regular, some
from stg.runtime.reporter import Progress, Reporter
from stg.runtime.stamps import read_of
from stg.video.readers import Readers
from stg.vision.registry import Files, execution_for


class ExtractionJob:
    """Networks, ready to turn clips into a store.

    Args:
        networks, sampling, execution: as in :func:`stg.features.extract`.
        files: of the networks.
    """

    def __init__(
        self, networks: NetworkConfig, sampling: SamplingConfig, execution: ExecutionConfig, files: Files
    ) -> None:
        # From the environment, as torchrun sets it: extraction needs no group of processes.
        self.rank, self.world = rank_and_world(os.environ)
        self.networks, self.sampling, self.execution = networks, sampling, execution
        if execution.threads:
            torch.set_num_threads(execution.threads)
        # Networks before the store is opened: one that cannot be built leaves no empty store behind.
        settings = execution_for(execution, sampling.num_frames)
        self.extractor, self.motion = make_extractor(networks, sampling, settings, files)
        self.manifest = self.extractor.manifest()
        if self.motion is not None:
            self.manifest["motion"] = self.motion.manifest()
        self.versions = versions_now(self.manifest)

    def run(
        self,
        paths: Mapping[str, Path],
        out: str | Path,
        *,
        ray: bool,
        features_dtype: Literal["float16", "float32"] | None,
        strict: bool,
        reporter: Reporter,
    ) -> IngestReport:
        """Put the graphs of this process's share of the clips into its store; ``paths`` are by id."""
        target = shard_path(out, self.rank, self.world)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Videos of the merged store and of other shards are not extracted twice, whatever the number of ranks then.
        others = done_elsewhere(out, self.manifest) if self.world > 1 or shard_paths(out) else set()
        elsewhere = {normal_id(video) for video in others}
        start = time.perf_counter()
        with (
            GraphStore(target, "a", features_dtype, manifest=self.manifest, strict=strict) as store,
            reporter.bar("extracting") as progress,
        ):
            # The whole list is divided before anything is left out: ranks list the shards at different moments.
            share = shard(list(paths), self.rank, self.world)
            spelt = Spellings(store.keys(), target)
            clips = {name: paths[video] for video in share if (name := spelt(video)) in store or video not in elsewhere}
            log = ExtractionLog(target)
            self._compare(log, {video: path for video, path in clips.items() if video in store}, reporter)
            left = tuple(video for video in share if spelt(video) not in clips)
            _refuse_replaced_elsewhere(out, {video: paths[video] for video in left})
            self._state_versions(store, not all(log.holds(store, video) for video in clips), reporter)
            if ray:
                reporter.say("starting Ray: the first clips come after about a minute")
            try:
                report = (self._with_ray if ray else self._here)(store, clips, log, progress)
                log.settle(set(store.keys()) - set(report.skipped))
            # Every clip that is done lies in the store already, so that a stop loses the work of one group.
            except KeyboardInterrupt:
                held = sum(video in store for video in clips)
                raise Preempted(
                    f"stopped: {held} of {len(clips)} clips are in {target}; the same command resumes from there"
                ) from None
        if kept := [video for video in report.skipped if video in log.remake]:
            reporter.say(f"{target} still holds the former graphs of clips that could not be made again: {some(kept)}")
        remade = tuple(video for video in report.done if video in log.remake)
        # Those of other shards count as done by others, not as skipped.
        return replace(report, store=target, elsewhere=left, wall=time.perf_counter() - start, remade=remade)

    def _compare(self, log: ExtractionLog, clips: Mapping[str, Path], reporter: Reporter) -> None:
        """See whether stored clips are still the same files; those that are not are made again, where that is wished.

        Raises:
            UserError: clips have been replaced, and nobody said what to do.
        """
        rows = log.rows()
        found = compare(rows, clips)
        for row in found.touched.values():
            log.note(row)
        if found.unknown:
            advice = "nobody knows whether the files are still the same; --refresh takes them for the same"
            if self.execution.refresh:
                for video in found.unknown:
                    _note_hash(log, video, rows, clips[video])
                advice = "taken for the same files; their hashes are noted now"
            reporter.say(
                f"{counted(len(found.unknown), 'stored clip')} without a hash in {log.clips}, as of an earlier version "
                f"({some(found.unknown)}): {advice}"
            )
        log.remake.update(found.replaced)
        if found.replaced and not self.execution.refresh:
            raise UserError(f"{found.words()}: add --refresh to make their graphs again, or put the old files back")

    def _state_versions(self, store: GraphStore, adds: bool, reporter: Reporter) -> None:
        what = f"{store.path} holds features made with other versions than are installed here"
        note = versions_note(store.versions, [self.versions], what)
        # Nothing is mixed where all is done.
        if note and adds:
            reporter.say(note)
        store.state_versions(self.versions)

    def _here(
        self, store: GraphStore, clips: Mapping[str, Path], log: ExtractionLog, progress: Progress
    ) -> IngestReport:
        work, request = self.execution, replace(self.extractor.request(), identity=True)
        with Readers(request, work.workers, work.time_limit, int(work.memory_gb * 2**30)) as readers:
            return ingest(
                store,
                list(clips),
                source_of(readers, clips),
                self.extractor,
                self.motion,
                group=work.group,
                manifest=self.manifest,
                progress=progress,
                log=log,
            )

    def _with_ray(
        self, store: GraphStore, clips: Mapping[str, Path], log: ExtractionLog, progress: Progress
    ) -> IngestReport:
        return ingest_with_ray(store, clips, self.networks, self.sampling, self.execution, log=log, progress=progress)


def _note_hash(log: ExtractionLog, video: str, rows: Mapping[str, dict[str, Any]], path: Path) -> None:
    """Note what a stored clip is today, so that the next call can compare it; one that cannot be read stays unknown."""
    with suppress(OSError, UserError), open_regular(path) as file:
        log.note({"id": video} | rows.get(normal_id(video), {}) | read_of(file).row())


def _refuse_replaced_elsewhere(out: str | Path, clips: Mapping[str, Path]) -> None:
    """Refuse clips that have been replaced and whose graphs this process does not write."""
    rows: dict[str, dict[str, Any]] = {}
    # The merged store comes last and so decides, as it holds what became of the shards.
    for path in reversed([Path(out), *shard_paths(out)]) if clips else ():
        rows |= ExtractionLog(path).rows()
    if (found := compare(rows, clips)).replaced:
        raise UserError(
            f"{found.words()}; their graphs are in {out} or other shards of it: join these with stg.store merge, "
            "then add --refresh in one process, or put the old files back"
        )
