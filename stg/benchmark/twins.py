"""Clips of a bench, and their twins, which differ from them in one thing alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from stg.benchmark.levels import photograph
from stg.datasets.world.directing import Script
from stg.datasets.world.rendering import Motion, Thing, background, boxes_of, hidden_share, render

SIDE = 96
"""Width and height of the world in which clips are planned: that of the built-in world."""

FRAMES, FPS = 60, 12

REVERSED = {
    "moves away from": "moves towards",
    "moves towards": "moves away from",
    "rolls left": "rolls right",
    "rolls right": "rolls left",
    "falls": "rises",
    "rises": "falls",
    "follows": "follows",
}
"""Event -> what its reverse shows. Who follows is followed in the reverse. The reverse of others shows the same event
(circling, jumping over, carrying, passing, spinning) or none that has a name (pushing, colliding, jumping into)."""


@dataclass(frozen=True)
class View:
    """How a scene is filmed, in a picture of :data:`SIDE` pixels.

    Args:
        camera: ``[F 2]`` how far the camera stands to the right and below.
        bars: upright bars in front of everything: left and right edge, and brightness of 0 to 1.
        noise: deviation of each pixel in each frame, of 255.
        texture: a photograph in the place of the wall.
        clock: ``[F]`` the number by which the noise of each frame is drawn.
    """

    camera: Float[np.ndarray, "F 2"]
    bars: tuple[tuple[float, float, float], ...]
    noise: float
    texture: bool
    clock: Int[np.ndarray, " F"]

    @property
    def margin(self) -> int:
        """How far the camera sees beyond the picture."""
        return int(np.ceil(np.abs(self.camera).max())) if self.camera.any() else 0

    def covered(self, boxes: Float[np.ndarray, "T O 4"]) -> Float[np.ndarray, "T O"]:
        """Share of each box that the bars hide, 0 to 1."""
        share = np.zeros(boxes.shape[:2])
        for left, right, _ in self.bars:
            share += (np.minimum(boxes[..., 2], right) - np.maximum(boxes[..., 0], left)).clip(min=0.0)
        return (share / (boxes[..., 2] - boxes[..., 0])).clip(max=1.0)


@dataclass(frozen=True)
class Scene:
    """What happens in a clip, and where all things are.

    Args:
        things: in random order.
        motion: of the things, in a picture of :data:`SIDE` pixels.
        verb: the event; None where all things stand still.
        actor, target: places among the things; None where there is none.
        wall: seed of the background.
        view: how it is filmed; None: as the built-in world is.
    """

    things: tuple[Thing, ...]
    motion: Motion
    verb: str | None
    actor: int | None
    target: int | None
    wall: tuple[int, ...]
    view: View | None = None

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.motion.angle.shape[1]

    def boxes(self, frame_number: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T O 4"]:
        """True boxes in a picture of :data:`SIDE` pixels, in the given frames."""
        boxes = boxes_of(self.things, at_frames(self.motion, frame_number))
        return boxes if self.view is None else boxes - np.tile(self.view.camera[frame_number], 2)[:, None]

    def hidden(self, frame_number: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T O"]:
        """The share of each box that nearer things, or bars, hide."""
        boxes = self.boxes(frame_number)
        share = hidden_share(boxes, self.motion.depth)
        return share if self.view is None else np.maximum(share, self.view.covered(boxes))

    def render(self, frame_number: Int[np.ndarray, " T"], size: int = SIDE) -> UInt8[np.ndarray, "T H W 3"]:
        """Pixels of the given frames, ``size`` by ``size``: a larger picture shows the same, in more detail.

        Raises:
            UserError: photographs are wanted, and scikit-image is not installed.
        """
        scale, margin = size / SIDE, 0 if self.view is None else self.view.margin
        side = SIDE + 2 * margin
        things = [replace(thing, radius=thing.radius * scale) for thing in self.things]
        centre = (self.motion.centre + margin) * scale
        motion = Motion(centre, self.motion.angle, self.motion.depth)
        rng, whole = np.random.default_rng(self.wall), round(side * scale)
        if self.view is not None and self.view.texture:
            wall = photograph(rng, whole)
        else:
            # Enlarged from that of the small picture: shrunk again, it is the wall of the built-in world.
            nearest = np.arange(whole) * side // whole
            wall = background(rng, side)[nearest][:, nearest]
        pictures = render(things, motion, frame_number, wall)
        return pictures if self.view is None else self._filmed(self.view, pictures, frame_number, size)

    def _filmed(
        self, view: View, pictures: UInt8[np.ndarray, "T A A 3"], frame_number: Int[np.ndarray, " T"], size: int
    ) -> UInt8[np.ndarray, "T H W 3"]:
        scale = size / SIDE
        corner = np.rint((view.margin + view.camera[frame_number]) * scale).astype(int)
        corner = corner.clip(0, pictures.shape[1] - size)
        shown = np.stack(
            [picture[y : y + size, x : x + size] for picture, (x, y) in zip(pictures, corner, strict=True)]
        ).astype(np.float32)
        for left, right, shade in view.bars:
            shown[:, :, round(left * scale) : round(right * scale)] = 255.0 * shade
        if view.noise:
            nearest = np.arange(size) * SIDE // size
            for picture, tick in zip(shown, view.clock[frame_number].tolist(), strict=True):
                # Of the small picture's pixels: shrunk, a larger one is as noisy.
                grain = np.random.default_rng((*self.wall, 8, tick)).normal(0.0, view.noise, (SIDE, SIDE, 3))
                picture += grain[nearest][:, nearest]
        return (shown + 0.5).clip(0.0, 255.0).astype(np.uint8)

    @property
    def statement(self) -> str:
        """What happens, in the words of the captions, with the colour and the shape of who takes part."""
        assert self.verb is not None
        assert self.actor is not None
        words = ["a", *look(self.things[self.actor]), self.verb]
        if self.target is not None:
            words += ["a", *look(self.things[self.target])]
        return " ".join(words)


def look(thing: Thing) -> tuple[str, str]:
    """Colour and shape."""
    return thing.colour, thing.shape


def at_frames(motion: Motion, frame_number: Int[np.ndarray, " T"]) -> Motion:
    """Where all things are in some frames."""
    return Motion(motion.centre[:, frame_number], motion.angle[:, frame_number], motion.depth)


def scene_of(script: Script, wall: tuple[int, ...]) -> Scene:
    """The scene of a script."""
    return Scene(script.things, script.motion, script.event.verb, script.actor, script.target, wall)


def reverse(scene: Scene) -> Scene:
    """The same frames in reverse order, for events of :data:`REVERSED`."""
    assert scene.verb is not None
    motion = Motion(scene.motion.centre[:, ::-1], scene.motion.angle[:, ::-1], scene.motion.depth)
    actor, target = (scene.actor, scene.target)
    if scene.verb == "follows":
        actor, target = target, actor
    view = scene.view and replace(scene.view, camera=scene.view.camera[::-1], clock=scene.view.clock[::-1])
    return replace(scene, motion=motion, verb=REVERSED[scene.verb], actor=actor, target=target, view=view)


def turn(scene: Scene, angle: float) -> Scene:
    """The actor askew by so many radians, all the time."""
    turned = scene.motion.angle.copy()
    turned[scene.actor] += angle
    return replace(scene, motion=Motion(scene.motion.centre, turned, scene.motion.depth))


def exchange_colours(scene: Scene) -> Scene:
    """Actor and target with each other's colour."""
    things = list(scene.things)
    assert scene.actor is not None
    assert scene.target is not None
    one, other = things[scene.actor], things[scene.target]
    things[scene.actor] = replace(one, colour=other.colour, rgb=other.rgb)
    things[scene.target] = replace(other, colour=one.colour, rgb=one.rgb)
    return replace(scene, things=tuple(things))


