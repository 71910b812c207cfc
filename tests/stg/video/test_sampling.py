"""Which frames are taken (checklist P2), and which motion row each takes (P4)."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg.video.sampling import RULES, linspace_frames, motion_rows, sample_numbers, segment_centres, stride_frames

LENGTHS = [1, 9, 10, 11, 1000]


@pytest.mark.parametrize("n", [*LENGTHS, 2**40 + 1])
@pytest.mark.parametrize("T", [1, 2, 10])
def test_centres_are_the_formula_in_exact_arithmetic(n: int, T: int) -> None:
    expected = [math.floor((i + Fraction(1, 2)) * n / T) for i in range(T)]
    assert segment_centres(n, T).tolist() == expected


def test_centres_by_hand() -> None:
    assert segment_centres(10, 10).tolist() == list(range(10))
    assert segment_centres(1, 10).tolist() == [0] * 10
    assert segment_centres(9, 10).tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert segment_centres(11, 10).tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert segment_centres(1000, 10).tolist() == list(range(50, 1000, 100))


def test_linspace_by_hand() -> None:
    assert linspace_frames(1000, 10).tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert linspace_frames(4, 2).tolist() == [0, 3]
    assert linspace_frames(4, 3).tolist() == [0, 2, 3]  # the half rounds up
    assert linspace_frames(9, 1).tolist() == [4]
    assert linspace_frames(1, 10).tolist() == [0] * 10


@pytest.mark.parametrize(
    ("n", "stride", "numbers"),
    [
        (1, 32, [0]),
        (5, 32, [4]),  # less than one segment, and its middle lies beyond the end
        (20, 32, [16]),
        (32, 32, [16]),
        (33, 32, [16, 32]),
        (96, 32, [16, 48, 80]),
        (100, 32, [16, 48, 80, 99]),
        (40, 16, [8, 24, 39]),
        (7, 3, [1, 4, 6]),
        (4, 1, [0, 1, 2, 3]),
    ],
)
def test_stride_by_hand(n: int, stride: int, numbers: list[int]) -> None:
    assert stride_frames(n, 10, stride).tolist() == sample_numbers(n, 10, "stride", stride).tolist() == numbers


def test_stride_is_32_unless_said_otherwise() -> None:
    assert stride_frames(70, 10).tolist() == sample_numbers(70, 10, "stride").tolist() == [16, 48, 69]


def test_a_video_of_too_many_strides_gives_the_centres() -> None:
    assert stride_frames(96, 3, 32).tolist() == [16, 48, 80]
    assert stride_frames(97, 3, 32).tolist() == segment_centres(97, 3).tolist()
    assert len(stride_frames(2**40, 10, 1)) == 10


@given(st.integers(1, 5000), st.integers(1, 40))
def test_stride_gives_one_frame_of_each_motion_row(n: int, stride: int) -> None:
    """Checklist V2: image and motion features of the same frames stand side by side."""
    numbers, rows = stride_frames(n, 5000, stride), math.ceil(n / stride)
    assert numbers.dtype == np.int64
    assert motion_rows(numbers, rows, stride).tolist() == list(range(rows))
    assert numbers.max() < n
    assert (np.diff(numbers) > 0).all()


@given(st.integers(1, 5000), st.integers(1, 64), st.sampled_from(["centres", "linspace"]))
def test_samples_are_frames_of_the_video_in_order_and_evenly_spread(n: int, T: int, rule: str) -> None:
    numbers = sample_numbers(n, T, rule)
    assert numbers.dtype == np.int64
    assert len(numbers) == T
    assert numbers[0] >= 0
    assert numbers[-1] < n
    steps = np.diff(numbers)
    assert T == 1 or (steps.min() >= 0 and steps.max() - steps.min() <= 1)
    assert len(set(numbers.tolist())) == min(n, T) or rule == "linspace"


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 33), st.integers(1, 12))
def test_motion_rows_are_the_literal_repeat_in_time(n: int, num_rows: int, span: int, T: int) -> None:
    frames = segment_centres(n, T)
    repeated = np.repeat(np.arange(num_rows), span)
    repeated = np.concatenate([repeated, np.full(n, num_rows - 1)])  # the tail takes the last row
    assert motion_rows(frames, num_rows, span).tolist() == repeated[frames].tolist()


def test_nothing_to_sample_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one frame and one sample; got n=0 frames, T=10 samples"):
        segment_centres(0, 10)
    with pytest.raises(ValueError, match=r"got n=5 frames, T=0 samples"):
        linspace_frames(5, 0)
    with pytest.raises(ValueError, match=r"sampling must be one of centres, linspace, stride; got 'middle'"):
        sample_numbers(5, 5, "middle")
    for rule in RULES:
        with pytest.raises(ValueError, match=r"got n=0 frames, T=10 samples"):
            sample_numbers(0, 10, rule)
    with pytest.raises(ValueError, match=r"stride must be at least 1; got 0"):
        stride_frames(5, 5, 0)
    with pytest.raises(ValueError, match=r"at least 1; got num_rows=0, span=16"):
        motion_rows(segment_centres(5, 5), 0, 16)
    with pytest.raises(ValueError, match=r"at least 0; got -1"):
        motion_rows(np.array([-1]), 3, 16)
