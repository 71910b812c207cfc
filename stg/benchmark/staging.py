"""Scenes made harder to see, as a level asks: what bystanders do, what comes before and after, how it is filmed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stg.benchmark.levels import PLAIN, Level
from stg.benchmark.twins import FRAMES, SIDE, Scene, View
from stg.datasets.world.directing import direct_cast
from stg.datasets.world.events import EVENTS, plan_event
from stg.datasets.world.rendering import Motion

ALONE = ("rolls left", "rolls right", "falls", "rises")
"""What bystanders do."""


def harder(scene: Scene, level: Level, seed: tuple[int, ...]) -> Scene:
    """The scene at a level; the same event of the same things.

    Args:
        scene: of :data:`FRAMES` frames.
        level: how hard.
        seed: of all draws.
    """
    if level == PLAIN:
        return scene
    rng = np.random.default_rng(seed)
    if level.distractors:
        scene = _distracted(scene, level.distractors, rng)
    if level.events > 1:
        scene = _in_a_row(scene, level.events, rng)
    return replace(scene, view=_view(level, scene.frames, rng))


def _bystanders(scene: Scene) -> list[int]:
    return [place for place in range(len(scene.things)) if place not in (scene.actor, scene.target)]


def _distracted(scene: Scene, count: int, rng: np.random.Generator) -> Scene:
    centre, angle = scene.motion.centre.copy(), scene.motion.angle.copy()
    for place in rng.permutation(_bystanders(scene))[:count]:
        kind = EVENTS[ALONE[int(rng.integers(len(ALONE)))]]
        path, turned = plan_event(kind, [scene.things[place]], rng, FRAMES, SIDE)
        centre[place], angle[place] = path[0], turned[0]
    return replace(scene, motion=Motion(centre, angle, scene.motion.depth))


def _in_a_row(scene: Scene, count: int, rng: np.random.Generator) -> Scene:
    """The event among others of bystanders (or of the target, where there are none), with cuts between."""
    others = _bystanders(scene) or [place for place in range(len(scene.things)) if place != scene.actor]
    parts = list[tuple[np.ndarray, np.ndarray]]()
    asked = int(rng.integers(count))
    for slot in range(count):
        if slot == asked:
            parts.append((scene.motion.centre, scene.motion.angle))
            continue
        actor = int(rng.choice(others))
        cast = [scene.things[actor], *(thing for i, thing in enumerate(scene.things) if i != actor)]
        script = direct_cast(ALONE[int(rng.integers(len(ALONE)))], cast, rng, FRAMES, SIDE)
        order = _places(script.things, scene.things)
        centre = script.motion.centre[order].copy()
        # All others stand still: drifting, the actor would do something too.
        still = [place for place in range(len(scene.things)) if place != actor]
        centre[still] = centre[still, :1]
        parts.append((centre, script.motion.angle[order]))
    centre, angle = (np.concatenate(found, axis=1) for found in zip(*parts, strict=True))
    return replace(scene, motion=Motion(centre, angle, scene.motion.depth))


def _places(things: Sequence[object], wanted: Sequence[object]) -> list[int]:
    return [things.index(thing) for thing in wanted]


def _view(level: Level, frames: int, rng: np.random.Generator) -> View:
    u = np.linspace(0.0, 1.0, frames)
    # Two slow swings a direction, so that the camera is never still and never far.
    swings = rng.uniform(0.4, 1.3, (2, 2, 1)) * 2 * np.pi * u + rng.uniform(0.0, 2 * np.pi, (2, 2, 1))
    camera = (level.drift * np.sin(swings).mean(0)).T
    bars = list[tuple[float, float, float]]()
    for _ in range(level.occluders):
        width, left = rng.uniform(7.0, 11.0), rng.uniform(10.0, SIDE - 22.0)
        bars.append((left, left + width, rng.uniform(0.15, 0.35)))
    return View(camera, tuple(bars), level.noise, bool(level.texture), np.arange(frames))
