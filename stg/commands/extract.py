"""Turn clips into a store of object graphs."""

import os
import time

import torch
from rich.console import Console
from rich.markup import escape

from graphs import GraphStore
from stg.config.extraction import ExtractConfig
from stg.data.shards import done_elsewhere, rank_and_world, shard, shard_path, shard_paths
from stg.features.build import make_extractor
from stg.features.ingest import IngestReport, ingest
from stg.features.ray import ingest_with_ray
from stg.runtime.errors import Preempted, TooManySkipped
from stg.runtime.progress import progress_bar
from stg.runtime.signals import interrupted_by_sigterm
from stg.video.clips import find_clips
from stg.video.readers import Readers
from stg.vision.registry import execution_for, locate


def main(config: ExtractConfig) -> int:
    """Extract the clips; returns 0, or raises what the command turns into an exit code."""

    clips = find_clips(config.clips)
    files = locate(config, fetch=config.download)  # before anything slow is loaded

    rank, world = rank_and_world(os.environ)
    out = shard_path(config.out, rank, world)
    out.parent.mkdir(parents=True, exist_ok=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    extractor, motion = make_extractor(config, config, execution_for(config, config.num_frames), files)
    manifest = extractor.manifest()
    if motion is not None:
        manifest["motion"] = motion.manifest()
    elsewhere = done_elsewhere(config.out, manifest) if world > 1 or shard_paths(config.out) else set()
    logs = {"skip_log": f"{out}.skipped.jsonl", "clip_log": f"{out}.clips.jsonl"}
    console, start = Console(soft_wrap=True), time.perf_counter()
    store = GraphStore(out, "a", config.features_dtype, manifest=manifest, strict=config.strict)
    with (
        store,
        interrupted_by_sigterm(),
        progress_bar(console, "extracting") as progress,
    ):
        share = shard(list(clips), rank, world)
        asked = {video: clips[video] for video in share if video in store or video not in elsewhere}
        try:
            if config.engine == "ray":
                console.print("starting Ray: the first clips come after about a minute")
                report = ingest_with_ray(config, store, asked, progress, **logs)
            else:
                request = extractor.request(config.max_pixels, config.min_frames)
                with Readers(request, config.workers, config.time_limit, int(config.memory_gb * 2**30)) as readers:
                    report = ingest(
                        store,
                        list(asked),
                        lambda videos: readers.open({video: asked[video] for video in videos}),
                        extractor,
                        motion,
                        group=config.group,
                        manifest=manifest,
                        progress=progress,
                        **logs,
                    )
        except KeyboardInterrupt:
            held = sum(video in store for video in asked)
            raise Preempted(
                f"stopped: {held} of {len(asked)} clips are in {out}; the same command goes on from there"
            ) from None
    _summarise(console, report, str(out), logs["skip_log"], time.perf_counter() - start)
    if others := len(share) - len(asked):
        console.print(f"{others} clips are in other shards of {escape(config.out)}: join them with stg.store merge")
    if len(report.skipped) > config.max_skip * len(asked):
        raise TooManySkipped(
            f"{len(report.skipped)} of {len(asked)} clips were skipped, more than --max_skip {config.max_skip:g}: "
            f"{logs['skip_log']} says why; all others are in {out}"
        )
    return 0


def _summarise(console: Console, report: IngestReport, out: str, skip_log: str, seconds: float) -> None:

    rate = f" ({60 * len(report.done) / seconds:.0f} clips a minute)" if seconds and report.done else ""
    console.print(f"{escape(out)}: {len(report.done)} clips added{rate}, {len(report.already)} there before")
    if report.seconds:
        spent = ", ".join(f"{stage} {value:.0f} s" for stage, value in report.seconds.items())
        console.print(f"time by stage (reading runs beside the others): {spent}")
    if report.skipped:
        console.print(f"{len(report.skipped)} clips skipped, with the reasons in {escape(skip_log)}")
