"""Shapes, backgrounds and pixels of the built-in world."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.88, 0.14, 0.14),
    "green": (0.12, 0.66, 0.22),
    "blue": (0.13, 0.33, 0.92),
    "yellow": (0.96, 0.86, 0.12),
    "purple": (0.60, 0.18, 0.76),
    "white": (0.97, 0.97, 0.97),
}
"""Colour word -> RGB before the small jitter that each thing gets."""

SIZES: dict[str, tuple[float, float]] = {"small": (5.5, 6.5), "medium": (8.0, 9.5), "large": (11.5, 13.0)}
"""Size word -> range of the radius, in 1/96 of the picture's width."""

SHAPES: dict[str, float] = {
    "circle": 0.95,
    "square": 0.86,
    "triangle": 0.80,
    "star": 0.85,
    "diamond": 0.80,
    "cross": 0.92,
}
"""Shape word -> how far it reaches on the mean, in radii: where things are said to touch."""

REACH = 1.12
"""No shape reaches farther than this, in radii."""

_STAR = (1.12, 0.52)
_TRIANGLE = 1.12
_DIAMOND = (0.72, 1.12)
_CROSS = (1.0, 0.38)
_SQUARE = 0.84
_CIRCLE = 0.95


@dataclass(frozen=True)
class Thing:
    """One object: its words and how it is drawn."""

    shape: str
    colour: str
    size: str
    radius: float
    """Pixels."""
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class Motion:
    """Where every object of a video is, in every frame.

    Args:
        centre: ``[O F 2]`` x and y in pixels; pixel i covers i to i + 1, y grows downwards.
        angle: ``[O F]`` radians, clockwise on the screen.
        depth: ``[O]`` larger is nearer and hides the smaller.
    """

    centre: Float[np.ndarray, "O F 2"]
    angle: Float[np.ndarray, "O F"]
    depth: Float[np.ndarray, " O"]


def outline(shape: str) -> Float[np.ndarray, "V 2"]:
    """Corners of a shape of radius 1; for the circle, its four extreme points."""
    if shape == "triangle":
        turn = np.arange(3) * (2 * np.pi / 3)
        return _TRIANGLE * np.stack([np.sin(turn), -np.cos(turn)], axis=-1)
    if shape == "star":
        turn = np.arange(5) * (2 * np.pi / 5)
        return _STAR[0] * np.stack([np.sin(turn), -np.cos(turn)], axis=-1)
    if shape == "cross":
        a, b = _CROSS
        return np.array([[x, y] for p, q in ((a, b), (b, a)) for x in (-p, p) for y in (-q, q)])
    if shape == "square":
        return _SQUARE * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    wide, high = _DIAMOND if shape == "diamond" else (_CIRCLE, _CIRCLE)
    return np.array([[-wide, 0.0], [wide, 0.0], [0.0, -high], [0.0, high]])


def boxes_of(things: Sequence[Thing], motion: Motion) -> Float[np.ndarray, "F O 4"]:
    """Tight boxes ``(x1, y1, x2, y2)`` of all objects in all frames, in pixels."""
    boxes = np.empty((motion.angle.shape[1], len(things), 4))
    for o, thing in enumerate(things):
        corners = outline(thing.shape) * thing.radius
        # A circle's four extreme points must not turn: its box stays the same.
        angle = motion.angle[o] if thing.shape != "circle" else np.zeros_like(motion.angle[o])
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x = cos * corners[:, 0] - sin * corners[:, 1]
        y = sin * corners[:, 0] + cos * corners[:, 1]
        low = np.stack([x.min(axis=1), y.min(axis=1)], axis=-1)
        high = np.stack([x.max(axis=1), y.max(axis=1)], axis=-1)
        boxes[:, o] = np.concatenate([motion.centre[o] + low, motion.centre[o] + high], axis=-1)
    return boxes


