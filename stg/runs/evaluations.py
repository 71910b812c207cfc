"""What `stg.evaluate` leaves in a run folder: the names of its files, and what is in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stg.config.search import SearchConfig
from stg.runtime.errors import UserError
from stg.runtime.reading import number, read_json

SPLITS = ("val", "test", "train")
"""The order in which splits are listed; others follow."""


def file_stem(split: str, name: str) -> str:
    """What the names of the files of a search begin with: ``test-beam5``, ``test-greedy-noclass``."""
    return f"{split}-{name.replace(', ', '-').replace(' ', '')}"


@dataclass(frozen=True)
class Evaluation:
    """The captions that `stg.evaluate` wrote of one split and search.

    Args:
        split, search: as `stg.evaluate` calls them: ``val``, ``beam 5``.
        captions: their file.
        record: what the file of scores says; empty where the captions of the split are withheld.
        events: scores by the event that a caption names; on the built-in world, where they were made.
        dataset: which data set of a run that has learned from several; empty: the first.
    """

    split: str
    search: str
    captions: Path
    record: Mapping[str, Any]
    events: Mapping[str, Any]
    dataset: str = ""

    @property
    def title(self) -> str:
        """What scores of it are called."""
        return ", ".join(filter(None, (self.dataset, self.split, self.search)))


def read_evaluations(folder: Path, datasets: Iterable[str] = ()) -> tuple[Evaluation, ...]:
    """All evaluations in a folder, in the order of split and search; then those in the folders of further ``datasets``.

    Raises:
        UserError: a file is not what `stg.evaluate` writes.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        # These accompany captions, and are read with them.
        if path.stem.endswith(("-scores", "-events", "-nbest", "-calibration")):
            continue
        record, events = (
            read_scores(other) if (other := folder / f"{path.stem}-{kind}.json").exists() else {}
            for kind in ("scores", "events")
        )
        split, _, rest = path.stem.partition("-")
        # Captions without scores name their search in their file's name only.
        search = _search_name(path.stem, split, record) or rest or path.stem
        found.append(Evaluation(split, search, path, record, events))
    found.sort(key=lambda one: (SPLITS.index(one.split) if one.split in SPLITS else len(SPLITS), one.split))
    return (*found, *(replace(one, dataset=name) for name in datasets for one in read_evaluations(folder / name)))


def read_scores(path: Path) -> dict[str, Any]:
    """The scores of an evaluation, or those of its events.

    Raises:
        UserError: the file is not what `stg.evaluate` writes.
    """
    record = read_json(path)
    whole = isinstance(record, dict)
    for part in ("scores", "unavailable", "verbs", "search"):
        whole = whole and isinstance(record.get(part) or {}, dict)
    if not whole or not all(
        value is None or number(value) is not None for value in (record.get("scores") or {}).values()
    ):
        raise UserError(f"{path} is not what stg.evaluate writes: evaluate the run again")
    for verb in (record.get("verbs") or {}).values():
        if not isinstance(verb, dict) or number(verb.get("right")) is None:
            raise UserError(f"{path} is not what stg.evaluate writes: 'verbs' must have a share each")
    return {**record, "scores": record.get("scores") or {}}


def _search_name(stem: str, split: str, record: Mapping[str, Any]) -> str | None:
    """The search as `stg.evaluate` names it, where its settings give the name of the file."""
    try:
        name = SearchConfig(**record["search"]).name
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return next((each for each in (name, f"{name}, no class") if file_stem(split, each) == stem), None)
