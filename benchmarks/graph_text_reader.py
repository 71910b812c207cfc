"""Rules that name the event of a video of the built-in world from what :func:`graphs.to_text` wrote of it."""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_SIZE = re.compile(r"picture \(width x height\) (\d+) x (\d+)")
_LINE = re.compile(r"^([A-Z]+) places: (.*)$", re.MULTILINE)
_PLACE = re.compile(r"(?:frame )?([\d.]+)(?: s)? [a-z ]+\(([\d.-]+), ([\d.-]+); ([\d.]+) x ([\d.]+)\)")

DRIFT = 0.235
"""Longest way of an object that has no part in an event, with the jitter of its boxes; in widths of the picture."""


class Things(NamedTuple):
    """What a text says of its tracks, at all times that any of them is seen; lengths in widths of the picture.

    Args:
        centre: ``[K F 2]`` x and y, between the times at which a track is seen on a straight line.
        side: ``[K]`` mean of width and height.
        high: ``[K]`` mean height.
        seen: ``[K F]`` whether the text gives a place.
    """

    centre: Float[np.ndarray, "K F 2"]
    side: Float[np.ndarray, " K"]
    high: Float[np.ndarray, " K"]
    seen: np.ndarray


def read(text: str) -> Things:
    """The places in a text; tracks that take each other up are joined, boxes that are seen once or twice left out."""
    size = _SIZE.search(text)
    width, height = (int(part) for part in size.groups()) if size else (1, 1)
    rows = [
        np.array([[float(value) for value in place] for place in _PLACE.findall(line)]).reshape(-1, 5)
        for _, line in _LINE.findall(text)
    ]
    scale = np.array([1, 1, height / width, 1, height / width])
    tracks = join([_without_jumps(row * scale) for row in rows if len(row)])
    times = np.unique(np.concatenate([row[:, 0] for row in tracks])) if tracks else np.zeros(0)
    tracks = [row for row in tracks if len(row) >= min(3, len(times))]
    centre = [np.stack([np.interp(times, row[:, 0], row[:, axis]) for axis in (1, 2)], 1) for row in tracks]
    return Things(
        np.array(centre).reshape(len(tracks), len(times), 2),
        np.array([row[:, 3:].mean() for row in tracks]),
        np.array([row[:, 4].mean() for row in tracks]),
        np.array([np.isin(times, row[:, 0]) for row in tracks]).reshape(len(tracks), len(times)),
    )


def _without_jumps(row: np.ndarray) -> np.ndarray:
    """Without places far from both neighbours, which are near to each other: another object, linked wrongly."""
    point = row[:, 1:3]
    if len(row) < 3:
        return row
    # The ends have two neighbours on one side.
    before = np.concatenate([point[1:2], point[:-2], point[-3:-2]])
    after = np.concatenate([point[2:3], point[2:], point[-2:-1]])
    apart = [np.linalg.norm(point - other, axis=1) for other in (before, after)]
    jump = (np.minimum(*apart) > 0.2) & (np.linalg.norm(before - after, axis=1) < 0.12)
    return row[~jump]


def join(tracks: list[np.ndarray]) -> list[np.ndarray]:
    """Tracks of which one begins where the other was going when it was lost, as one."""
    tracks = sorted(tracks, key=lambda row: row[0, 0])
    joined: list[np.ndarray] = []
    for row in tracks:
        best, least = None, 0.15
        for place, old in enumerate(joined):
            step = row[0, 0] - old[-1, 0]
            if step <= 0:
                continue
            speed = (old[-1, 1:3] - old[-2, 1:3]) / (old[-1, 0] - old[-2, 0]) if len(old) > 1 else np.zeros(2)
            ways = [old[-1, 1:3] + share * speed * step for share in (0, 0.5, 1)]
            off = min(np.linalg.norm(row[0, 1:3] - way) for way in ways) + abs(row[:, 3:].mean() - old[:, 3:].mean())
            if off < least:
                best, least = place, off
        if best is None:
            joined.append(row)
        else:
            joined[best] = np.concatenate([joined[best], row])
    return joined


