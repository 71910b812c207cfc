"""Folders of fusions: captions and scores as in a run folder, chosen from those of several runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from stg.config.training import FitConfig
from stg.runs.folder import RunFolder
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import read_json

FUSION_FILE = "fusion.json"


def write_fusion(folder: Path, runs: Sequence[Path], embedding: Path) -> None:
    """Say whose captions a folder holds; all by their places relative to it, so that they may be moved together."""
    record = {"runs": [os.path.relpath(run, folder) for run in runs], "embedding": os.path.relpath(embedding, folder)}
    write_atomic(folder / FUSION_FILE, json.dumps(record, ensure_ascii=False, indent=1))


def fused_runs(folder: str | Path) -> list[Path]:
    """The runs whose captions a folder holds a choice of; empty for an ordinary run.

    Raises:
        UserError: the file that says so holds something else.
    """
    path = Path(folder) / FUSION_FILE
    if not path.exists():
        return []
    record = read_json(path)
    runs = record.get("runs") if isinstance(record, dict) else None
    if not isinstance(runs, list) or not runs or not all(isinstance(run, str) for run in runs):
        raise UserError(f"{path} must name the runs that were fused: remove its folder, and the same ablation makes it")
    return [Path(folder) / run for run in runs]


def run_settings(folder: str | Path) -> FitConfig:
    """The settings of a run; of a fusion those of its first run, which has the same data and seed.

    Raises:
        UserError: as `RunFolder.config`.
    """
    return RunFolder(next(iter(fused_runs(folder)), folder)).config
