"""The share of one process in an extraction: its networks, its clips, its store."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from graphs import GraphStore
from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
from stg.data.shards import done_elsewhere, rank_and_world, shard, shard_path, shard_paths
from stg.features.build import make_extractor
from stg.features.ingestion import IngestReport, ingest, source_of
from stg.features.log import ExtractionLog
from stg.features.ray import ingest_with_ray
from stg.runtime.errors import Preempted
from stg.runtime.reading import Spellings, normal_id
from stg.runtime.reporter import Progress, Reporter
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
            if ray:
                reporter.say("starting Ray: the first clips come after about a minute")
            try:
                log = ExtractionLog(target)
                report = (self._with_ray if ray else self._here)(store, clips, log, progress)
                log.settle(store)
            # Every clip that is done lies in the store already, so that a stop loses the work of one group.
            except KeyboardInterrupt:
                held = sum(video in store for video in clips)
                raise Preempted(
                    f"stopped: {held} of {len(clips)} clips are in {target}; the same command resumes from there"
                ) from None
        # They count as done by others, not as skipped.
        left = tuple(video for video in share if spelt(video) not in clips)
        return replace(report, store=target, elsewhere=left, wall=time.perf_counter() - start)

    def _here(
        self, store: GraphStore, clips: Mapping[str, Path], log: ExtractionLog, progress: Progress
    ) -> IngestReport:
        work, request = self.execution, self.extractor.request()
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
