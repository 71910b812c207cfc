"""A run folder as read for its page: settings, how far it is, what was logged, and its evaluations."""

import os
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stg.config.training import FitConfig
from stg.runs.calibration import Calibration, run_calibrations
from stg.runs.evaluations import Evaluation
from stg.runs.folder import RunFolder
from stg.runtime.reading import number


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a run folder holds.

    Args:
        name: of the folder.
        shown: how a command names the folder, without its place on this machine.
        config: its settings.
        state: what ``state.json`` says.
        steps: name -> one value a logged step, NaN where a step has none.
        validations: rows of validations, in order.
        broken: step and videos of the steps that were not applied.
        unread: how many lines of ``metrics.jsonl`` could not be read.
        weights: how many the model has that captions, and the whole one; None where it is not there.
        began, ended: first and last time in the log; empty if missing.
        evaluations: in the order of split and search.
        calibrations: of the model's confidence, one a search.
    """

    name: str
    shown: str
    config: FitConfig
    state: Mapping[str, Any]
    steps: Mapping[str, np.ndarray]
    validations: tuple[Mapping[str, Any], ...]
    broken: tuple[tuple[float, str], ...]
    unread: int
    weights: Mapping[str, int]
    began: str
    ended: str
    evaluations: tuple[Evaluation, ...]
    calibrations: tuple[Calibration, ...] = ()

    @cached_property
    def best(self) -> Mapping[str, Any] | None:
        """The validation that the model was kept of: the first with the highest CIDEr (BLEU-4 if missing)."""
        judged = [(found, row) for row in self.validations if (found := judge(row)) is not None]
        return max(judged, key=lambda pair: pair[0])[1] if judged else None


def read_run(folder: str | Path) -> RunRecord:
    """Read a run folder, finished or not.

    Raises:
        UserError: it is no run folder, or one of its files is not what `stg.fit` or `stg.evaluate` writes.
    """
    run = RunFolder(folder)
    # Read once, at one time: a training may be writing this folder meanwhile.
    config, state, metrics, times = run.config, run.state, run.metrics, run.times
    return RunRecord(
        name=run.path.resolve().name,
        shown=_shown(run.path),
        config=config,
        state=state,
        steps=_columns(metrics.of_kind("step")),
        validations=tuple(metrics.of_kind("validation")),
        broken=tuple((float(row["step"]), _videos(row)) for row in metrics.of_kind("broken")),
        unread=metrics.unread,
        weights=run.weights,
        began=times[0],
        ended=times[1],
        evaluations=run.evaluations,
        # Those of other weights say nothing of this model.
        calibrations=tuple(run_calibrations(run.model_file)[0].values()),
    )


def judge(row: Mapping[str, Any]) -> float | None:
    """What a validation is judged by; None where that is not a number."""
    return number(row.get("cider", row.get("bleu4")))


def _shown(folder: Path) -> str:
    inside = os.path.relpath(folder)
    return shlex.quote(folder.resolve().name if inside.startswith("..") or inside == "." else inside)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """All names that some row has; what is no finite number is NaN."""
    found: defaultdict[str, np.ndarray] = defaultdict(lambda: np.full(len(rows), np.nan))
    for place, row in enumerate(rows):
        for name, value in row.items():
            if (known := number(value)) is not None:
                found[name][place] = known
    return dict(found)


def _videos(row: Mapping[str, Any]) -> str:
    videos = row.get("videos")
    named = [str(video) for video in videos] if isinstance(videos, list) else []
    return f"step {row['step']} was not applied; videos: {', '.join(named[:4])}" + " ..." * (len(named) > 4)
