"""Edges on frames, from plain arrays: what is drawn where, which edges, and what is refused."""

import doctest

import numpy as np
import pytest
import torch
from PIL import Image

from stg.pages import draw_edges, edge_pictures
from stg.pages.edge_pictures import BLANK, LETTERS
from stg.pages.videos.boxes_and_edges import COLOURS, GAP

SIDE = 360
BOXES = [[20, 20, 60, 60], [280, 20, 320, 60], [20, 20, 60, 60], [20, 280, 60, 320]]
FRAME = [0, 0, 1, 1]
EDGES = [[0, 1, 2, 2], [1, 0, 0, 3]]


def drawn(score: list[float], **options: object) -> Image.Image:
    """Four boxes in two frames of 360 x 360, which are drawn pixel by pixel."""
    given = {"size": (SIDE, SIDE), "top": 10, **options}
    return draw_edges(BOXES, FRAME, EDGES, score, **given)  # type: ignore[arg-type]


def at(picture: Image.Image, frame: int, x: int, y: int, row: int = 0) -> tuple[int, ...]:
    """A pixel at a place in a frame; frame -1 is the margin on the left."""
    head = LETTERS + 9
    return picture.getpixel((GAP + frame * (SIDE + GAP) + x, head + row * (SIDE + head + GAP // 2) + y))  # type: ignore[return-value]


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(edge_pictures).attempted > 3
    assert doctest.testmod(edge_pictures).failed == 0


def test_the_size_may_be_that_of_a_graph() -> None:
    expected = drawn([1.0, 0.0, 1.0, 0.0]).tobytes()
    for size in (torch.tensor([[SIDE, SIDE]]), torch.tensor([SIDE, SIDE]), [SIDE, SIDE]):
        assert drawn([1.0, 0.0, 1.0, 0.0], size=size).tobytes() == expected


def test_edges_join_their_boxes_and_nothing_else_is_drawn() -> None:
    picture = drawn([1.0, 0.0, 1.0, 0.0])
    assert at(picture, 0, 170, 40) == COLOURS["spatial"], "halfway between boxes 0 and 1"
    assert at(picture, 0, SIDE + GAP // 2, 40) == COLOURS["temporal"], "across the gap"
    assert at(picture, 1, 40, 170) == BLANK, "an edge of score 0"
    assert at(picture, 0, 170, 170) == BLANK


def test_the_head_is_at_the_target() -> None:
    picture = drawn([1.0, 0.0, 0.0, 0.0])
    assert at(picture, 0, 292, 42) == COLOURS["spatial"]
    assert at(picture, 0, 48, 42) != COLOURS["spatial"]


def test_the_highest_scores_are_drawn_and_weaker_ones_are_fainter() -> None:
    first, both = drawn([0.2, 0.0, 0.1, 0.9], top=1), drawn([0.2, 0.0, 0.1, 0.9], top=2)
    assert (at(first, 1, 40, 170), at(first, 0, 170, 40)) == (COLOURS["spatial"], BLANK)
    assert at(both, 1, 40, 170) == COLOURS["spatial"]
    assert BLANK[2] < at(both, 0, 170, 40)[2] < COLOURS["spatial"][2]
    assert at(both, 0, SIDE + GAP // 2, 40) != COLOURS["temporal"]


def test_there_and_back_lie_apart() -> None:
    picture = drawn([1.0, 1.0, 0.0, 0.0])
    column = [at(picture, 0, 170, y) == COLOURS["spatial"] for y in range(80)]
    assert not column[40]
    assert any(column[:40])
    assert any(column[41:])


def test_an_arrow_to_another_row_leaves_at_the_side() -> None:
    picture = drawn([0.0, 0.0, 1.0, 0.0], columns=1)
    assert at(picture, 0, SIDE + GAP // 2, 40) == COLOURS["temporal"], "enters the upper frame from the right"
    assert at(picture, 0, -GAP // 2, 40, row=1) == COLOURS["temporal"], "leaves the lower one on the left"
    assert at(picture, 0, 40, 170) == BLANK, "and does not run from row to row"


def test_only_frames_with_edges_are_shown_of_many() -> None:
    shots = np.zeros((9, 12, 12, 3), np.uint8)
    shots[5], shots[7] = (0, 90, 0), (90, 0, 0)
    boxes, frame = np.array([[2.0, 2, 4, 4], [8, 8, 10, 10]], np.float32), np.array([5, 7])
    picture = draw_edges(boxes, frame, torch.tensor([[0], [1]]), torch.tensor([1.0]), pictures=shots)
    assert picture.width == 2 * (SIDE + GAP) + GAP
    assert (at(picture, 0, 330, 20), at(picture, 1, 20, 330)) == ((0, 90, 0), (90, 0, 0))


def test_labels_are_drawn() -> None:
    plain, named = drawn([0.0] * 4), drawn([0.0] * 4, labels=["cat", "dog", "", "cow"])
    changed = np.argwhere((np.asarray(plain) != np.asarray(named)).any(-1))
    assert len(changed) > 100
    assert (changed[:, 0] >= LETTERS + 9).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"boxes": [[0, 0, 1]] * 4}, r"boxes is of .* shape \[4, 3\], not numbers \[N 4\]"),
        ({"boxes": [[0, 0, 1, float("nan")]] * 4}, "boxes holds a value that is not finite"),
        ({"boxes": "cat"}, r"boxes is no array \[N 4\]"),
        ({"frame": [0, 0, 1]}, "frame has 3 entries, but there are 4 boxes"),
        ({"frame": [0.0, 0, 1, 1]}, r"frame is of float32 and shape \[4\], not whole numbers"),
        ({"frame": [0, 0, 1, -1]}, "frame holds -1"),
        ({"edge_index": [[0], [4]], "edge_score": [1.0]}, "edge_index reaches from 0 to 4, but there are 4 boxes"),
        ({"edge_index": [[0, 1]], "edge_score": [1.0]}, r"shape \[1, 2\], not whole numbers \[2 E\]"),
        ({"edge_score": [1.0]}, "edge_score has 1 entries, but edge_index has 4 edges"),
        ({"edge_score": [1.0, 2.0, 3.0, float("nan")]}, "edge_score holds a value that is not finite"),
        ({"labels": ["cat"]}, "labels has 1 entries, but there are 4 boxes"),
        ({"top": 0}, "top and columns are 1 or more, not 0 and 4"),
        ({"columns": 0}, "not 10 and 0"),
        ({"size": None}, "give the frames as pictures, or the height and width"),
        ({"size": (0, 5)}, "size is a height and a width in pixels"),
        ({"size": None, "pictures": np.zeros((1, 8, 8, 3), np.uint8)}, "frame holds 1, but there are 1 pictures"),
        ({"size": None, "pictures": np.zeros((2, 8, 8, 3))}, "pictures are of float64"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, object], said: str) -> None:
    fits = {"boxes": BOXES, "frame": FRAME, "edge_index": EDGES, "edge_score": [1.0] * 4, "size": (SIDE, SIDE)}
    with pytest.raises(ValueError, match=said):
        draw_edges(**{**fits, **given})  # type: ignore[arg-type]
