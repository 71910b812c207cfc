"""The built-in world as a data set: reproducible, balanced, disjoint, and the same through mp4 files."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stg.datasets.world.dataset import World
from stg.datasets.world.events import EVENTS
from stg.datasets.world.rendering import COLOURS, SHAPES
from stg.runtime.errors import StgError, UserError

WORLD = World(train=128, val=32, test=32)


def fingerprint(world: World, videos: list[str]) -> str:
    digest = hashlib.sha256()
    for video in videos:
        digest.update(world.sample(video).frames.tobytes())
        digest.update("\n".join(world.captions(video)).encode())
    return digest.hexdigest()


def test_another_process_draws_the_same_pixels_without_torch() -> None:
    videos = ["train-00003", "val-00000", "test-00031"]
    code = f"""
import hashlib, sys
from stg.datasets.world.dataset import World
assert not {{"torch", "av", "torchvision"}} & set(sys.modules), "importing the world is to be cheap"
world, digest = World(train=128, val=32, test=32), hashlib.sha256()
for video in {videos!r}:
    digest.update(world.sample(video).frames.tobytes())
    digest.update("\\n".join(world.captions(video)).encode())
assert "torch" not in sys.modules
print(digest.hexdigest())
"""
    root = Path(__file__).resolve().parents[4]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert other.returncode == 0, other.stderr
    assert other.stdout.strip() == fingerprint(WORLD, videos)


def test_a_video_does_not_depend_on_how_many_there_are_but_on_the_seed() -> None:
    same, other = World(train=20), World(seed=1, train=20)
    assert fingerprint(WORLD, ["train-00012"]) == fingerprint(same, ["train-00012"])
    assert fingerprint(WORLD, ["train-00012"]) != fingerprint(other, ["train-00012"])
    falling = [World(seed=seed, train=1, events=("falls",)).event("train-00000") for seed in (0, 1)]
    assert falling[0] != falling[1], "the seed decides the cast, not only the order of the verbs"


def test_no_two_videos_show_the_same() -> None:
    dataset = WORLD.dataset()
    pictures = {
        WORLD.render(video, np.array([0, 59])).tobytes() for videos in dataset.splits.values() for video in videos
    }
    assert len(pictures) == 128 + 32 + 32


def test_the_data_set_is_clean_and_of_the_default_size() -> None:
    data = World().dataset()
    assert {split: row["videos"] for split, row in data.counts().items()} == {"train": 600, "val": 100, "test": 200}
    assert data.name == "moving objects"
    assert data.problems() == {}
    assert data.splits["train"][12] == "train-00012"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_verbs_are_balanced_within_every_split(split: str) -> None:
    verbs = Counter(WORLD.event(video).verb for video in WORLD.dataset().splits[split])
    assert set(verbs) == set(EVENTS)
    assert max(verbs.values()) == min(verbs.values())


def test_looks_and_cast_do_not_tell_the_verb() -> None:
    world = World(train=40 * len(EVENTS))
    shapes, colours, places, counts = (Counter[tuple[str, object]]() for _ in range(4))
    for index in range(world.train):
        script = world.script(f"train-{index:05d}")
        event = script.event
        shapes[event.verb, event.actor.shape] += 1
        colours[event.verb, event.actor.colour] += 1
        places[event.verb, script.actor] += 1
        counts[event.verb, len(script.things)] += 1
    for verb in EVENTS:
        assert len({shape for shape in SHAPES if shapes[verb, shape]}) >= 5
        assert max(shapes[verb, shape] for shape in SHAPES) <= 18
        assert len({colour for colour in COLOURS if colours[verb, colour]}) >= 5
        assert max(colours[verb, colour] for colour in COLOURS) <= 18
        assert min(places[verb, place] for place in range(3)) >= 3, "the actor has no place of its own in the cast"
        assert counts[verb, 3] + counts[verb, 4] == 40
        assert min(counts[verb, 3], counts[verb, 4]) >= 8


def test_no_two_things_of_a_video_look_the_same() -> None:
    for index in range(64):
        things = WORLD.script(f"train-{index:05d}").things
        assert len({(thing.shape, thing.colour) for thing in things}) == len(things)


def test_some_distractors_move_and_hardly_any_gets_in_the_way() -> None:
    moving = total = touching = 0
    for index in range(128):
        video = f"train-{index:05d}"
        script = WORLD.script(video)
        boxes, _ = WORLD.truth(video, np.arange(60))
        for other in set(range(len(script.things))) - {script.actor, script.target}:
            total += 1
            moving += np.ptp(script.motion.centre[other], axis=0).max() > 4
            for player in {script.actor, script.target} - {None}:
                side = np.minimum(boxes[:, other, 2:], boxes[:, player, 2:]) - np.maximum(
                    boxes[:, other, :2], boxes[:, player, :2]
                )
                touching += bool((side.clip(0).prod(-1) > 4).any())
    assert 0.25 * total < moving < 0.75 * total
    assert touching < 0.06 * total


def test_everything_stays_in_the_picture() -> None:
    for index in range(64):
        boxes, hidden = WORLD.truth(f"train-{index:05d}", np.arange(60))
        assert boxes.min() >= -0.5
        assert boxes.max() <= 96.5
        assert ((boxes[..., 2:] - boxes[..., :2]) > 6).all()
        assert (hidden >= 0).all()
        assert (hidden <= 1).all()


def test_only_the_asked_frames_are_drawn_and_each_as_ever() -> None:
    sample = WORLD.sample("test-00001")
    assert sample.frames.shape == (10, 96, 96, 3)
    assert sample.frame_number.tolist() == [3, 9, 15, 21, 27, 33, 39, 45, 51, 57]
    assert (sample.total_frames, sample.fps, sample.num_unique, sample.truncated) == (60, 12.0, 10, False)
    whole = WORLD.render("test-00001", np.arange(60))
    assert np.array_equal(sample.frames, whole[sample.frame_number])
    ends = WORLD.sample("test-00001", num_frames=4, sampling="linspace")
    assert ends.frame_number.tolist() == [0, 20, 39, 59]


def test_more_samples_than_frames_repeat_frames() -> None:
    sample = World(train=1, frames=20).sample("train-00000", num_frames=30)
    assert len(sample.frames) == 30
    assert sample.num_unique == 20


def test_the_boxes_hold_the_pixels_that_a_thing_covers() -> None:
    """The wall alone against the wall with things: what differs lies in the boxes, and reaches their edges."""
    from stg.datasets.world.rendering import Motion, background, boxes_of, render

    for index in range(24):
        video = f"train-{index:05d}"
        script = WORLD.script(video)
        wall = background(np.random.default_rng(0), 96)
        for o, thing in enumerate(script.things):
            motion = Motion(script.motion.centre[o : o + 1], script.motion.angle[o : o + 1], np.zeros(1))
            picture = render([thing], motion, np.array([30]), wall)[0]
            empty = render([], Motion(np.zeros((0, 60, 2)), np.zeros((0, 60)), np.zeros(0)), np.array([30]), wall)[0]
            row, column = np.nonzero(np.abs(picture.astype(int) - empty).max(axis=-1) > 6)
            seen = np.array([column.min(), row.min(), column.max() + 1, row.max() + 1])
            assert np.abs(seen - boxes_of([thing], motion)[30, 0]).max() < 2.2, (video, thing.shape)


def test_mp4_files_decode_to_nearly_the_same_pixels_and_the_same_boxes(tmp_path: Path) -> None:
    from stg.video.decoding import sample_video

    detector = WORLD.detector()
    for video in ("train-00007", "test-00002"):
        WORLD.write_mp4(video, tmp_path / f"{video}.mp4")
        drawn, decoded = WORLD.sample(video), sample_video(tmp_path / f"{video}.mp4")
        assert decoded.video == video
        assert decoded.total_frames == 60
        assert decoded.fps == pytest.approx(12.0)
        assert np.array_equal(decoded.frame_number, drawn.frame_number)
        difference = np.abs(decoded.frames.astype(int) - drawn.frames)
        assert difference.mean() < 2.0
        assert difference.max() < 40
        for a, b in zip(detector(drawn), detector(decoded), strict=True):
            assert np.array_equal(a.boxes, b.boxes)
            assert np.array_equal(a.scores, b.scores)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test-00002.mp4", "train-00007.mp4"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StgError, match=r"could not write .*no folder.*train-00000\.mp4"):
        WORLD.write_mp4("train-00000", tmp_path / "no folder" / "train-00000.mp4")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "train-00000.mp4").mkdir()
    with pytest.raises(StgError, match="could not write"):
        WORLD.write_mp4("train-00000", tmp_path / "train-00000.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.mp4"]


@pytest.mark.parametrize("video", ["train-00128", "train-12", "dev-00001", "train-0000x", "", "train--0001"])
def test_unknown_videos_are_refused_with_the_sizes_of_the_splits(video: str) -> None:
    with pytest.raises(UserError, match=rf"no video '{video}' in this world of 128 train, 32 val, 32 test videos"):
        WORLD.sample(video)


def test_frames_beyond_the_end_are_refused() -> None:
    with pytest.raises(UserError, match=r"has frames 0 to 59; got \[60\]"):
        WORLD.truth("train-00000", np.array([60]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"train": 0}, "train of the world must be at least 1; got 0"),
        ({"seed": -1}, "seed of the world must be at least 0; got -1"),
        ({"size": 16}, "size of the world must be at least 48; got 16"),
        ({"size": 5000}, "size of the world is too large: 5000"),
        ({"frames": 3}, "frames of the world must be at least 20; got 3"),
        ({"light": 2.0}, r"light of the world must lie in 0..1.5; got 2.0"),
        ({"events": ("falls", "sings")}, "events must be different ones of .*; got 'sings'"),
        ({"events": ()}, "events must be different ones of .*; got none"),
        ({"events": ("falls", "falls")}, "events must be different ones of .*; got 'falls', 'falls'"),
    ],
)
def test_impossible_worlds_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        World(**wrong)  # type: ignore[arg-type]


def test_a_world_of_chosen_events_shows_only_those() -> None:
    world = World(train=10, events=("falls", "rises"))
    assert Counter(world.event(f"train-{i:05d}").verb for i in range(10)) == {"falls": 5, "rises": 5}


def test_another_size_scales_the_picture_and_the_boxes() -> None:
    large = World(train=4, size=192)
    number = np.array([30])
    for index in range(4):
        video = f"train-{index:05d}"
        boxes, small = large.truth(video, number)[0], World(train=4).truth(video, number)[0]
        player = large.script(video).actor
        assert boxes[0, player] / 2 == pytest.approx(small[0, player], abs=1e-6)
    assert large.sample("train-00000").frames.shape == (10, 192, 192, 3)


def test_without_light_the_wall_is_the_same_everywhere() -> None:
    def slope(light: float) -> float:
        picture = World(train=1, light=light).sample("train-00000", num_frames=1).frames[0].astype(float)
        rows = np.median(picture.mean(axis=-1), axis=1)
        return abs(rows[-16:].mean() - rows[:16].mean())

    assert slope(1.0) > 60
    assert slope(0.0) < 12


def test_the_manifest_is_json_and_tells_worlds_apart() -> None:
    texts = {json.dumps(world.manifest()) for world in (World(), World(seed=1), World(frames=61), World(light=0.0))}
    assert len(texts) == 4
