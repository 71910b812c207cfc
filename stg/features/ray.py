"""Extraction with the workers of a Ray cluster (``--engine ray``)."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graphs import GraphStore, StoreError, StoreFullError
from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
from stg.config.plugins import load_plugin, loaded_plugins
from stg.features.ingestion import IngestReport
from stg.features.log import ExtractionLog
from stg.features.ray_job import extract_with_ray
from stg.features.worker import ClipToRecord, unpack
from stg.runtime.device import pick_device
from stg.runtime.reporter import Progress
from stg.video.decoding import VideoError
from stg.vision.onnx import available_cores


def ingest_with_ray(
    store: GraphStore,
    clips: Mapping[str, Path],
    networks: NetworkConfig,
    sampling: SamplingConfig,
    execution: ExecutionConfig,
    *,
    log: ExtractionLog,
    progress: Progress,
) -> IngestReport:
    """What :func:`stg.features.ingest` does, with ``execution.workers`` workers of Ray; arguments as there."""
    already = tuple(video for video in clips if log.holds(store, video))
    held = set(already)
    waiting = {video: path for video, path in clips.items() if video not in held}
    workers = max(execution.workers, 1)
    # Each worker would take all cores otherwise, and they would hinder each other.
    threads = execution.threads or max(1, available_cores() // workers)
    settings = {"networks": networks, "sampling": sampling, "work": replace(execution, threads=threads)}
    settings |= {"features_dtype": store.features_dtype}
    # Workers may run in another folder, where a relative path would lead nowhere.
    settings |= {"plugins": [os.path.abspath(one) if one.endswith(".py") else one for one in loaded_plugins()]}
    done: list[str] = []
    skipped: list[str] = []
    progress(len(already), len(clips))
    # Ray gives each worker a GPU of its own.
    gpus = 1.0 if str(pick_device(execution.device)).startswith("cuda") else 0.0
    for row in extract_with_ray(waiting, settings, ray_worker, workers, gpus):
        problem, kind = row.error, row.kind
        if row.record is not None:
            facts, record = unpack(row.record)
            try:
                with log.clip(facts):
                    store.put_records([(row.video, record)])
            # Nothing more can be stored, so the job ends; any other refusal concerns one clip.
            except StoreFullError:
                raise
            except StoreError as error:
                problem, kind = str(error), "StoreError"
        if problem is None:
            done.append(row.video)
        else:
            skipped.append(row.video)
            log.skip(row.video, row.stage or "store", VideoError(problem), kind)
        progress(len(already) + len(done) + len(skipped), len(clips))
    return IngestReport(tuple(done), already, tuple(skipped), {})


def ray_worker(settings: dict[str, Any]) -> ClipToRecord:
    """What each of Ray's workers builds from the options of the command."""
    # A worker is another process, maybe on another machine: what the plugins registered here is not there.
    options = dict(settings)
    for plugin in options.pop("plugins"):
        load_plugin(plugin)
    torch.set_num_threads(settings["work"].threads)
    return ClipToRecord(**options)
