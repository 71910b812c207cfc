"""A run folder as read for its page: settings, how far it is, what was logged, and its evaluations."""

import json
import math
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stg.config.search import SearchConfig
from stg.config.training import FitConfig
from stg.evaluation.evaluate import file_stem
from stg.runs.folder import load_config
from stg.runs.model_file import MODEL_FILE, WHOLE_FILE
from stg.runtime.errors import UserError
from stg.runtime.reading import read_json

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Evaluation:
    """The captions that `stg.evaluate` wrote of one split and search.

    Args:
        split, search: as `stg.evaluate` calls them: ``val``, ``beam 5``.
        captions: their file.
        record: what the file of scores says; empty where the captions of the split are withheld.
        events: scores by the event that a caption names; on the built-in world, where they were made.
    """

    split: str
    search: str
    captions: Path
    record: Mapping[str, Any]
    events: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a run folder holds.

    Args:
        name: of the folder.
        shown: how a command names the folder, without telling where it lies.
        config: its settings.
        state: what ``state.json`` says.
        steps: name -> one value a logged step, NaN where a step has none.
        validations: rows of validations, in order.
        broken: step and videos of the steps that were not applied.
        unread: how many lines of ``metrics.jsonl`` could not be read.
        weights: how many the model has that captions, and the whole one; None where it is not there.
        began, ended: first and last time in the log; empty where there is none.
        evaluations: in the order of split and search.
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

    @cached_property
    def best(self) -> Mapping[str, Any] | None:
        """The validation that the model was kept of: the first with the highest CIDEr (BLEU-4 where there is none)."""
        judged = [(found, row) for row in self.validations if (found := judge(row)) is not None]
        return max(judged, key=lambda pair: pair[0])[1] if judged else None


def read_run(folder: str | Path) -> RunRecord:
    """Read a run folder, finished or not.

    Raises:
        UserError: it is no run folder, or one of its files is not what `stg.fit` or `stg.evaluate` writes.
    """
    folder = Path(folder)
    config = load_config(folder)
    state = read_json(folder / "state.json") if (folder / "state.json").exists() else {}
    if not isinstance(state, dict):
        raise UserError(f"{folder / 'state.json'} must hold an object, got {state!r:.80}")
    rows, unread = _read_rows(folder / "metrics.jsonl")
    times = _read_times(folder / "train.log")
    return RunRecord(
        name=folder.resolve().name,
        shown=_shown(folder),
        config=config,
        state=state,
        steps=_columns([row for row in rows if row["kind"] == "step"]),
        validations=tuple(row for row in rows if row["kind"] == "validation"),
        broken=tuple((float(row["step"]), _videos(row)) for row in rows if row["kind"] == "broken"),
        unread=unread,
        weights=_read_weights(folder),
        began=times[0],
        ended=times[1],
        evaluations=_read_evaluations(folder / "evaluation"),
    )


def judge(row: Mapping[str, Any]) -> float | None:
    """What a validation is judged by; None where that is not a number."""
    return number(row.get("cider", row.get("bleu4")))


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _shown(folder: Path) -> str:
    inside = os.path.relpath(folder)
    return shlex.quote(folder.resolve().name if inside.startswith("..") or inside == "." else inside)


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    if not path.exists():
        return [], 0
    rows, unread = [], 0
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if isinstance(row, dict) and isinstance(row.get("kind"), str) and number(row.get("step")) is not None:
                    rows.append(row)
                else:
                    unread += bool(line.strip())
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error
    return rows, unread


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
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


def _read_times(path: Path) -> tuple[str, str]:
    if not path.exists():
        return "", ""
    with open(path, encoding="utf-8", errors="replace") as file:
        times = [match[0] for line in file if (match := STAMP.match(line))]
    return (times[0], times[-1]) if times else ("", "")


def _read_weights(folder: Path) -> dict[str, int]:
    """Numbers of weights of the model that captions and of the whole one, read off the files' headers."""
    found = {}
    for name in (MODEL_FILE, WHOLE_FILE):
        path = folder / name
        if not path.exists():
            continue
        try:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, path.stat().st_size)))
            # Means and deviations of features are kept beside the weights and are none.
            shapes = [entry["shape"] for key, entry in header.items() if not key.startswith(("__", "standardise."))]
            found[name] = sum(math.prod(shape) for shape in shapes)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is not a model of ours, or is damaged: {error}") from error
    return found


def _read_evaluations(folder: Path) -> tuple[Evaluation, ...]:
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.stem.endswith(("-scores", "-events", "-nbest")):
            continue
        record, events = (
            read_json(other) if (other := folder / f"{path.stem}-{kind}.json").exists() else {}
            for kind in ("scores", "events")
        )
        if (
            not isinstance(record, dict)
            or not isinstance(record.get("scores", {}), dict)
            or not isinstance(events, dict)
        ):
            raise UserError(f"{folder}/{path.stem}-scores.json is not what stg.evaluate writes")
        split, _, rest = path.stem.partition("-")
        search = _search_name(path.stem, split, record) or rest or path.stem
        found.append(Evaluation(split, search, path, record, events))
    order = ("val", "test", "train")
    return tuple(
        sorted(found, key=lambda one: (order.index(one.split) if one.split in order else len(order), one.split))
    )


def _search_name(stem: str, split: str, record: Mapping[str, Any]) -> str | None:
    """The search as `stg.evaluate` names it, where its settings give the name of the file."""
    try:
        name = SearchConfig(**record["search"]).name
    except (KeyError, TypeError, ValueError):
        return None
    return next((each for each in (name, f"{name}, no class") if file_stem(split, each) == stem), None)
