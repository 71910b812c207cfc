"""Harder clips show the same events, twins stay twins, and the level that is the built-in world stays as it was."""

import hashlib
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from stg.benchmark.balance import balance, single_frame_hits
from stg.benchmark.levels import LEVELS, PLAIN, Level, level_of, photograph
from stg.benchmark.making import MadeBench, made_again, make_bench
from stg.benchmark.questions import read_bench
from stg.benchmark.twins import SIDE
from stg.runtime.errors import UserError
from tests.stg.run_commands import run_stg


@pytest.fixture(scope="module")
def plain() -> MadeBench:
    return make_bench(0, 24)


@pytest.fixture(scope="module")
def everything() -> MadeBench:
    """All that a level can add, at once."""
    return make_bench(0, 24, Level(5, 2, 2, 8.0, 1, 10.0, 3))


def asked(made: MadeBench) -> list[str]:
    """The clips but those on numbers, of which some have lost a bystander, or stand still."""
    return [one.video for one in made.questions if one.kind != "count"]


def test_the_plain_level_is_what_it_was(plain: MadeBench) -> None:
    found = hashlib.sha256()
    for clip in plain.clips.values():
        found.update(np.round(clip.scene.boxes(np.array([0, 30, 59])), 2).tobytes())
        assert clip.scene.view is None
    found.update(repr([asdict(one) for one in (*plain.questions, *plain.key)]).encode())
    # Whoever changes this makes other benches of the same settings: scores of the old ones cannot be compared.
    assert found.hexdigest()[:16] == "cc83a6f126f525e5"


def test_a_level_asks_what_the_plain_one_asks(everything: MadeBench, plain: MadeBench) -> None:
    assert [one.kind for one in everything.questions] == [one.kind for one in plain.questions]
    for question, key in zip(everything.questions, everything.key, strict=True):
        scene = everything.clips[question.video].scene
        assert scene.frames == 180
        if question.kind == "count":
            assert question.choices[key.answer] == f"there are {('four', 'five')[len(scene.things) - 4]} objects"
        else:
            assert len(scene.things) == 5
            assert question.choices[key.answer] == scene.statement


def test_the_reverse_of_a_harder_clip_has_the_same_frames(everything: MadeBench) -> None:
    video = {one.id: one.video for one in everything.questions}
    seen = set()
    for key in (one for one in everything.key if one.twin == "reversed"):
        one, other = (everything.clips[video[str(name)]].scene for name in (key.id, key.pair))
        frames = np.array([0, 61, 179])
        assert np.array_equal(one.boxes(frames), other.boxes(179 - frames))
        assert np.array_equal(one.hidden(frames), other.hidden(179 - frames))
        if key.id.split("-")[0] not in seen:
            assert np.array_equal(one.render(frames), other.render(179 - frames))
        seen.add(key.id.split("-")[0])
    assert seen >= {"verb", "order", "role", "direction"}
    found = balance(everything, single_frame_hits(everything, ("order",)))
    assert found["order"]["share"] == 0.5


def test_the_camera_moves_things_and_wall_alike(plain: MadeBench) -> None:
    drifting = make_bench(0, 24, LEVELS["drifting"])
    name = next(one.video for one in plain.questions if one.kind == "order")
    still, moved = plain.clips[name].scene, drifting.clips[name].scene
    assert moved.view is not None
    shift = moved.view.camera[[0, 40]]
    assert 1 < np.abs(moved.view.camera).max() <= 10
    assert np.allclose(still.boxes(np.array([0, 40])) - moved.boxes(np.array([0, 40])), np.tile(shift, 2)[:, None])
    one, later = moved.render(np.array([0, 40])).astype(int)
    down, across = (np.rint(shift[1]) - np.rint(shift[0])).astype(int)[::-1]
    # The wall of the one frame lies in the other as far as the camera has gone.
    rows, columns = (slice(max(0, d), SIDE + min(0, d)) for d in (down, across))
    back = tuple(slice(max(0, -d), SIDE + min(0, -d)) for d in (down, across))
    same = np.abs(one[rows, columns] - later[back]).max(-1) <= 1
    assert same.mean() > 0.6


