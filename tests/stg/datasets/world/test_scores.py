"""Scores by the verb alone."""

import pytest

from stg.datasets.world.dataset import World
from stg.datasets.world.events import EVENTS
from stg.datasets.world.phrases import VERBS
from stg.datasets.world.scores import GROUPS, event_scores, verb_of


@pytest.mark.parametrize(("verb", "phrase"), [(verb, phrase) for verb in VERBS for phrase in VERBS[verb]])
def test_every_phrase_tells_its_event_and_no_other(verb: str, phrase: str) -> None:
    assert verb_of(f"a red ball {phrase} the small box") == verb


@pytest.mark.parametrize("caption", ["", "a red ball", "a red hitsball", "a ball is", "a star drop"])
def test_a_caption_without_a_whole_phrase_names_no_event(caption: str) -> None:
    assert verb_of(caption) is None


def test_all_captions_of_the_world_name_their_event() -> None:
    world = World(train=48, val=1, test=1)
    for number in range(8):
        captions = {video: texts[number % len(texts)] for video, texts in world.dataset().captions.items()}
        assert event_scores(world, captions)["event"] == 1.0


def test_each_group_counts_its_own_videos_alone() -> None:
    world = World(train=1, val=1, test=32)
    captions = {video: world.captions(video)[0] for video in world.dataset().splits["test"]}
    wrong = next(video for video in captions if world.event(video).verb == "falls")
    scores = event_scores(world, {**captions, wrong: "a red ball rises"})
    times = 2 * len(GROUPS["time"])
    assert scores == {
        "event": 31 / 32,
        "two_objects": 1.0,
        "one_object": (2 * len(GROUPS["one_object"]) - 1) / (2 * len(GROUPS["one_object"])),
        "space": 1.0,
        "time": (times - 1) / times,
        "both": 1.0,
    }


def test_a_group_without_videos_has_no_score() -> None:
    world = World(events=("falls", "rises"), train=1, val=1, test=4)
    captions = dict.fromkeys(world.dataset().splits["test"], "a ball falls")
    assert event_scores(world, captions) == {"event": 0.5, "one_object": 0.5, "time": 0.5}


def test_every_event_is_in_the_groups() -> None:
    assert GROUPS["two_objects"] | GROUPS["one_object"] == set(EVENTS)
