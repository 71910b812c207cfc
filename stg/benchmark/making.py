"""Clips and questions of a bench, from a seed: groups of clips that share their question, each with another answer.

All clips of a group have one text and one list of choices, and every choice is true in as many of them as any other:
whatever reads the text alone is right by chance, not on the mean but in every group.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stg.benchmark.levels import PLAIN, Level, level_from
from stg.benchmark.questions import KINDS, SETTINGS, Bench, Key, Question
from stg.benchmark.staging import harder
from stg.benchmark.twins import (
    FRAMES,
    REVERSED,
    SIDE,
    Scene,
    exchange_colours,
    exchange_roles,
    look,
    remove,
    reverse,
    scene_of,
    stand_still,
    turn,
)
from stg.config.bench import check_clips
from stg.datasets.world.directing import direct_cast, draw_cast
from stg.datasets.world.events import EVENTS
from stg.datasets.world.phrases import captions_for
from stg.datasets.world.rendering import Thing
from stg.runtime.errors import UserError
from stg.runtime.reading import require

_STREAM = 11
# Streams of the built-in world have the numbers 0 to 4 in this place of their seed: no clip here is one of its videos.

SHARES: Mapping[str, int] = {
    "verb": 20, "order": 18, "role": 16, "direction": 12, "event": 12, "agent": 8, "count": 6, "attribute": 8,
}  # fmt: skip
"""Kind of question -> how many of a hundred clips have one."""

FOURS = ("verb", "event", "count")
"""Kinds whose groups have four clips; others have two."""

VERB_GROUPS: Sequence[tuple[str, str, str, str]] = (
    ("rolls left", "rolls right", "falls", "rises"),
    ("rises", "falls", "rolls right", "rolls left"),
)
"""Four events a question; the twin of a clip shows the event next to its own, the first two and the last two.

Only these: two events are each other's reverse, frame by frame, and which pair it is a frame does not show either. All
events of two objects are told by where the two are, in some frame of a clip."""

EVENT_GROUPS: Sequence[tuple[str, str, str, str]] = (
    ("moves away from", "moves towards", "passes behind", "passes by"),
    ("pushes", "collides with", "moves away from", "moves towards"),
    ("jumps over", "circles", "jumps into", "carries"),
    ("follows", "carries", "pushes", "circles"),
    ("passes behind", "passes by", "jumps over", "jumps into"),
    ("collides with", "follows", "moves away from", "moves towards"),
)
"""As above, of two objects."""

AGENT_VERBS = (
    "pushes", "collides with", "jumps over", "passes by", "carries",
    "circles", "moves towards", "passes behind", "jumps into", "moves away from",
)  # fmt: skip
"""Events of questions whose twin has exchanged roles."""

TEXTS: Mapping[str, str] = {
    "verb": "What happens?",
    "order": "What happens?",
    "role": "Who does it to whom?",
    "event": "What happens?",
    "agent": "Who does it to whom?",
    "direction": "Which way does it move?",
    "count": "How many objects are there?",
    "attribute": "Which object has which colour?",
}
"""Kind of question -> its text."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class BenchClip:
    """A clip: its name, which says nothing of what it shows, its scene, and true captions."""

    name: str
    scene: Scene
    captions: tuple[str, ...]


@dataclass(frozen=True)
class MadeBench:
    """The clips by their names, and the questions with their key, in the same order."""

    clips: Mapping[str, BenchClip]
    questions: tuple[Question, ...]
    key: tuple[Key, ...]


@dataclass(frozen=True)
class _Shot:
    """A clip of a group: what is true of it, which other clip is its twin, and how that one differs."""

    scene: Scene
    truth: str
    mate: int
    twin: str


_Maker = Callable[[int, tuple[int, ...], Level], list[_Shot]]


