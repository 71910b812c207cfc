"""JSON files of other hands: each value knows the file and the place that it stands in, for the errors about it."""

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

_LARGEST = 3e38  # of float32, in which boxes and scores are kept


class Entry(NamedTuple):
    """A value of a JSON file; what it is asked for and is not, is refused with a ValueError that names the place."""

    value: Any
    path: Path
    place: str

    def fault(self, problem: str) -> ValueError:
        """The error that names the file and the place."""
        return ValueError(f"{self.path}: {self.place}{': ' if self.place else ''}{problem}")

    def members(self, required: str = "", optional: str | None = "") -> "dict[str, Entry]":
        """The members of an object.

        Args:
            required: keys that must be there, in one string.
            optional: keys that may be there; None: any.
        """
        if not isinstance(self.value, dict):
            raise self.fault(f"must be an object, got {_brief(self.value)}")
        if isinstance(self.value, _Doubled):
            raise self.fault(f"the key {_brief(self.value.key)} is given twice in one object")
        for key in required.split():
            if key not in self.value:
                has = ", ".join(map(repr, self.value)) or "none"
                raise self.fault(f"the key '{key}' is missing; its keys are {_cut(has)}")
        known = [] if optional is None else required.split() + optional.split()
        for key in self.value if known else ():
            if key not in known:
                near = "".join(f"; did you mean {name!r}?" for name in get_close_matches(key, known, 1))
                raise self.fault(f"the key {_brief(key)} is not known: the keys are {', '.join(known)}{near}")
        dot = f"{self.place}, " if self.place else ""
        return {key: Entry(value, self.path, f"{dot}{key!r}") for key, value in self.value.items()}

    def items(self) -> "Iterator[Entry]":
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.fault(f"must be a list, got {_brief(self.value)}")
        for row, value in enumerate(self.value):
            yield Entry(value, self.path, f"{self.place}[{row}]")

    def integer(self, least: int = 0) -> int:
        """A whole number."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
            raise self.fault(f"must be a whole number, {least} or more, got {_brief(self.value)}")
        return value

    def number(self) -> float:
        """A number that is finite, also in single precision."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise self.fault(f"must be a finite number, got {_brief(value)}")
        return float(value)

    def text(self) -> str:
        """A string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.fault(f"must be a string that is not empty, got {_brief(self.value)}")
        return self.value

    def numbers(self, count: int | None = None, meant: str = "numbers") -> list[float]:
        """A list of numbers, of that length."""
        value = self.value
        if not isinstance(value, list) or count not in (None, len(value)):
            raise self.fault(f"must be {meant}, got {_brief(value)}")
        if all(type(item) in (int, float) and abs(item) < _LARGEST for item in value):
            return [float(item) for item in value]
        return [item.number() for item in self.items()]


def read_json(path: str | Path) -> Entry:
    """The content of a JSON file, of a gzip-compressed one where its name ends in ``.gz``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON; the file is named.
    """
    path = Path(path)
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        value = json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    return Entry(value, path, "")


def detections_of(frames: Mapping[int, list[dict[str, Any]]], scored: bool | None) -> dict[int, dict[str, Any]]:
    """Objects of each frame, with box, label, track and score, as `VideoFeatures.from_detections` takes them."""
    return {
        frame: {
            "boxes": [item["box"] for item in items],
            "labels": [item["label"] for item in items],
            "tracks": [item["track"] for item in items],
            "scores": [item["score"] for item in items] if scored else None,
        }
        for frame, items in frames.items()
    }


class _Doubled(dict[str, Any]):
    """An object with a key that is given twice: refused where it is read, as only there its place is known."""

    key = ""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members = _Doubled(members)
        members.key = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return members


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, list) and len(value) > 8:
        return f"a list of {len(value)} items"
    if isinstance(value, float) and math.isnan(value):
        return "NaN: leave the value out where it is not known"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is too large"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**64:
        return "a number that is too large"
    return _cut(json.dumps(value, ensure_ascii=True))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
