"""Every event of the built-in world does what its verb says, and shows it in ten sampled frames."""

import itertools

import numpy as np
import pytest

from stg.datasets.world.dataset import World
from stg.datasets.world.events import CONTRASTS, EVENTS, plan_event
from stg.datasets.world.rendering import SHAPES, Thing

SAMPLED = np.arange(3, 60, 6)
EACH = 12


class Show:
    """One video of an event as its ten sampled frames show it."""

    def __init__(self, world: World, video: str) -> None:
        script = world.script(video)
        boxes, _ = world.truth(video, SAMPLED)
        self.video = video
        self.actor = boxes[:, script.actor]
        self.path = script.motion.centre[script.actor, SAMPLED]
        self.angle = script.motion.angle[script.actor, SAMPLED]
        self.depth = script.motion.depth[script.actor]
        if script.target is not None:
            self.target = boxes[:, script.target]
            self.goal = script.motion.centre[script.target, SAMPLED]
            self.goal_depth = script.motion.depth[script.target]
            self.distance = np.linalg.norm(self.path - self.goal, axis=1)
            self.iou = overlap(self.actor, self.target)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    side = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(min=0)
    area = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)]
    return side.prod(axis=1) / (area[0] + area[1] - side.prod(axis=1))


def shows(verb: str) -> list[Show]:
    world = World(train=EACH, val=0, test=0, events=(verb,))
    return [Show(world, f"train-{index:05d}") for index in range(EACH)]


def travel(path: np.ndarray) -> float:
    return float(np.linalg.norm(path[-1] - path[0]))


def test_jumps_into_comes_from_outside_through_the_air_and_ends_inside() -> None:
    for show in shows("jumps into"):
        assert show.iou[0] < 0.03
        assert show.path[:, 1].min() < show.path[[0, -1], 1].min() - 5
        assert (show.target[-1, :2] < show.path[-1]).all()
        assert (show.path[-1] < show.target[-1, 2:]).all()
        assert show.iou[-1] > 0.1
        assert travel(show.goal) < 1e-9
        assert show.depth > show.goal_depth
        assert (show.iou[-2:] > 0.1).all(), "it stays inside long enough to be seen"


def test_jumps_over_changes_sides_above_the_target() -> None:
    for show in shows("jumps over"):
        aside = show.path[:, 0] - show.goal[:, 0]
        assert aside[0] * aside[-1] < 0
        over = np.abs(aside) < 0.6 * (show.target[0, 2] - show.target[0, 0])
        assert over.any()
        assert (show.path[over, 1] < show.goal[over, 1] - 8).all()
        assert show.path[-1, 1] == pytest.approx(show.path[0, 1], abs=8)
        assert travel(show.goal) < 1e-9


def test_pushes_touches_first_and_then_moves_the_target_before_it() -> None:
    for show in shows("pushes"):
        moved = np.linalg.norm(show.goal - show.goal[0], axis=1) > 0.5
        assert not moved[0]
        assert travel(show.goal) > 10
        assert moved.sum() >= 3
        assert (~moved).sum() >= 2
        assert show.distance[~moved][0] > show.distance[-1] + 5, "it comes from a distance"
        assert np.ptp(show.distance[moved]) < 0.5, "and then they go together"
        way = show.path[-1] - show.path[0]
        assert (way * (show.goal[-1] - show.goal[0])).sum() > 0
        assert (way * (show.goal[0] - show.path[0])).sum() > 0, "the target lies ahead"


def test_follows_goes_where_the_target_was() -> None:
    for show in shows("follows"):
        assert travel(show.path) > 18
        assert travel(show.goal) > 18
        assert np.linalg.norm(show.path - show.goal[0], axis=1).min() < 9, "it comes by where the target started"
        way = show.goal[-1] - show.goal[0]
        assert ((show.goal - show.path) @ way > 0).all(), "the target is ahead all the time"
        assert show.iou.max() < 0.12


def test_circles_goes_all_around() -> None:
    for show in shows("circles"):
        away = show.path - show.goal
        turn = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
        assert abs(turn[-1] - turn[0]) > 4.7
        assert (np.diff(turn) * np.sign(turn[-1] - turn[0]) > -1e-9).all()
        assert np.ptp(show.distance) < 1e-6
        assert travel(show.goal) < 1e-9


def test_collides_comes_touches_and_both_part() -> None:
    for show in shows("collides with"):
        hit = int(np.argmin(show.distance))
        assert 1 <= hit <= 7
        assert show.distance[0] > show.distance[hit] + 8
        assert show.distance[-1] > show.distance[hit] + 8
        before, after = show.path[hit] - show.path[0], show.path[-1] - show.path[hit]
        assert before @ after < 0, "it bounces back"
        assert travel(show.goal[:hit]) < 1e-9
        assert (show.goal[-1] - show.goal[0]) @ before > 0, "the target is knocked on"


def test_carries_has_the_target_on_top_all_the_way() -> None:
    for show in shows("carries"):
        assert np.ptp(show.goal - show.path, axis=0).max() < 1e-6
        assert (show.goal[:, 1] < show.path[:, 1]).all()
        assert np.ptp(show.path[:, 0]) > 20
        assert (show.iou > 0).all()


