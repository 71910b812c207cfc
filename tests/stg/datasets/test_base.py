"""The captioned data set: leaks, restriction to what is there, faults told by name."""

import pytest

from stg.datasets.base import CaptionDataset
from stg.runtime.errors import UserError


def small(**changes: object) -> CaptionDataset:
    fields: dict[str, object] = {
        "name": "tiny",
        "captions": {"a": ["one", "two"], "b": ["three"], "c": ["four"]},
        "splits": {"train": ["a", "b"], "test": ["c"]},
    }
    return CaptionDataset(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_video_in_two_splits_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"video 'a' of tiny is in two splits, 'train' and 'test'"):
        small(splits={"train": ["a"], "test": ["c", "a"]})


def test_a_leak_is_found_also_where_the_video_is_missing() -> None:
    with pytest.raises(UserError, match="video 'a' of tiny is in two splits"):
        small(missing={"test": ["a"]})


def test_restrict_moves_the_absent_to_missing_and_keeps_order() -> None:
    data = small(splits={"train": ["b", "a"], "test": ["c"]}).restrict(["a", "c", "of another data set"])
    assert data.splits == {"train": ["a"], "test": ["c"]}
    assert data.missing == {"train": ["b"]}
    assert data.coverage() == {"train": 0.5, "test": 1.0}
    assert data.counts() == {
        "train": {"videos": 1, "missing": 1, "captions": 2},
        "test": {"videos": 1, "missing": 0, "captions": 1},
    }


def test_restrict_twice_keeps_what_was_missing() -> None:
    data = small().restrict(["a", "c"]).restrict(["c"])
    assert data.splits == {"train": [], "test": ["c"]}
    assert data.missing == {"train": ["b", "a"]}


def test_restrict_leaves_the_original_alone() -> None:
    data = small()
    data.restrict(["c"])
    assert data == small()


@pytest.mark.parametrize(("available", "told"), [([], "0 available ones, which are none"), (["z"], "such as 'z'")])
def test_nothing_in_common_is_an_error(available: list[str], told: str) -> None:
    with pytest.raises(UserError, match=rf"none of the videos of tiny \(such as 'a'\).*{told}"):
        small().restrict(available)


def test_an_unknown_split_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UserError, match="tiny has no split 'dev'; it has train, test"):
        small().videos("dev")


def test_references_leave_out_videos_without_captions() -> None:
    data = small(captions={"a": ["one"], "b": []})
    assert data.references("train") == {"a": ["one"]}


def test_problems_are_told_and_refused_on_request() -> None:
    data = small(
        captions={"a": ["one"], "lost": ["two"], "m": ["three"]},
        splits={"train": ["a", "a", "b"], "test": ["c"]},
        missing={"test": ["m"]},
    )
    assert data.problems() == {
        "twice in one split": ["a"],
        "without captions": ["b", "c"],
        "captions without a video": ["lost"],
    }
    with pytest.raises(UserError, match=r"twice in one split: 1 \('a'\); without captions: 2 \('b', 'c'\); captions w"):
        data.require_clean()


def test_a_clean_data_set_is_clean() -> None:
    assert small().problems() == {}
    small().require_clean()


def test_withheld_captions_are_no_fault() -> None:
    data = small(splits={"train": ["a", "b"], "test": ["c"], "private": ["p"]}, unlabelled=("private",))
    assert data.problems() == {}


def test_only_the_first_faulty_ids_are_told_on_one_line() -> None:
    data = small(splits={"train": ["a", "b"], "test": ["c", "x\n1", "x2", "x3", "x4"]})
    assert data.problem_summary() == "without captions: 4 ('x\\n1', 'x2', 'x3', ...)"
    assert small().problem_summary() == ""


def test_the_coverage_table_counts_what_is_there() -> None:
    data = small(
        captions={f"v{number}": ["one", "two"] for number in range(3000)},
        splits={"train": [f"v{number}" for number in range(3000)], "test": ["t"], "none": []},
    )
    data = data.restrict([f"v{number}" for number in range(2999)])
    assert data.coverage_table() == [
        "split  listed  present  missing  captions  share",
        "train    3000     2999        1      5998   99 %",
        "test        1        0        1         0    0 %",
        "none        0        0        0         0      -",
    ]


def test_categories_and_notes_survive_a_restriction() -> None:
    data = small(category={"a": 3}, notes=("said",)).restrict(["a"])
    assert (data.category, data.notes) == ({"a": 3}, ("said",))


def test_videos_without_captions_are_left_out_on_request() -> None:
    data = small(
        captions={"a": ["one"], "b": [], "c": ["four"]},
        splits={"train": ["a", "b"], "test": ["c", "d"], "private": ["p"]},
        unlabelled=("private",),
    )
    assert data.captioned().splits == {"train": ["a"], "test": ["c"], "private": ["p"]}
    assert data.splits["train"] == ["a", "b"]
