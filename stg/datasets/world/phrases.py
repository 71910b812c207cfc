"""Captions of the built-in world: several ways to say what happens, as several people would."""

import numpy as np

from stg.datasets.world.rendering import Thing

NOUNS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "ball"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "diamond": ("diamond",),
    "cross": ("cross",),
}
"""Shape -> the words for it; the first is the commonest."""

SIZE_WORDS: dict[str, tuple[str, ...]] = {"small": ("small", "little"), "medium": (), "large": ("large", "big")}
"""Size -> the words for it; nobody calls a thing medium."""

VERBS: dict[str, tuple[str, ...]] = {
    "jumps into": ("jumps into", "hops into", "is jumping into", "leaps into"),
    "jumps over": ("jumps over", "leaps over", "is jumping over", "hops over"),
    "pushes": ("pushes", "shoves", "is pushing"),
    "follows": ("follows", "goes after", "is following", "chases"),
    "circles": ("circles", "goes around", "is circling", "moves around"),
    "collides with": ("collides with", "bumps into", "hits", "crashes into"),
    "carries": ("carries", "is carrying", "transports"),
    "passes behind": ("passes behind", "goes behind", "is moving behind"),
    "passes by": ("passes by", "goes past", "is moving past"),
    "moves away from": ("moves away from", "leaves", "goes away from", "is moving away from"),
    "moves towards": ("moves towards", "approaches", "goes towards", "is moving towards"),
    "rolls left": ("rolls left", "rolls to the left", "is rolling left"),
    "rolls right": ("rolls right", "rolls to the right", "is rolling right"),
    "falls": ("falls", "falls down", "is falling", "drops"),
    "rises": ("rises", "goes up", "is rising"),
    "spins": ("spins", "turns around", "is spinning", "rotates"),
}
"""Event -> the phrases for it; the first is the commonest."""


def captions_for(verb: str, actor: Thing, target: Thing | None, rng: np.random.Generator) -> list[str]:
    """Six to eight different captions of one video, lower case, without punctuation.

    The first says all there is to say. The others leave out colours and sizes and choose among synonyms, so that their
    agreement with each other is about that of the MSVD annotators.

    Args:
        verb: a key of :data:`VERBS`.
        actor: who does it.
        target: to whom, None where nobody.
        rng: where the draws come from.
    """
    size = {thing: (SIZE_WORDS[thing.size][:1] or ("",))[0] for thing in (actor, target) if thing is not None}
    first = ["a", size[actor], actor.colour, actor.shape, verb]
    if target is not None:
        first += ["a", size[target], target.colour, target.shape]
    captions = [" ".join(word for word in first if word)]
    wanted = int(rng.integers(6, 9))
    while len(captions) < wanted:
        words = [_phrase(actor, rng), _choose(VERBS[verb], rng)]
        if target is not None:
            words.append(_phrase(target, rng))
        caption = " ".join(words)
        if caption not in captions:
            captions.append(caption)
    return captions


def _phrase(thing: Thing, rng: np.random.Generator) -> str:
    words = ["a" if rng.random() < 0.8 else "the"]
    if SIZE_WORDS[thing.size] and rng.random() < 0.3:
        words.append(_choose(SIZE_WORDS[thing.size], rng))
    if rng.random() < 0.8:
        words.append(thing.colour)
    words.append(_choose(NOUNS[thing.shape], rng))
    return " ".join(words)


def _choose(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    """The first half of the time, else any of the others."""
    if len(phrases) == 1 or rng.random() < 0.5:
        return phrases[0]
    return phrases[1 + int(rng.integers(len(phrases) - 1))]