def name_event(text: str) -> str:
    """The event of the built-in world that a text describes: one of those of two objects that fits, else of one."""
    things = read(text)
    if not len(things.centre) or things.centre.shape[1] < 2:
        return "spins"
    ways = things.centre[:, :, None] - things.centre[:, None]
    spread = np.linalg.norm(ways, axis=-1).max((1, 2))
    actor = int(spread.argmax())
    others = [k for k in range(len(spread)) if k != actor]
    path = things.centre[actor]
    start, end = path[:2].mean(0), path[-2:].mean(0)
    net = float(np.linalg.norm(end - start))
    # How far the path bends to the side of the line between its farthest places.
    at = np.unravel_index(np.linalg.norm(ways[actor], axis=-1).argmax(), ways[actor].shape[:2])
    along = _unit(path[at[1]] - path[at[0]])
    aside = float(np.ptp((path - path[at[0]]) @ np.array([-along[1], along[0]])))
    if any(_turns(path - things.centre[other]) for other in others) and aside > 0.1:
        return "circles"
    lift = min(path[0, 1], path[-1, 1]) - path[:, 1].min()
    if lift > 0.06 and aside > 0.09:
        return _jump(things, actor, others)
    if spread[actor] < 0.12:
        return "spins"
    if net < 0.8 * spread[actor] and aside < 0.1:
        return "collides with"
    if spread[actor] < DRIFT:
        return "spins"
    return _straight(things, actor, others, start, end)


def _unit(way: np.ndarray) -> np.ndarray:
    return way / max(float(np.linalg.norm(way)), 1e-9)


def _turns(way: np.ndarray) -> bool:
    """Whether one goes around another, most of a turn at one distance."""
    turned = np.unwrap(np.arctan2(way[:, 1], way[:, 0]))
    far = np.linalg.norm(way, axis=1)
    return abs(turned[-1] - turned[0]) > 1.4 * np.pi and far.std() < 0.2 * far.mean()


def _jump(things: Things, actor: int, others: list[int]) -> str:
    """Into what is larger and there at the end, or over it."""
    end = things.centre[actor, -2:].mean(0)
    into = [other for other in others if np.linalg.norm(things.centre[other, -1] - end) < 0.35 * things.side[other]]
    return "jumps into" if into else "jumps over"


def _straight(things: Things, actor: int, others: list[int], start: np.ndarray, end: np.ndarray) -> str:
    """What somebody does who goes straight from one place to another."""
    way, long = _unit(end - start), float(np.linalg.norm(end - start))
    found = []
    for other in others:
        path = things.centre[other]
        moved = (path[-2:].mean(0) - path[:2].mean(0)) @ way
        reach = 0.455 * (things.side[actor] + things.side[other])
        offset = path - things.centre[actor]
        before, side = offset.mean(0) @ way, abs(offset.mean(0) @ np.array([-way[1], way[0]]))
        if moved > 0.7 * long and np.ptp(offset @ way) < 0.08:
            found.append((0.0, "carries" if side > abs(before) else "follows"))
        elif moved > 0.12 and abs(offset[-1] @ way - 0.94 * reach) < 0.06 and side < 0.08:
            found.append((0.0, "pushes"))
        elif moved < 0.1:
            place = path[:2].mean(0) - start
            found += _passing(float(place @ way), abs(float(place @ np.array([-way[1], way[0]]))), long, reach)
    fits, event = min(found, default=(9.0, ""))
    if abs(way[1]) > 0.8:
        return "falls" if way[1] > 0 else "rises"
    # A path that is level by chance is rare, and so is a place that fits by chance.
    if fits > (1.5 if abs(end[1] - start[1]) < 0.03 else 9.0) or not event:
        return "rolls right" if way[0] > 0 else "rolls left"
    return event


def _passing(place: float, side: float, long: float, reach: float) -> list[tuple[float, str]]:
    """How badly each event fits that a still object lies so far along a path and to its side; 0: as planned."""

    def off(value: float, low: float, high: float) -> float:
        return max(low - value, value - high, 0.0) / 0.02

    after = long - place
    passed = off(place, reach + 0.042, reach + 0.104) + off(after, reach + 0.042, reach + 0.104)
    return [
        (passed + off(side, 0.0, 0.03), "passes behind"),
        (passed + off(side, 1.3 * reach + 0.03, 1.3 * reach + 0.075), "passes by"),
        (off(-place, reach + 0.02, reach + 0.052) + off(side, 0.0, 0.02), "moves away from"),
        (off(-after, reach + 0.02, reach + 0.052) + off(side, 0.0, 0.02), "moves towards"),
    ]
