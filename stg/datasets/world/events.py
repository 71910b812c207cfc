"""The events of the built-in world: what happens in a video, and how it moves.

Every plan moves the actor to the right; :func:`plan_event` mirrors, tilts, reverses and places it. Lengths are in
1/96 of the picture's width and ``u`` is time from 0 to 1 over the video.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from stg.datasets.world.rendering import REACH, SHAPES, Thing

Needs = Literal["space", "time", "both", "appearance"]
Centre = Float[np.ndarray, "O F 2"]
Angle = Float[np.ndarray, "O F"]
Plan = Callable[[np.random.Generator, Float[np.ndarray, " O"], Float[np.ndarray, " F"]], Centre]


@dataclass(frozen=True)
class EventKind:
    """One kind of event.

    Args:
        name: the verb phrase, also the class label.
        objects: 1, or 2 where the event happens to a target.
        needs: what distinguishes it from similar ones: ``space`` (who overlaps whom), ``time`` (the order of frames),
            ``both``, or ``appearance`` (a single crop shows it).
        plan: centres of actor and target over time.
        backward: the plan is played backwards.
        tilt: largest slope of the path, radians; 0 where down is down.
        mirror: left and right may be exchanged.
        front: which of the two hides the other; None for either.
        roll: the actor turns as a wheel does on the ground under it.
        spin: the actor turns on the spot.
        fits_inside: the target is of a larger size than the actor.
    """

    name: str
    objects: int
    needs: Needs
    plan: Plan
    backward: bool = False
    tilt: float = 0.0
    mirror: bool = True
    front: Literal["actor", "target"] | None = None
    roll: bool = False
    spin: bool = False
    fits_inside: bool = False


def _progress(
    rng: np.random.Generator,
    u: np.ndarray,
    start: tuple[float, float] = (0.03, 0.14),
    end: tuple[float, float] = (0.84, 0.97),
    ease: float = 1.0,
) -> np.ndarray:
    """From 0 to 1 between two drawn moments, evenly or with a soft start and stop."""
    first, last = rng.uniform(*start), rng.uniform(*end)
    p = ((u - first) / (last - first)).clip(0.0, 1.0)
    soft = rng.uniform(0.0, ease)
    return (1.0 - soft) * p + soft * p * p * (3.0 - 2.0 * p)


def _pair(actor_x: np.ndarray, actor_y: np.ndarray, target_x: np.ndarray, target_y: np.ndarray) -> np.ndarray:
    return np.stack([np.stack([actor_x, actor_y], -1), np.stack([target_x, target_y], -1)])


def _jumps_into(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    p = _progress(rng, u, start=(0.05, 0.25), end=(0.62, 0.78))
    far = reach.sum() + rng.uniform(6.0, 18.0)
    high = reach.sum() + rng.uniform(3.0, 9.0)
    still = np.zeros_like(u)
    inside = rng.uniform(-0.2, 0.2, 2) * reach[1]
    x = far * (p - 1.0) + inside[0] * p
    return _pair(x, -high * (1.0 - (2.0 * p - 1.0) ** 4) + inside[1] * p, still, still)


def _jumps_over(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    p = _progress(rng, u, start=(0.03, 0.18), end=(0.75, 0.95))
    before, after = reach.sum() + rng.uniform(4.0, 10.0, 2)
    high = 1.06 * reach.sum() + rng.uniform(3.0, 8.0)
    still = np.zeros_like(u)
    return _pair((before + after) * p - before, -high * (1.0 - (2.0 * p - 1.0) ** 4), still, still)


def _pushes(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    p = _progress(rng, u, ease=0.3)
    gap, push = rng.uniform(8.0, 14.0), rng.uniform(16.0, 28.0)
    touch = 0.94 * reach.sum()
    x = (gap + push) * p - gap - touch
    y = rng.uniform(-0.12, 0.12) * reach.min() * np.ones_like(u)
    return _pair(x, y, np.maximum(x + touch, 0.0), np.zeros_like(u))


def _follows(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    p = _progress(rng, u)
    behind, far = reach.sum() + rng.uniform(3.0, 8.0), rng.uniform(26.0, 42.0)
    height, phase = rng.uniform(0.0, 5.0), rng.uniform(0.0, 2.0 * np.pi)
    actor, target = far * p - behind, far * p
    return _pair(actor, height * np.sin(actor / 10.0 + phase), target, height * np.sin(target / 10.0 + phase))


def _circles(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    turn = 2.0 * np.pi * rng.uniform(0.95, 1.35) * _progress(rng, u, ease=0.4) + rng.uniform(0.0, 2.0 * np.pi)
    radius = reach.sum() + rng.uniform(3.0, 7.0)
    still = np.zeros_like(u)
    return _pair(radius * np.cos(turn), radius * np.sin(turn), still, still)


def _collides_with(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    # The two stay pressed together for about a sampling step, else most samplings would miss the contact.
    hit, apart = rng.uniform(0.38, 0.46), rng.uniform(0.10, 0.13)
    come = _progress(rng, u, start=(0.02, 0.10), end=(hit, hit), ease=0.2)
    leave = ((u - hit - apart) / (0.96 - hit - apart)).clip(0.0, 1.0)
    leave = leave * (2.0 - leave)
    touch, gap = 0.88 * reach.sum(), rng.uniform(14.0, 24.0)
    back, knock = rng.uniform(0.4, 0.7) * gap, rng.uniform(5.0, 10.0)
    still = np.zeros_like(u)
    return _pair(gap * (come - 1.0) - touch - back * leave, still, knock * leave, still)


def _carries(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    x = rng.uniform(28.0, 46.0) * _progress(rng, u)
    bob = rng.uniform(0.0, 1.5) * np.sin(x / rng.uniform(2.0, 4.0))
    lean = rng.uniform(-0.25, 0.25) * reach[0]
    return _pair(x, bob, x + lean, bob - 0.8 * reach.sum())


def _passes(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray, aside: float) -> np.ndarray:
    p = _progress(rng, u)
    before, after = reach.sum() + rng.uniform(4.0, 10.0, 2)
    still = np.zeros_like(u)
    return _pair((before + after) * p - before, still + aside, still, still)


def _passes_behind(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    return _passes(rng, reach, u, 0.25 * rng.uniform(-1.0, 1.0) * reach[1])


def _passes_by(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    # As many draws as above, so that the same generator gives the same path to the side; far enough for the tips too.
    side = rng.uniform(-1.0, 1.0)
    return _passes(rng, reach, u, np.sign(side) * (1.3 * reach.sum() + 3.0 + 4.0 * abs(side)))


def _moves_away_from(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    near, far = reach.sum() + rng.uniform(2.0, 5.0), rng.uniform(26.0, 42.0)
    still = np.zeros_like(u)
    return _pair(near + far * _progress(rng, u), still, still, still)


def _rolls(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    x = rng.uniform(34.0, 56.0) * _progress(rng, u)
    return np.stack([x, np.zeros_like(u)], -1)[None]


def _falls(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    p = _progress(rng, u, ease=0.0)
    weight = rng.uniform(0.5, 1.0)
    y = rng.uniform(36.0, 58.0) * ((1.0 - weight) * p + weight * p * p)
    return np.stack([rng.uniform(-4.0, 4.0) * p, y], -1)[None]


def _stays(rng: np.random.Generator, reach: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.zeros((1, len(u), 2))


EVENTS: dict[str, EventKind] = {
    kind.name: kind
    for kind in (
        EventKind("jumps into", 2, "space", _jumps_into, front="actor", fits_inside=True),
        EventKind("jumps over", 2, "both", _jumps_over),
        EventKind("pushes", 2, "both", _pushes, tilt=0.5),
        EventKind("follows", 2, "time", _follows, tilt=0.5),
        EventKind("circles", 2, "both", _circles),
        EventKind("collides with", 2, "both", _collides_with, tilt=0.5),
        EventKind("carries", 2, "space", _carries),
        EventKind("passes behind", 2, "space", _passes_behind, tilt=0.25, front="target"),
        EventKind("passes by", 2, "space", _passes_by, tilt=0.25),
        EventKind("moves away from", 2, "time", _moves_away_from, tilt=0.6),
        EventKind("moves towards", 2, "time", _moves_away_from, backward=True, tilt=0.6),
        EventKind("rolls left", 1, "time", _rolls, backward=True, mirror=False, roll=True),
        EventKind("rolls right", 1, "time", _rolls, mirror=False, roll=True),
        EventKind("falls", 1, "time", _falls),
        EventKind("rises", 1, "time", _falls, backward=True),
        EventKind("spins", 1, "appearance", _stays, spin=True),
    )
}
"""Every kind of event by its name, in the order of the class labels."""

CONTRASTS: tuple[tuple[str, str, Literal["space", "time"]], ...] = (
    ("passes behind", "passes by", "space"),
    ("moves away from", "moves towards", "time"),
    ("falls", "rises", "time"),
    ("rolls right", "rolls left", "time"),
)
"""Pairs of events that differ in one thing alone.

