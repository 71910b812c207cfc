"""Clips into a store of object graphs, in one call."""

import os
import time
from collections.abc import Sequence
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
from stg.runtime.reporter import SILENT, Reporter
from stg.video.clips import find_clips
from stg.video.readers import Readers
from stg.vision.registry import execution_for, locate


def extract(
    clips: Sequence[str | Path],
    out: str | Path,
    *,
    networks: NetworkConfig | None = None,
    sampling: SamplingConfig | None = None,
    execution: ExecutionConfig | None = None,
    engine: Literal["local", "ray"] = "local",
    features_dtype: Literal["float16", "float32"] | None = None,
    strict: bool = False,
    reporter: Reporter = SILENT,
) -> IngestReport:
    """Turn clips into a store of object graphs; clips that it holds already are left out.

    Under torchrun each process takes its share of the clips and writes a shard ``OUT.rank0of2``, ... Clips that cannot
    be used are listed in ``STORE.skipped.jsonl``, facts of the others in ``STORE.clips.jsonl``.

    Args:
        clips: video files, or folders of them.
        out: the store; made if it does not exist.
        networks, sampling, execution: as the options of ``stg.extract``; their defaults are the paper's.
        engine: ``ray``: as a Ray Data job of ``execution.workers`` actors.
        features_dtype: how the store keeps features; by default as it does, float16 if it is new.
        strict: refuse a store on a network file system instead of warning.
        reporter: takes the progress.

    Raises:
        UserError: wrong settings, missing clips or weights, a store made otherwise (differences named).
        Preempted: interrupted; the same call resumes.
    """
    networks, sampling = networks or NetworkConfig(), sampling or SamplingConfig()
    execution = execution or ExecutionConfig()
    paths = find_clips(tuple(map(str, clips)))
    files = locate(networks, fetch=execution.download)
    rank, world = rank_and_world(os.environ)
    target = shard_path(out, rank, world)
    target.parent.mkdir(parents=True, exist_ok=True)
    if execution.threads:
        torch.set_num_threads(execution.threads)
    extractor, motion = make_extractor(networks, sampling, execution_for(execution, sampling.num_frames), files)
    manifest = extractor.manifest()
    if motion is not None:
        manifest["motion"] = motion.manifest()
    elsewhere = done_elsewhere(out, manifest) if world > 1 or shard_paths(out) else set()
    log, start = ExtractionLog(target), time.perf_counter()
    with (
        GraphStore(target, "a", features_dtype, manifest=manifest, strict=strict) as store,
        reporter.bar("extracting") as progress,
    ):
        share = shard(list(paths), rank, world)
        asked = {video: paths[video] for video in share if video in store or video not in elsewhere}
        try:
            if engine == "ray":
                reporter.say("starting Ray: the first clips come after about a minute")
                report = ingest_with_ray(store, asked, networks, sampling, execution, log=log, progress=progress)
            else:
                request = extractor.request(sampling.max_pixels, sampling.min_frames)
                memory = int(execution.memory_gb * 2**30)
                with Readers(request, execution.workers, execution.time_limit, memory) as readers:
                    report = ingest(
                        store,
                        list(asked),
                        source_of(readers, asked),
                        extractor,
                        motion,
                        group=execution.group,
                        manifest=manifest,
                        progress=progress,
                        log=log,
                    )
        except KeyboardInterrupt:
            held = sum(video in store for video in asked)
            raise Preempted(
                f"stopped: {held} of {len(asked)} clips are in {target}; the same command goes on from there"
            ) from None
    missing = tuple(video for video in share if video not in asked)
    return replace(report, store=target, elsewhere=missing, wall=time.perf_counter() - start)