def make_bench(seed: int, clips: int, level: Level = PLAIN) -> MadeBench:
    """Clips and questions; the same for the same seed and number, in every process.

    Args:
        seed: 0 or larger.
        clips: how many, an even number.
        level: how hard they are to see; questions and captions are of the same kinds at all levels.

    Raises:
        UserError: too few clips, or an odd number.
    """
    groups = [
        (name, (seed, _STREAM, place, index), MAKERS[name])
        for place, (name, count) in enumerate(group_counts(clips).items())
        for index in range(count)
    ]
    shots = [(name, source, make(source[-1], source, level)) for name, source, make in groups]
    rng = np.random.default_rng((seed, _STREAM))
    number = iter(rng.permutation(clips).tolist())
    numbers = {name: iter(rng.permutation(sum(len(x) for n, _, x in shots if n == name)).tolist()) for name in KINDS}
    found, questions, key = dict[str, BenchClip](), list[Question](), list[Key]()
    for name, source, group in shots:
        # One list for the whole group: in each place, a choice is true as often as in any other.
        choices = tuple(np.random.default_rng((*source, 1)).permutation(list(dict.fromkeys(x.truth for x in group))))
        ids = [f"{name}-{next(numbers[name]):05d}" for _ in group]
        for place, shot in enumerate(group):
            clip = f"clip-{next(number):05d}"
            found[clip] = BenchClip(clip, shot.scene, _captions(shot.scene, (*source, 2, place)))
            questions.append(Question(ids[place], name, clip, TEXTS[name], tuple(map(str, choices))))
            answer = questions[-1].choices.index(shot.truth)
            key.append(Key(ids[place], answer, ids[shot.mate], shot.twin, shot.scene.verb))
    # By their numbers, which are random: neighbours are no twins.
    order = sorted(range(len(questions)), key=lambda i: questions[i].id)
    return MadeBench(dict(sorted(found.items())), tuple(questions[i] for i in order), tuple(key[i] for i in order))


