"""Captions of the built-in world say what happens, in several ways."""

import string

import numpy as np

from stg.datasets.world.dataset import World
from stg.datasets.world.events import EVENTS
from stg.datasets.world.phrases import NOUNS, SIZE_WORDS, VERBS, captions_for
from stg.datasets.world.rendering import COLOURS, SHAPES, SIZES, Thing

WORLD = World(train=96, val=0, test=0)


def read_phrase(words: list[str], thing: Thing) -> list[str]:
    """Eat one noun phrase off the front; it must be a true one of the thing."""
    assert words[0] in ("a", "the"), words
    words = words[1:]
    if words[0] in {word for group in SIZE_WORDS.values() for word in group}:
        assert words[0] in SIZE_WORDS[thing.size], (words, thing)
        words = words[1:]
    if words[0] in COLOURS:
        assert words[0] == thing.colour, (words, thing)
        words = words[1:]
    assert words[0] in NOUNS[thing.shape], (words, thing)
    return words[1:]


def test_every_caption_is_true_to_the_word() -> None:
    for index in range(WORLD.train):
        video = f"train-{index:05d}"
        event = WORLD.event(video)
        for caption in WORLD.captions(video):
            rest = " ".join(read_phrase(caption.split(), event.actor))
            verb = max((phrase for phrase in VERBS[event.verb] if f"{rest} ".startswith(f"{phrase} ")), key=len)
            words = rest[len(verb) :].split()
            if event.target is not None:
                words = read_phrase(words, event.target)
            assert words == [], caption


def test_captions_are_six_to_eight_different_plain_sentences() -> None:
    counts = set()
    for index in range(WORLD.train):
        captions = WORLD.captions(f"train-{index:05d}")
        counts.add(len(captions))
        assert len(set(captions)) == len(captions)
        for caption in captions:
            assert set(caption) <= set(string.ascii_lowercase + " ")
            assert caption == " ".join(caption.split())
    assert counts == {6, 7, 8}


def test_the_first_caption_says_all() -> None:
    for index in range(WORLD.train):
        event = WORLD.event(f"train-{index:05d}")
        first = WORLD.captions(f"train-{index:05d}")[0].split()
        for thing in (event.actor, event.target):
            if thing is not None:
                assert thing.colour in first
                assert thing.shape in first
                assert thing.size == "medium" or thing.size in first


def test_one_fixed_case_by_hand() -> None:
    circle = Thing("circle", "red", "small", 6.0, (1.0, 0.0, 0.0))
    square = Thing("square", "blue", "medium", 9.0, (0.0, 0.0, 1.0))
    captions = captions_for("jumps over", circle, square, np.random.default_rng(0))
    assert captions[0] == "a small red circle jumps over a blue square"


def test_every_word_of_the_world_is_used_somewhere() -> None:
    said = {
        word
        for captions in World(train=400, val=0, test=0).dataset().captions.values()
        for c in captions
        for word in c.split()
    }
    known = {word for phrases in VERBS.values() for phrase in phrases for word in phrase.split()}
    known |= set(COLOURS) | {noun for nouns in NOUNS.values() for noun in nouns} | {"a", "the"}
    known |= {word for group in SIZE_WORDS.values() for word in group}
    assert said == known


def test_no_phrase_belongs_to_two_events() -> None:
    phrases = [phrase for group in VERBS.values() for phrase in group]
    assert len(set(phrases)) == len(phrases)


def test_the_tables_speak_of_the_same_things() -> None:
    assert set(VERBS) == set(EVENTS)
    assert set(NOUNS) == set(SHAPES)
    assert set(SIZE_WORDS) == set(SIZES)
    assert all(VERBS[verb][0] == verb for verb in VERBS)
