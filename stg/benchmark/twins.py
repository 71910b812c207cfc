"""Clips of a bench, and their twins, which differ from them in one thing alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from stg.datasets.world.directing import Script
from stg.datasets.world.rendering import Motion, Thing, background, boxes_of, render

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
class Scene:
    """What happens in a clip, and where all things are.

    Args:
        things: in random order.
        motion: of the things, in a picture of :data:`SIDE` pixels.
        verb: the event; None where all things stand still.
        actor, target: places among the things; None where there is none.
        wall: seed of the background.
    """

    things: tuple[Thing, ...]
    motion: Motion
    verb: str | None
    actor: int | None
    target: int | None
    wall: tuple[int, ...]

    def boxes(self, frame_number: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T O 4"]:
        """True boxes in a picture of :data:`SIDE` pixels, in the given frames."""
        return boxes_of(self.things, at_frames(self.motion, frame_number))

    def render(self, frame_number: Int[np.ndarray, " T"], size: int = SIDE) -> UInt8[np.ndarray, "T H W 3"]:
        """Pixels of the given frames, ``size`` by ``size``: a larger picture shows the same, in more detail."""
        scale = size / SIDE
        things = [replace(thing, radius=thing.radius * scale) for thing in self.things]
        motion = Motion(self.motion.centre * scale, self.motion.angle, self.motion.depth)
        # Enlarged from that of the small picture: shrunk again, it is the wall of the built-in world.
        nearest = np.arange(size) * SIDE // size
        wall = background(np.random.default_rng(self.wall), SIDE)[nearest][:, nearest]
        return render(things, motion, frame_number, wall)

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
    return replace(scene, motion=motion, verb=REVERSED[scene.verb], actor=actor, target=target)


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
