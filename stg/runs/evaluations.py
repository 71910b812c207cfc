"""What `stg.evaluate` leaves in a run folder: the names of its files, and what is in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stg.config.search import SearchConfig
from stg.runtime.errors import UserError
from stg.runtime.reading import read_json

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
    """

    split: str
    search: str
    captions: Path
    record: Mapping[str, Any]
    events: Mapping[str, Any]


def read_evaluations(folder: Path) -> tuple[Evaluation, ...]:
    """All evaluations in a folder, in the order of split and search.

    Raises:
        UserError: a file is not what `stg.evaluate` writes.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        # These accompany captions, and are read with them.
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
        # Captions without scores name their search in their file's name only.
        search = _search_name(path.stem, split, record) or rest or path.stem
        found.append(Evaluation(split, search, path, record, events))
    return tuple(
        sorted(found, key=lambda one: (SPLITS.index(one.split) if one.split in SPLITS else len(SPLITS), one.split))
    )


def _search_name(stem: str, split: str, record: Mapping[str, Any]) -> str | None:
    """The search as `stg.evaluate` names it, where its settings give the name of the file."""
    try:
        name = SearchConfig(**record["search"]).name
    except (KeyError, TypeError, ValueError):
        return None
    return next((each for each in (name, f"{name}, no class") if file_stem(split, each) == stem), None)