def test_passes_behind_is_hidden_on_its_way_to_the_other_side() -> None:
    for show in shows("passes behind"):
        aside = show.path[:, 0] - show.goal[:, 0]
        assert aside[0] * aside[-1] < 0
        assert show.depth < show.goal_depth
        assert show.iou.max() > 0.15
        assert show.iou[0] < 0.05
        assert show.iou[-1] < 0.05


def test_passes_by_never_touches() -> None:
    for show in shows("passes by"):
        aside = show.path[:, 0] - show.goal[:, 0]
        assert aside[0] * aside[-1] < 0
        assert show.iou.max() < 0.01


@pytest.mark.parametrize(("verb", "sign"), [("moves away from", 1), ("moves towards", -1)])
def test_distance_to_the_target_changes_one_way(verb: str, sign: int) -> None:
    for show in shows(verb):
        change = sign * np.diff(show.distance)
        assert (change > -1e-9).all()
        assert change.sum() > 20
        assert travel(show.goal) < 1e-9


@pytest.mark.parametrize(("verb", "sign"), [("rolls left", -1), ("rolls right", 1)])
def test_rolling_turns_as_a_wheel_does(verb: str, sign: int) -> None:
    for show in shows(verb):
        assert (sign * np.diff(show.path[:, 0]) > -1e-9).all()
        assert sign * (show.path[-1, 0] - show.path[0, 0]) > 25
        assert np.ptp(show.path[:, 1]) < 1e-9
        assert sign * (show.angle[-1] - show.angle[0]) > 2, "clockwise on the screen to the right"
        assert np.abs(np.diff(show.angle)).max() < np.pi, "slow enough for the sampling"


@pytest.mark.parametrize(("verb", "sign"), [("falls", 1), ("rises", -1)])
def test_falling_is_down_and_faster_in_the_end(verb: str, sign: int) -> None:
    for show in shows(verb):
        assert (sign * np.diff(show.path[:, 1]) > -1e-9).all()
        assert sign * (show.path[-1, 1] - show.path[0, 1]) > 25
        assert np.ptp(show.path[:, 0]) < 5
        assert np.ptp(show.angle) < 1e-9


def test_spinning_turns_on_the_spot() -> None:
    for show in shows("spins"):
        assert np.ptp(show.path, axis=0).max() < 1e-9
        assert abs(show.angle[-1] - show.angle[0]) > 4
        assert np.abs(np.diff(show.angle)).max() < np.pi


def thing(shape: str, radius: float) -> Thing:
    return Thing(shape, "red", "medium", radius, (1.0, 0.0, 0.0))


@pytest.mark.parametrize(("a", "b", "only"), CONTRASTS)
def test_contrasts_differ_in_one_thing_alone(a: str, b: str, only: str) -> None:
    first, second = EVENTS[a], EVENTS[b]
    players = [thing("circle", 8.0), thing("square", 9.0)][: first.objects]
    for seed in range(6):
        if only == "time":
            centre, angle = plan_event(first, players, np.random.default_rng(seed), 60, 96)
            back, turned = plan_event(second, players, np.random.default_rng(seed), 60, 96)
            assert centre[:, ::-1] == pytest.approx(back, abs=1e-9)
            assert angle[:, ::-1] == pytest.approx(turned, abs=1e-9)
        else:
            u, reach = np.linspace(0, 1, 60), np.array([8.0, 9.0])
            through = first.plan(np.random.default_rng(seed), reach, u)
            past = second.plan(np.random.default_rng(seed), reach, u)
            assert through[..., 0] == pytest.approx(past[..., 0])
            assert np.ptp(past[0, :, 1] - through[0, :, 1]) < 1e-9
            assert abs(past[0, 0, 1] - through[0, 0, 1]) > 15


@pytest.mark.parametrize("verb", EVENTS)
def test_every_event_fits_whoever_plays(verb: str) -> None:
    kind = EVENTS[verb]
    pairs = itertools.product(SHAPES, SHAPES) if kind.objects == 2 else ((shape, shape) for shape in SHAPES)
    for seed, (a, b) in enumerate(pairs):
        for radii in ((13.0, 13.0), (5.5, 13.0), (13.0, 5.5)):
            players = [thing(a, radii[0]), thing(b, radii[1])][: kind.objects]
            centre, _ = plan_event(kind, players, np.random.default_rng(seed), 20, 96)
            assert centre.min() > 5
            assert centre.max() < 91


def test_what_cannot_fit_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"'jumps over' does not fit into the picture with radii \[40.0, 40.0\]"):
        plan_event(EVENTS["jumps over"], [thing("circle", 40.0)] * 2, np.random.default_rng(0), 20, 96)


def test_the_table_is_whole() -> None:
    asked = {"jumps into", "jumps over", "pushes", "follows", "circles", "collides with", "carries", "passes behind"}
    asked |= {"moves away from", "rolls left", "falls", "spins"}
    assert asked <= set(EVENTS)
    assert all(
        kind.name == name and kind.needs in ("space", "time", "both", "appearance") for name, kind in EVENTS.items()
    )
    assert {kind.needs for kind in EVENTS.values()} == {"space", "time", "both", "appearance"}
    assert all(a in EVENTS and b in EVENTS and EVENTS[a].needs == EVENTS[b].needs == only for a, b, only in CONTRASTS)