def group_counts(clips: int) -> dict[str, int]:
    """How many groups of each kind make so many clips.

    Raises:
        UserError: too few clips, or an odd number.
    """
    try:
        check_clips(clips)
    except ValueError as error:
        raise UserError(str(error)) from error
    count = {name: max(1, clips * share // (100 * group_size(name))) for name, share in SHARES.items()}
    spare = (clips - sum(group_size(name) * found for name, found in count.items())) // 2
    count["order"] += spare
    return count


def group_size(kind: str) -> int:
    """How many clips a group of questions of this kind has."""
    return 4 if kind in FOURS else 2


def _captions(scene: Scene, seed: tuple[int, ...]) -> tuple[str, ...]:
    if scene.verb is None:
        return tuple(f"a {colour} {shape} stands still" for colour, shape in map(look, scene.things))
    assert scene.actor is not None
    target = None if scene.target is None else scene.things[scene.target]
    return tuple(captions_for(scene.verb, scene.things[scene.actor], target, np.random.default_rng(seed)))


def _cast(seed: tuple[int, ...], verbs: Sequence[str], count: int) -> list[Thing]:
    """Things (three or four for 0), of which actor and target share neither colour nor shape, nor after an exchange."""
    rng = np.random.default_rng((*seed, 0))
    fits = any(EVENTS[verb].fits_inside for verb in verbs)
    while True:
        cast = draw_cast(rng, count or 3 + int(rng.integers(2)), fits, 1.0)
        one, other, *rest = map(look, cast)
        crossed = {(one[0], other[1]), (other[0], one[1])}
        if one[0] != other[0] and one[1] != other[1] and not crossed & set(rest):
            return cast


def _stage(verb: str, cast: Sequence[Thing], seed: tuple[int, ...], level: Level, draw: int = 0) -> Scene:
    """A scene of an event; all of a group have the same wall."""
    scene = scene_of(direct_cast(verb, cast, np.random.default_rng((*seed, 3, draw)), FRAMES, SIDE), (*seed, 4))
    return harder(scene, level, (*seed, 7, draw))


def _four(verbs: Sequence[str], seed: tuple[int, ...], level: Level, *, turned: bool = False) -> list[_Shot]:
    cast = _cast(seed, verbs, level.objects)
    shots = list[_Shot]()
    for place, verb in enumerate(verbs):
        # The second of two that are each other's reverse is that, to the pixel.
        twin = "reversed" if REVERSED.get(verb) == verbs[place ^ 1] else "event"
        if place % 2 and twin == "reversed":
            scene = reverse(shots[-1].scene)
        else:
            scene = _stage(verb, cast, seed, level, place)
            if turned:
                scene = turn(scene, float(np.random.default_rng((*seed, 6, place)).uniform(0.0, 2.0 * np.pi)))
        shots.append(_Shot(scene, scene.statement, place ^ 1, twin))
    return shots


def _verb(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    # Turned, as only what rolls would stand askew else.
    return _four(VERB_GROUPS[index % len(VERB_GROUPS)], seed, level, turned=True)


def _event(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    return _four(EVENT_GROUPS[index % len(EVENT_GROUPS)], seed, level)


def _reversed_pair(verb: str, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    scene = _stage(verb, _cast(seed, [verb], level.objects), seed, level)
    scenes = scene, reverse(scene)
    return [_Shot(one, one.statement, 1 - place, "reversed") for place, one in enumerate(scenes)]


def _order(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    # Two thirds with two objects, of which neither's path alone says it.
    return _reversed_pair(("moves away from", "moves towards", "falls")[index % 3], seed, level)


def _direction(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    return _reversed_pair(("rolls left", "rolls right")[index % 2], seed, level)


def _role(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    return _reversed_pair("follows", seed, level)


def _agent(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    verb = AGENT_VERBS[index % len(AGENT_VERBS)]
    cast = _cast(seed, [verb], level.objects)
    # From the same draws: the same path but for the reach of the shapes.
    scenes = _stage(verb, cast, seed, level), _stage(verb, exchange_roles(cast), seed, level)
    return [_Shot(one, one.statement, 1 - place, "roles") for place, one in enumerate(scenes)]


def _count(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    verb = tuple(EVENTS)[index % len(EVENTS)]
    # One goes: three stay at least two.
    more = _stage(verb, _cast(seed, [verb], max(3, level.objects or 4)), seed, level)
    extra = next(i for i in range(len(more.things)) if i not in (more.actor, more.target))
    moving = remove(more, extra), more
    frame = int(np.random.default_rng((*seed, 5)).integers(more.frames))
    scenes = [*moving, *(stand_still(scene, frame) for scene in moving)]
    # The twin differs in both, number and motion: neither may be taken for the other.
    return [
        _Shot(scene, f"there are {NUMBERS[len(scene.things)]} objects", 3 - place, "still")
        for place, scene in enumerate(scenes)
    ]


def _attribute(index: int, seed: tuple[int, ...], level: Level) -> list[_Shot]:
    verb = [name for name, kind in EVENTS.items() if kind.objects == 2][index % 11]
    scene = _stage(verb, _cast(seed, [verb], level.objects), seed, level)
    scenes = scene, exchange_colours(scene)
    return [_Shot(one, one.statement, 1 - place, "colours") for place, one in enumerate(scenes)]


MAKERS: Mapping[str, _Maker] = {
    "verb": _verb,
    "order": _order,
    "role": _role,
    "direction": _direction,
    "event": _event,
    "agent": _agent,
    "count": _count,
    "attribute": _attribute,
}


def made_again(bench: Bench) -> MadeBench:
    """The scenes of an exported bench, made again from its settings.

    Raises:
        UserError: this version makes other clips of these settings.
    """
    where = str(bench.folder / SETTINGS)
    seed = require(require(bench.settings, "world", dict, where), "seed", int, where)
    made = make_bench(seed, len(bench.captions), level_from(bench.settings.get("level", {}), where))
    if (
        made.questions != bench.questions
        or {name: clip.captions for name, clip in made.clips.items()} != bench.captions
    ):
        raise UserError(f"{bench.folder} was exported by another version, which made other clips: export it again")
    return made