def hidden_share(boxes: Float[np.ndarray, "F O 4"], depth: Float[np.ndarray, " O"]) -> Float[np.ndarray, "F O"]:
    """How much of each box lies behind the nearer box that covers most of it, 0 to 1."""
    a, b = boxes[:, :, None], boxes[:, None, :]
    side = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = side.clip(min=0.0).prod(axis=-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
    nearer = depth[None, :] > depth[:, None]
    return (shared * nearer).max(axis=2) / area


def background(rng: np.random.Generator, size: int, strength: float = 1.0) -> Float32[np.ndarray, "H W 3"]:
    """A patchy wall under uneven light: brighter above, bluish on the left and brownish on the right.

    The light is the same in every video up to jitter, as daylight and floor are in real ones, so that the little
    background in a crop shows roughly where the crop lies, which an object's appearance otherwise could not.
    ``strength`` 0 takes the light away.
    """
    level = rng.uniform(0.39, 0.45)
    light, warmth = strength * rng.uniform(0.17, 0.22), strength * rng.uniform(0.14, 0.19)
    across = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    wall = np.empty((size, size, 3), dtype=np.float32)
    wall[:] = level - light * across[:, None, None]
    wall += (warmth * across)[None, :, None] * np.array([1.0, 0.0, -1.0], dtype=np.float32)
    patch = -(-size // 8)
    coarse = rng.uniform(-0.02, 0.02, (8, 8, 1)).astype(np.float32)
    # Patches, so that a thing is not found by being the only edge.
    wall += np.kron(coarse, np.ones((patch, patch, 1), dtype=np.float32))[:size, :size]
    wall += rng.normal(0.0, 0.012, (size, size, 1)).astype(np.float32)
    return wall


def render(
    things: Sequence[Thing],
    motion: Motion,
    frame_number: Int[np.ndarray, " T"],
    wall: Float32[np.ndarray, "H W 3"],
) -> UInt8[np.ndarray, "T H W 3"]:
    """Draw the asked frames, and only those: far objects first, edges smoothed over one pixel."""
    height, width = wall.shape[:2]
    # Room around the picture, so that things at its edge need no case of their own.
    margin = int(np.ceil(REACH * max((thing.radius for thing in things), default=1.0))) + 2
    canvas = np.zeros((len(frame_number), height + 2 * margin, width + 2 * margin, 3), dtype=np.float32)
    canvas[:, margin:-margin, margin:-margin] = wall
    frame = np.arange(len(frame_number))[:, None, None]
    # All frames of one thing at once, the farthest first; nearer ones are painted over it.
    for o in np.argsort(motion.depth, kind="stable"):
        thing = things[o]
        half = int(np.ceil(REACH * thing.radius)) + 1
        centre = motion.centre[o, frame_number] + margin
        first = np.floor(centre).astype(np.int64) - half
        # A thing that has left the picture altogether is drawn in the margin, which is cut off below.
        first = first.clip(0, [width + 2 * margin - 2 * half - 1, height + 2 * margin - 2 * half - 1])
        cell = first[:, None, :] + np.arange(2 * half + 1)[None, :, None]
        offset = (cell + 0.5 - centre[:, None, :]).astype(np.float32) / np.float32(thing.radius)
        dx, dy = offset[:, None, :, 0], offset[:, :, None, 1]
        angle = motion.angle[o, frame_number].astype(np.float32)
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        # Into the thing's own axes, in which its outline stands still.
        x, y = cos * dx + sin * dy, cos * dy - sin * dx
        # A signed distance in pixels, clipped to 0..1: the share of the pixel that the thing covers.
        cover = (0.5 - _distance(thing.shape, x, y) * np.float32(thing.radius)).clip(0.0, 1.0)[..., None]
        # Bright at its own top and dark at its own bottom: a turning circle must be seen to turn.
        shade = (0.80 - 0.34 * y).clip(0.45, 1.06)[..., None]
        row, column = cell[:, :, None, 1], cell[:, None, :, 0]
        below = canvas[frame, row, column]
        canvas[frame, row, column] = below + cover * (shade * np.array(thing.rgb, dtype=np.float32) - below)
    picture = canvas[:, margin:-margin, margin:-margin]
    return (picture.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the outline of the shape of radius 1, negative inside; exact except near corners."""
    if shape == "circle":
        return np.hypot(x, y) - _CIRCLE
    x = np.abs(x)
    if shape == "square":
        return np.maximum(x, np.abs(y)) - _SQUARE
    if shape == "diamond":
        wide, high = _DIAMOND
        return (high * x + wide * np.abs(y) - wide * high) / np.hypot(wide, high)
    if shape == "triangle":
        return np.maximum(y, np.sqrt(3) / 2 * x - 0.5 * y) - _TRIANGLE / 2
    if shape == "cross":
        long, wide = _CROSS
        y = np.abs(y)
        return np.minimum(np.maximum(x - long, y - wide), np.maximum(x - wide, y - long))
    if shape == "star":
        # All ten edges are one edge after folding the plane into a tenth of a turn.
        tip, notch = _STAR
        step = np.pi / 5
        turn = np.arctan2(x, -y) % (2 * step)
        turn = np.minimum(turn, 2 * step - turn)
        radius = np.hypot(x, y)
        px, py = radius * np.cos(turn) - tip, radius * np.sin(turn)
        ex, ey = notch * np.cos(step) - tip, notch * np.sin(step)
        return (px * ey - py * ex) / np.hypot(ex, ey)
    raise ValueError(f"shape must be one of {', '.join(SHAPES)}; got {shape!r}")