``time``: the same draws played backwards, so the frames without their order say nothing. ``space``: the same path and
timing, through the target (boxes overlap for a while) or past it (they never do).
"""


def plan_event(
    kind: EventKind, things: list[Thing], rng: np.random.Generator, frames: int, size: int
) -> tuple[Centre, Angle]:
    """Centres ``[O F 2]`` and angles ``[O F]`` of the actor (and the target) in pixels, wholly inside the picture.

    Args:
        kind: what happens.
        things: the actor, then the target where there is one.
        rng: where the draws come from.
        frames: length ``F`` of the video.
        size: width and height of the picture in pixels.

    Raises:
        RuntimeError: no draw fits into the picture, which would be a fault of the plan.
    """
    unit = size / 96.0
    radius = np.array([thing.radius for thing in things]) / unit
    reach = radius * [SHAPES[thing.shape] for thing in things]
    u = np.linspace(0.0, 1.0, frames)
    # Drawn until the path fits: to shrink it would change speeds, which some events are known by.
    for _ in range(200):
        path = kind.plan(rng, reach, u)
        tilt = rng.uniform(-kind.tilt, kind.tilt)
        if tilt:
            cos, sin = np.cos(tilt), np.sin(tilt)
            # Tilted, so that no event is known by the direction of its path.
            path = path @ np.array([[cos, sin], [-sin, cos]])
        if kind.backward:
            path = path[:, ::-1]
        if kind.mirror and rng.random() < 0.5:
            path = path * [-1.0, 1.0]
        edge = (REACH * radius)[:, None] + 0.5
        low = (path - edge[:, None]).min(axis=(0, 1))
        high = (path + edge[:, None]).max(axis=(0, 1))
        room = 96.0 - (high - low)
        if (room >= 0.0).all():
            # Anywhere in the picture where the whole path has room.
            path = path - low + rng.uniform(0.0, 1.0, 2) * room
            break
    else:
        raise RuntimeError(f"{kind.name!r} does not fit into the picture with radii {radius.round(1).tolist()}")
    angle = np.repeat(rng.normal(0.0, 0.12, len(things))[:, None], frames, axis=1)
    if kind.roll:
        # From the leftmost place on: played backwards, rolling right is rolling left to the pixel.
        angle[0] += (path[0, :, 0] - path[0, :, 0].min()) / reach[0]
    if kind.spin:
        angle[0] += rng.choice([-1.0, 1.0]) * 2.0 * np.pi * rng.uniform(0.85, 1.4) * _progress(rng, u, ease=0.4)
    return path * unit, angle
