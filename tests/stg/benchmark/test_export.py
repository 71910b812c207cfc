"""What a bench shows is what its questions say, and nothing but the clips tells the answers."""

from collections import Counter, defaultdict
from pathlib import Path

import av
import numpy as np
import pytest

from stg.benchmark.export import export
from stg.benchmark.making import MadeBench, group_counts, made_again, make_bench
from stg.benchmark.questions import KINDS, read_bench
from stg.benchmark.twins import FRAMES, SIDE, look
from stg.config.bench import LEAST_CLIPS, BenchConfig
from stg.datasets.folder import read_folder
from stg.datasets.world.dataset import World
from stg.datasets.world.scores import verb_of
from stg.runtime.errors import UserError
from tests.stg.run_commands import run_stg

ALL = np.arange(FRAMES)


@pytest.fixture(scope="module")
def made() -> MadeBench:
    return make_bench(0, 500)


def test_every_choice_is_true_as_often_as_any_other_of_its_text_and_in_its_place(made: MadeBench) -> None:
    true = defaultdict[tuple[str, ...], Counter[int]](Counter)
    for question, key in zip(made.questions, made.key, strict=True):
        true[question.kind, question.question, *question.choices][key.answer] += 1
    for (_, _, *choices), count in true.items():
        assert len(choices) in (2, 4)
        # Numbers recur; all other texts are those of one group, in which each is true once.
        assert [count[place] for place in range(len(choices))] == [count[0]] * len(choices), choices


def test_twins_have_one_text_and_different_answers(made: MadeBench) -> None:
    questions, keys = {one.id: one for one in made.questions}, {one.id: one for one in made.key}
    for key in made.key:
        assert key.pair is not None
        twin = keys[key.pair]
        assert (twin.pair, twin.answer != key.answer, twin.twin) == (key.id, True, key.twin)
        assert questions[key.id].choices == questions[twin.id].choices
        assert questions[key.id].video != questions[twin.id].video


def test_the_true_choice_is_true(made: MadeBench) -> None:
    for question, key in zip(made.questions, made.key, strict=True):
        clip, choice = made.clips[question.video], question.choices[key.answer]
        if question.kind == "count":
            assert choice == f"there are {('no', 'one', 'two', 'three', 'four')[len(clip.scene.things)]} objects"
            continue
        assert verb_of(choice) == key.event == clip.scene.verb
        assert {verb_of(caption) for caption in clip.captions} == {key.event}
        # The first caption says all there is to say.
        assert [word for word in clip.captions[0].split() if word not in ("small", "large")] == choice.split()


def test_reversed_twins_show_the_same_frames_in_reverse_order(made: MadeBench) -> None:
    video, found = {one.id: one.video for one in made.questions}, set[str]()
    for key in (one for one in made.key if one.twin == "reversed"):
        assert key.pair is not None
        one, other = (made.clips[video[name]].scene for name in (key.id, key.pair))
        assert np.array_equal(one.boxes(ALL), other.boxes(ALL)[::-1])
        assert one.wall == other.wall
        found.add(key.id.partition("-")[0])
    assert found == {"verb", "order", "role", "direction", "event"}
    assert np.array_equal(one.render(np.array([0, 7])), other.render(np.array([FRAMES - 1, FRAMES - 8])))


def test_other_twins_differ_in_one_thing(made: MadeBench) -> None:
    video = {one.id: one.video for one in made.questions}
    for key in made.key:
        assert key.pair is not None
        one, other = (made.clips[video[name]].scene for name in (key.id, key.pair))
        looks, others = (sorted(map(look, scene.things)) for scene in (one, other))
        if key.twin in ("roles", "colours"):
            assert None not in (one.actor, one.target, other.actor, other.target)
            (a, b), (c, d) = ([look(x.things[i]) for i in (x.actor, x.target) if i is not None] for x in (one, other))
            assert (c, d) == ((b, a) if key.twin == "roles" else ((b[0], a[1]), (a[0], b[1])))
            assert one.verb == other.verb
        elif key.twin == "still":
            assert (one.verb is None) != (other.verb is None)
            assert abs(len(looks) - len(others)) == 1
        else:
            assert looks == others
        if one.verb is None:
            assert np.ptp(one.motion.centre, axis=1).max() == 0 == np.ptp(one.motion.angle, axis=1).max()


def test_another_seed_makes_other_clips_and_none_is_a_video_of_the_world(made: MadeBench) -> None:
    assert make_bench(0, 40).clips != make_bench(1, 40).clips
    assert made.questions == make_bench(0, 500).questions
    world = World(train=64, val=16, test=16)
    paths = {world.script(f"train-{i:05d}").motion.centre.tobytes() for i in range(64)}
    assert not paths & {clip.scene.motion.centre.tobytes() for clip in made.clips.values()}


@pytest.mark.parametrize("clips", [LEAST_CLIPS, 26, 30, 98, 500, 1002])
def test_all_clips_are_used_and_every_kind_is_asked(clips: int) -> None:
    sizes = {name: 4 if name in ("verb", "event", "count") else 2 for name in KINDS}
    count = group_counts(clips)
    assert sum(sizes[name] * found for name, found in count.items()) == clips
    assert min(count.values()) >= 1


@pytest.mark.parametrize("clips", [22, 501])
def test_a_number_of_clips_that_cannot_be_is_refused(clips: int) -> None:
    with pytest.raises(
        UserError, match=f"clips must be an even number, 24 at least, as each has its twin; got {clips}"
    ):
        make_bench(0, clips)
    # By the command as well, before anything is imported.
    with pytest.raises(ValueError, match="clips must be an even number, 24 at least"):
        BenchConfig("export", "bench", clips=clips)


def test_an_export_is_a_bench_and_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bench"
    assert run_stg("bench", ["export", str(folder), "--clips", "24", "--size", "96"]) == 0
    assert (
        "24 clips, 24 questions (4 verb, 4 order, 2 role, 2 direction, 4 event, 2 agent, 4 count, 2 attribute)"
        in " ".join(capsys.readouterr().out.split())
    )
    bench = read_bench(folder)
    assert {path.name for path in folder.iterdir()} == {
        "bench.json", "captions.jsonl", "clips", "key.jsonl", "questions.jsonl",
    }  # fmt: skip
    made = made_again(bench)
    assert list(bench.key.values()) == list(made.key)
    assert read_folder(folder).splits == {"test": list(bench.videos)}
    name = bench.videos[5]
    with av.open(str(bench.clip(name))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    shown = made.clips[name].scene.render(ALL)
    assert len(frames) == FRAMES
    assert np.abs(np.array(frames).astype(int) - shown).mean() < 3
    assert run_stg("bench", ["export", str(folder)]) == 2
    assert "holds a bench already: give another folder" in capsys.readouterr().err


def test_what_lies_in_the_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"is not empty \(it holds 'thesis.tex'\): give a new folder"):
        export(tmp_path, clips=24, size=96, seed=0)


def test_a_larger_picture_shows_the_same(made: MadeBench) -> None:
    scene = made.clips["clip-00003"].scene
    small, large = scene.render(np.array([0, 30])), scene.render(np.array([0, 30]), 3 * SIDE)
    shrunk = large.reshape(2, SIDE, 3, SIDE, 3, 3).mean((2, 4))
    assert np.abs(shrunk - small).mean() < 1
    assert np.abs(shrunk - small).max() < 80
