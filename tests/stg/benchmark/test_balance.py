"""Neither the text nor a frame answers a bench; and the two models that show it find an answer that is there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stg.benchmark.balance import balance, blind_hits, proof, proof_table, single_frame_hits
from stg.benchmark.making import MadeBench, make_bench
from stg.benchmark.questions import IN_TIME, KINDS

KNOWN = ("order", "role", "direction")


@pytest.fixture(scope="module")
def made() -> MadeBench:
    return make_bench(0, 120)


def answered(made: MadeBench, true: dict[str, int]) -> MadeBench:
    """The same bench with other answers to the questions of a kind."""
    return replace(made, key=tuple(replace(one, answer=true[one.id]) if one.id in true else one for one in made.key))


def test_the_text_alone_is_right_by_chance(made: MadeBench) -> None:
    found = balance(made, blind_hits(made))
    assert set(found) == set(KINDS)
    assert max(abs(one["deviations"]) for one in found.values()) < 1e-9


def test_a_text_that_tells_is_found(made: MadeBench) -> None:
    true = {x.id: x.choices.index(max(x.choices, key=lambda t: "rises" in t or "away" in t)) for x in made.questions}
    keyed = answered(made, {name: place for name, place in true.items() if name.startswith("order")})
    assert balance(keyed, blind_hits(keyed))["order"]["deviations"] > 2


def test_a_single_frame_is_right_by_chance_where_the_twin_is_the_reverse(made: MadeBench) -> None:
    hits = single_frame_hits(made, KNOWN)
    for one in balance(made, hits).values():
        assert abs(one["deviations"]) < 2
    keys = {one.id: one for one in made.key}
    # Not on the mean alone: the frames of twins are the same, so one of two is right.
    assert all(hits[name] != hits[str(keys[name].pair)] for name in hits)


def test_a_frame_that_tells_is_found(made: MadeBench) -> None:
    true = {}
    for one in made.questions:
        if one.kind == "direction":
            scene = made.clips[one.video].scene
            assert scene.actor is not None
            left = np.mean(scene.motion.centre[scene.actor, :, 0]) < 48
            true[one.id] = next(i for i, text in enumerate(one.choices) if ("left" in text) == left)
    keyed = answered(made, true)
    assert balance(keyed, single_frame_hits(keyed, ("direction",)))["direction"]["share"] > 0.75


def test_no_frame_tells_the_kinds_that_need_time_and_frames_tell_others(made: MadeBench) -> None:
    found = proof(made)
    assert list(found) == list(KINDS)
    assert {name for name, one in found.items() if one["in_time"]} == set(IN_TIME)
    assert all(one["proven"] and one["low"] <= one["single_frame"] <= one["high"] for one in in_time(found))
    # A single group of numbers leaves none to learn from.
    assert [name for name, one in found.items() if one["single_frame"] is None] == ["count"]
    lines = proof_table(found)
    assert len(lines) == len(KINDS) + 2
    assert lines[3].startswith("| order | ")
    assert lines[3].endswith("| 50.0 | 50.0 | yes: neither tells |")


def in_time(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [found[name] for name in IN_TIME]
