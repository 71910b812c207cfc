"""Whatever a file holds, a reader gives videos, or a ValueError with the name of the file."""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.readers.boxes import read_boxes
from graphs.readers.cad120 import read_cad120
from graphs.readers.coco_vid import read_coco_vid
from graphs.readers.mot import read_mot
from tests.graphs.readers.test_boxes import document
from tests.graphs.readers.test_cad120 import CLIP
from tests.graphs.readers.test_coco_vid import FILE

GOOD: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "boxes": (read_boxes, document()),
    "coco_vid": (read_coco_vid, FILE),
    "cad120": (read_cad120, [CLIP]),
}
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -1, 1, 2**31, 2**53, 2**63, 10**400, 1e39, 1.5]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value: the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


def readable(read: Callable[[Path], Any], path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    videos: Any = []
    words = str(path)
    try:
        videos = read(path)
    except ValueError as error:
        words = str(error)
    assert str(path) in words
    assert "\n" not in words
    for _, features, *_ in videos:
        assert features.boxes.isfinite().all()
        assert features.objects.isfinite().all()


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_other_value_in_a_good_file(name: str, data: st.DataObject, tmp_path: Path) -> None:
    read, good = GOOD[name]
    content = deepcopy(good)
    place = data.draw(st.sampled_from(places(content)))
    value = data.draw(VALUES)
    if place:
        reduce(lambda inner, key: inner[key], place[:-1], content)[place[-1]] = value
    else:
        content = value
    readable(read, tmp_path / "any.json", json.dumps(content))


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(max_size=20) | VALUES.map(json.dumps))
def test_any_text(name: str, content: str, tmp_path: Path) -> None:
    readable(GOOD[name][0], tmp_path / "any.json", content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(NUMBERS | st.integers(-1, 3) | st.text(max_size=2), min_size=6, max_size=9), max_size=4))
def test_any_rows(rows: list[list[Any]], tmp_path: Path) -> None:
    content = "\n".join(",".join(map(str, [1, *row])) for row in rows)
    readable(lambda path: read_mot(path, size=(48, 64)), tmp_path / "any.txt", content)
