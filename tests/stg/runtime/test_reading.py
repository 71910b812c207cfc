"""How numbers of things are said."""

import pytest

from stg.runtime.reading import counted


@pytest.mark.parametrize(
    ("number", "verb", "said"),
    [
        (0, (), "0 clips"),
        (1, (), "1 clip"),
        (2, (), "2 clips"),
        (0, ("is", "are"), "0 clips are"),
        (1, ("is", "are"), "1 clip is"),
        (2, ("is", "are"), "2 clips are"),
    ],
)
def test_one_thing_and_several(number: int, verb: tuple[str, ...], said: str) -> None:
    assert counted(number, "clip", *verb) == said