def exchange_roles(cast: Sequence[Thing]) -> list[Thing]:
    """A cast whose actor and target have each other's colour and shape, not size, which the event may depend on."""
    one, other, *rest = cast

    def like(thing: Thing, model: Thing) -> Thing:
        return replace(thing, shape=model.shape, colour=model.colour, rgb=model.rgb)

    return [like(one, other), like(other, one), *rest]


def stand_still(scene: Scene, frame: int) -> Scene:
    """The same things, which stay where they are in one frame: no event."""

    def held(values: np.ndarray) -> Any:
        return np.repeat(values[:, frame : frame + 1], values.shape[1], axis=1)

    motion = Motion(held(scene.motion.centre), held(scene.motion.angle), scene.motion.depth)
    return replace(scene, motion=motion, verb=None, actor=None, target=None)


def remove(scene: Scene, place: int) -> Scene:
    """Without one of the things, which takes no part in the event."""
    assert place not in (scene.actor, scene.target)
    keep = [i for i in range(len(scene.things)) if i != place]

    def moved(player: int | None) -> int | None:
        return None if player is None else keep.index(player)

    return replace(
        scene,
        things=tuple(scene.things[i] for i in keep),
        motion=Motion(scene.motion.centre[keep], scene.motion.angle[keep], scene.motion.depth[keep]),
        actor=moved(scene.actor),
        target=moved(scene.target),
    )
