"""Who plays in a video of the built-in world, what they do, and where all things are in every frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stg.datasets.world.events import EVENTS, Needs, plan_event
from stg.datasets.world.rendering import COLOURS, REACH, SHAPES, SIZES, Motion, Thing


@dataclass(frozen=True)
class Event:
    """What happens in one video: the truth that captions describe and that an event classifier is to find.

    Args:
        verb: a key of :data:`~stg.datasets.world.events.EVENTS`.
        label: its class number.
        actor: who does it.
        target: to whom; None for events with one object.
        needs: what distinguishes the event from similar ones: space, time, both, or appearance.
    """

    verb: str
    label: int
    actor: Thing
    target: Thing | None
    needs: Needs


@dataclass(frozen=True)
class Script:
    """What the pixels of one video follow from: the event, all things (in random order) and their motion."""

    event: Event
    things: tuple[Thing, ...]
    motion: Motion
    actor: int
    target: int | None


def direct(verb: str, rng: np.random.Generator, frames: int, size: int) -> Script:
    """Cast and direct a video of three or four things.

    Args:
        verb: what happens, a key of :data:`~stg.datasets.world.events.EVENTS`.
        rng: where the draws come from.
        frames: length of the video.
        size: width and height of the picture in pixels.
    """
    # Sizes are planned for 96 pixels, and grow with the picture.
    cast = draw_cast(rng, 3 + int(rng.integers(2)), EVENTS[verb].fits_inside, size / 96.0)
    return direct_cast(verb, cast, rng, frames, size)


def direct_cast(verb: str, cast: Sequence[Thing], rng: np.random.Generator, frames: int, size: int) -> Script:
    """Direct a video of given things: the first is the actor, the second the target, where the event has one.

    Args:
        cast: at least as many things as the event has; the others are distractors.
        verb, rng, frames, size: see :func:`direct`.
    """
    kind = EVENTS[verb]
    # The event is planned first: distractors take what room is left.
    centre, angle = plan_event(kind, list(cast[: kind.objects]), rng, frames, size)
    for thing in cast[kind.objects :]:
        radii = np.array([other.radius for other in cast[: len(centre)]])
        path = _drift(rng, thing.radius, centre, radii, size)
        centre = np.concatenate([centre, path[None]])
        angle = np.concatenate([angle, np.full((1, frames), rng.normal(0.0, 0.12))])
    # What an event needs in front is swapped, not drawn again: the draws after it stay those of the seed.
    depth = rng.permutation(len(cast)).astype(float)
    if kind.front is not None and (depth[0] > depth[1]) != (kind.front == "actor"):
        depth[[0, 1]] = depth[[1, 0]]
    # Shuffled, so that the actor cannot be guessed from its place among the objects.
    order = rng.permutation(len(cast))
    place = np.argsort(order)
    event = Event(verb, list(EVENTS).index(verb), cast[0], cast[1] if kind.objects == 2 else None, kind.needs)
    return Script(
        event=event,
        things=tuple(cast[i] for i in order),
        motion=Motion(centre[order], angle[order], depth[order]),
        actor=int(place[0]),
        target=int(place[1]) if kind.objects == 2 else None,
    )


def draw_cast(rng: np.random.Generator, count: int, fits_inside: bool, unit: float) -> list[Thing]:
    """Things of different appearance (no two share both shape and colour); the first two play.

    Args:
        rng: where the draws come from.
        count: of things.
        fits_inside: the first is of a smaller size than the second.
        unit: pixels for 1/96 of the picture's width.
    """
    shapes, colours, sizes = list(SHAPES), list(COLOURS), list(SIZES)
    # Drawn without replacement, so that "the red star" names one thing.
    looks = rng.choice(len(shapes) * len(colours), count, replace=False)
    size = rng.integers(len(sizes), size=count)
    if fits_inside:
        # Of two different sizes the actor gets the smaller one, to fit into the target.
        size[:2] = np.sort(rng.choice(len(sizes), 2, replace=False))
    return [
        Thing(
            shape=shapes[look // len(colours)],
            colour=colours[look % len(colours)],
            size=sizes[s],
            radius=float(rng.uniform(*SIZES[sizes[s]]) * unit),
            rgb=tuple((np.array(COLOURS[colours[look % len(colours)]]) + rng.normal(0.0, 0.025, 3)).clip(0.0, 1.0)),
        )
        for look, s in zip(looks, size, strict=True)
    ]


def _drift(
    rng: np.random.Generator,
    radius: float,
    centre: Float[np.ndarray, "O F 2"],
    radii: Float[np.ndarray, " O"],
    size: int,
) -> Float[np.ndarray, "F 2"]:
    """Path of a distractor that stands still or drifts a little, clear of all others where there is room."""
    frames = centre.shape[1]
    tries = 96
    low, high = REACH * radius + 0.5, size - REACH * radius - 0.5
    start = rng.uniform(low, high, (tries, 2))
    heading = rng.uniform(0.0, 2.0 * np.pi, tries)
    # Half of the distractors stand still: motion alone must not give the actor away.
    far = rng.uniform(0.08, 0.2, tries) * size * (rng.random() < 0.5)
    end = start + far[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    u = np.linspace(0.0, 1.0, frames)[:, None]
    path = start[:, None] * (1.0 - u) + end[:, None].clip(low, high) * u
    # The nearest that each path [tries F 2] comes to each other thing, edge to edge [tries O].
    gap = np.linalg.norm(path[:, None] - centre, axis=-1).min(axis=-1) - radii - radius
    clear = gap.min(axis=1)
    # The first path with room, or in a crowded picture the one with most.
    enough = np.flatnonzero(clear > size / 24.0)
    return path[enough[0] if len(enough) else int(np.argmax(clear))]
