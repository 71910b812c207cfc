"""Clips into a store of object graphs, in one call. Imports no torch before all files are known to be there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
from stg.runtime.reporter import SILENT, Reporter
from stg.video.clips import ClipList, by_id, list_clips
from stg.vision.registry import locate

if TYPE_CHECKING:
    from stg.features.ingestion import IngestReport


def extract(
    clips: Sequence[str | Path] | ClipList,
    out: str | Path,
    *,
    networks: NetworkConfig | None = None,
    sampling: SamplingConfig | None = None,
    execution: ExecutionConfig | None = None,
    engine: Literal["local", "ray"] = "local",
    features_dtype: Literal["float16", "float32"] | None = None,
    strict: bool = False,
    reporter: Reporter = SILENT,
) -> "IngestReport":
    """Turn clips into a store of object graphs; clips that it holds already are left out.

    Under torchrun each process takes its share of the clips and writes a shard ``OUT.rank0of2``, ... Clips that cannot
    be used are listed in ``STORE.skipped.jsonl``, facts of the others in ``STORE.clips.jsonl``.

    Args:
        clips: video files, or folders of them; or what :func:`stg.video.clips.list_clips` found.
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
    found = clips if isinstance(clips, ClipList) else list_clips(tuple(map(str, clips)))
    paths = by_id(found.paths)
    if found.left_out:
        reporter.say(found.left_out)
    files = locate(networks, fetch=execution.download)

    # Only now, when nothing is missing, torch is loaded, which takes seconds.
    from stg.features.extraction_job import ExtractionJob

    job = ExtractionJob(networks, sampling, execution, files)
    return job.run(paths, out, ray=engine == "ray", features_dtype=features_dtype, strict=strict, reporter=reporter)