def test_bars_hide_and_are_known_to(plain: MadeBench) -> None:
    scene = make_bench(0, 24, Level(occluders=3)).clips["clip-00001"].scene
    assert scene.view is not None
    bar = next(iter(scene.view.bars))
    picture = scene.render(np.array([5]))[0]
    column = round((bar[0] + bar[1]) / 2)
    assert np.ptp(picture[:, column].reshape(-1)) <= 1
    inside = np.array([[[bar[0] + 1, 10.0, bar[1] - 1, 20.0], [bar[0] - 3, 0.0, bar[0], 9.0]]])
    assert scene.view.covered(inside)[0, 0] == pytest.approx(1.0)
    assert scene.view.covered(inside)[0, 1] == 0


def test_noise_has_its_deviation_and_is_drawn_for_each_frame() -> None:
    name = "clip-00002"
    noisy, clean = (make_bench(0, 24, level).clips[name].scene for level in (Level(noise=12.0), Level(noise=0.01)))
    grain = noisy.render(np.array([0, 1])).astype(float) - clean.render(np.array([0, 1]))
    assert 10 < grain.std() < 13
    assert not np.array_equal(grain[0], grain[1])


def test_bystanders_move_at_busy_levels_and_actors_do_as_before() -> None:
    calm, busy = (make_bench(0, 24, level) for level in (Level(objects=6), LEVELS["busy"]))
    for name in asked(calm):
        one, other = calm.clips[name].scene, busy.clips[name].scene
        moved = np.abs(one.motion.centre - other.motion.centre).max((1, 2)) > 0
        assert moved.sum() == 3
        for place in (one.actor, one.target):
            assert place is None or not moved[place]


def test_photographs_are_pieces_of_the_pictures_of_the_package() -> None:
    one, other = (photograph(np.random.default_rng(seed), 64) for seed in (0, 1))
    assert one.shape == (64, 64, 3)
    assert 0.12 <= one.min() < one.max() <= 0.73
    assert not np.array_equal(one, other)


def test_without_the_package_there_is_a_word_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stg.benchmark.levels.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"which is not installed: pip install 'stg\[textures\]'"):
        photograph(np.random.default_rng(0), 64)


def test_levels_are_named_or_set() -> None:
    assert level_of("plain") == level_of("") == PLAIN
    assert level_of("noisy, objects=4") == Level(objects=4, noise=20.0)
    assert LEVELS["hard"].changes == {
        "objects": 6, "distractors": 2, "occluders": 1, "drift": 6.0, "texture": 1, "noise": 8.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("harder", "a level is one of plain, crowded, .*, or settings such as objects=6,noise=8; got 'harder'"),
        ("fog=1", "a level has the settings objects, distractors, .*; got 'fog'"),
        ("objects=two", "objects of a level must be a whole number; got 'two'"),
        ("objects=9", "objects of a level must be 0, or 2 to 8; got 9"),
        ("events=2", "events of a level must be 1 or 3; got 2"),
        ("noise=nan", "noise of a level must be 0 to 64; got nan"),
    ],
)
def test_a_level_that_cannot_be_is_named(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stg("bench", ["export", str(tmp_path / "b"), "--level", text]) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_a_harder_bench_is_exported_and_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    options = ["--clips", "24", "--size", "96", "--level", "objects=4,drift=4,noise=4"]
    assert run_stg("bench", ["export", str(folder), *options]) == 0
    bench = read_bench(folder)
    assert bench.settings["level"] == {"objects": 4, "drift": 4.0, "noise": 4.0}
    assert made_again(bench).clips["clip-00000"].scene.view is not None


def test_of_three_events_in_a_row_one_is_of_the_actor(plain: MadeBench) -> None:
    sequence = make_bench(0, 24, LEVELS["sequence"])
    seen = set()
    for name in asked(plain):
        clip, scene = plain.clips[name], sequence.clips[name].scene
        parts = np.split(scene.motion.centre, 3, axis=1)
        own = [i for i, part in enumerate(parts) if np.array_equal(part, clip.scene.motion.centre)]
        assert len(own) == 1
        seen.add(own[0])
        for place, part in enumerate(parts):
            moved = np.flatnonzero(np.ptp(part, axis=1).max(-1) > 1e-9)
            assert place == own[0] or (len(moved) == 1 and moved[0] != scene.actor)
    assert seen == {0, 1, 2}
