"""Own runs answer a bench by the likelihood of each choice, on features made as those they were trained on."""

import json
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decoders import Decoder, VideoMemory
from graphs import flat_graph
from stg.benchmark import own_runs
from stg.benchmark.arrangement import CONTROLS, Control, arranged, arrangements
from stg.benchmark.export import export
from stg.benchmark.making import made_again
from stg.benchmark.own_runs import OwnRun, answer_bench, bench_builders, bench_detector, shrunk
from stg.benchmark.questions import Bench, read_answers
from stg.captioning.pipeline import VideoCaptioner, load
from stg.config.model import GraphConfig, ModelConfig
from stg.datasets.world import World
from stg.explain.likelihood import caption_log_probs, word_log_probs
from stg.features.extractor import Extractor
from stg.features.rebuild import features_read, plan_features
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runs.bundle import CaptionerBundle
from stg.runs.model_file import model_header
from stg.runtime.errors import Preempted, UserError
from stg.runtime.reporter import Reporter
from stg.text.vocabulary import Vocabulary
from stg.video.decoding import sample_video
from tests.decoders.test_contract import CHANNELS, DECODERS
from tests.stg.run_commands import run_stg


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return export(tmp_path_factory.mktemp("bench") / "b", clips=24, size=192, seed=0)


@pytest.fixture(scope="module")
def run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the built-in world that reads scene and objects; it lacks one word of the bench."""
    world = World(train=8, val=0, test=0)
    extractor = Extractor(world.detector(), world.backbone())
    texts = [text.replace("four", "") for one in bench.questions for text in one.choices]
    words = Vocabulary.build(texts, min_count=1, max_words=20)
    widths = FeatureWidths.of(flat_graph(extractor(world.sample("train-00000"))))
    model = ModelConfig(branches="concat", channels=16, hidden=16, heads=2)
    torch.manual_seed(0)
    captioner = build_captioner(model, GraphConfig(layers=1), widths=widths, vocabulary=len(words), max_words=20).eval()
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    bundle = CaptionerBundle(captioner, words, model, GraphConfig(layers=1), widths, extractor.manifest())
    bundle.save(folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def captioner(bench: Bench, run: Path) -> VideoCaptioner:
    header = model_header(run / "model.safetensors")
    plan = plan_features(header["features"], features_read(header), (), bench_builders(bench))
    return load(run, device="cpu", beam=1, plan=plan)


@pytest.mark.parametrize("name", ["transformer", "stats", "attention-lstm-temporal"])
@torch.no_grad()
def test_a_caption_is_as_likely_as_its_words_one_after_another(name: str, double_precision: None) -> None:
    torch.manual_seed(1)
    decoder = DECODERS[name]().eval()
    memory = VideoMemory(
        torch.randn(2, 3, CHANNELS), torch.ones(2, 3, dtype=torch.bool), regions=torch.randn(2, 3, 2, CHANNELS),
        region_mask=torch.ones(2, 3, 2, dtype=torch.bool), clip=torch.randn(2, CHANNELS),
    )  # fmt: skip
    captions = [[4, 3, 8], [5], [], [3, 3, 7, 6]]
    rows = [1, 0, 1, 0]
    found = caption_log_probs(decoder, memory, captions, rows)
    for caption, row, one in zip(captions, rows, found.tolist(), strict=True):
        own, expected, word = memory.select(torch.tensor([row])), 0.0, decoder.bos
        state = decoder.init_state(own)
        for following in (*caption, decoder.eos):
            log_probs, state = decoder.step(torch.tensor([word]), state)
            expected += float(log_probs[0, following])
            word = following
        assert one == pytest.approx(expected, abs=1e-10)
        assert float(word_log_probs(decoder, own, caption).sum()) == pytest.approx(expected, abs=1e-10)


def test_scores_are_the_log_probabilities_of_the_choices(bench: Bench, captioner: VideoCaptioner) -> None:
    question = next(one for one in bench.questions if one.kind == "verb")
    own = OwnRun(captioner, bench)
    shown = own.show(question.video, [question])
    memory = own.memory(own.clip(question.video), np.arange(10))
    trained = captioner.trained
    with torch.inference_mode():
        expected = [
            float(word_log_probs(trained.captioner.decoder, memory, trained.vocabulary.encode(text)[1:-1]).sum())
            for text in (*question.choices, *bench.captions[question.video])
        ]
    scores = shown.answers[0].scores
    assert scores is not None
    assert [*scores, *shown.truth_log_probs] == pytest.approx(expected, abs=1e-4)
    assert shown.answers[0].choice == int(np.argmax(scores))


def test_choices_of_the_same_words_are_not_told_apart_by_rounding(
    bench: Bench, captioner: VideoCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = replace(bench.questions[0], choices=("a quartz zebra rolls", "a basalt zebra rolls", "a zebra falls"))

    def rounded(decoder: Decoder, memory: VideoMemory, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([-2.0 - len(text) + 1e-6 * place for place, text in enumerate(texts)])

    monkeypatch.setattr(own_runs, "caption_log_probs", rounded)
    answer = OwnRun(captioner, bench).show(question.video, [question], caption=False).answers[0]
    assert answer.scores is not None
    first, second, third = answer.scores
    assert first == second < third
    assert answer.choice == 2
    question = replace(question, choices=question.choices[:2])
    assert OwnRun(captioner, bench).show(question.video, [question], caption=False).answers[0].choice is None


def test_clips_are_seen_as_the_world_is(bench: Bench, captioner: VideoCaptioner) -> None:
    scene = made_again(bench).clips["clip-00003"].scene
    sample = OwnRun(captioner, bench).clip("clip-00003").sample
    assert sample.frames.shape == (10, 96, 96, 3)
    assert np.abs(sample.frames.astype(int) - scene.render(sample.frame_number)).mean() < 2
    assert shrunk(sample, 96) is sample


def test_the_detector_finds_the_objects_of_the_scene(bench: Bench, captioner: VideoCaptioner) -> None:
    scenes = {name: clip.scene for name, clip in made_again(bench).clips.items()}
    exact = {"jitter": 0.0, "miss": 0.0, "invent": 0.0, "world": {"size": 48}}
    small = replace(
        shrunk(sample_video(bench.clip("clip-00003")), 48), frame_number=np.array([7, 3, 3, 50, 5, 6, 8, 9, 10, 11])
    )
    found = bench_detector(scenes, exact, 0)(small)
    truth = scenes["clip-00003"].boxes(small.frame_number) / 2
    for boxes, one in zip(truth, found, strict=True):
        assert np.allclose(sorted(boxes.tolist()), sorted(one.boxes.tolist()), atol=1e-4)
    assert captioner.extractor.manifest() == captioner.trained.features


def test_controls_arrange_the_frames() -> None:
    assert [len(arrangements(name, "a", 4)) for name in CONTROLS] == [1, 1, 1, 1, 4]
    shown = {name: arrangements(name, "clip-1", 4)[-1].tolist() for name in CONTROLS}
    assert (shown["none"], shown["reversed"], shown["single"], shown["mean"]) == (
        [0, 1, 2, 3], [3, 2, 1, 0], [2] * 4, [3] * 4,
    )  # fmt: skip
    shuffled = [arrangements("shuffled", f"clip-{i}", 3)[0].tolist() for i in range(40)]
    assert all(sorted(order) == [0, 1, 2] != order for order in shuffled)
    assert len({tuple(order) for order in shuffled}) > 1
    assert shuffled == [arrangements("shuffled", f"clip-{i}", 3)[0].tolist() for i in range(40)]


def test_what_is_seen_in_a_frame_moves_with_it(bench: Bench, captioner: VideoCaptioner) -> None:
    sample = OwnRun(captioner, bench).clip("clip-00002").sample
    plain = captioner.extractor(sample)
    turned = captioner.extractor(arranged(sample, np.arange(10)[::-1].copy()))
    for time in range(10):
        assert torch.equal(plain.boxes[plain.frame == time], turned.boxes[turned.frame == 9 - time])
    assert turned.frame_number is not None
    assert turned.frame_number.tolist() == sample.frame_number[::-1].tolist()
    assert not torch.equal(plain.scene, turned.scene.flip(0))  # the change until the next frame is another one


@pytest.mark.parametrize("control", CONTROLS)
def test_the_times_of_a_control_are_those_of_the_clip(
    control: Control, bench: Bench, captioner: VideoCaptioner
) -> None:
    sample = OwnRun(captioner, bench).clip("clip-00002").sample
    # Of a constant rate features say no times.
    uneven = replace(sample, facts={"uneven": True})
    assert sample.seconds is not None
    for places in arrangements(control, sample.video, len(sample.frames)):
        shown = captioner.extractor(arranged(uneven, places)).frame_time
        assert shown is not None
        assert (shown.diff() > 0).all()
        assert shown.tolist() == pytest.approx(sample.seconds.tolist())


def test_the_mean_of_single_frames_is_the_mean_of_their_scores(bench: Bench, captioner: VideoCaptioner) -> None:
    question = bench.questions[0]
    own = OwnRun(captioner, bench, "mean")
    scores = own.show(question.video, [question]).answers[0].scores
    clip, texts = own.clip(question.video), [captioner.trained.vocabulary.encode(x)[1:-1] for x in question.choices]
    with torch.inference_mode():
        each = [
            caption_log_probs(captioner.trained.captioner.decoder, own.memory(clip, np.full(10, place)), texts)
            for place in range(10)
        ]
    assert scores == pytest.approx(torch.stack(each).mean(0).tolist(), abs=1e-4)


def test_a_run_answers_a_bench_from_the_command_line(
    bench: Bench, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", str(bench.folder), str(run), "--device", "cpu", "--beam", "1"]
    assert run_stg("bench", command) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "24 new answers, of 24 questions" in said
    assert re.search(r"note: the model has never read four \(up", said)
    answers, captions = (bench.folder / f"{part}-tiny.jsonl" for part in ("answers", "captions"))
    whole = answers.read_text(), captions.read_text()
    assert list(read_answers(answers, bench)) == [one.id for one in bench.questions]
    rows = [json.loads(line) for line in whole[1].splitlines()]
    assert [row["video"] for row in rows] == list(bench.videos)
    assert all(len(row["truth_log_probs"]) == len(bench.captions[row["video"]]) for row in rows)
    # As a killed process leaves them: a part, and half a line.
    for path in (answers, captions):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:21]) + '{"id": "ord')
    # From inside the run, whose name is that of its folder.
    monkeypatch.chdir(run)
    assert run_stg("bench", ["run", str(bench.folder), ".", *command[3:]]) == 0
    assert "3 new answers" in " ".join(capsys.readouterr().out.split())
    assert (answers.read_text(), captions.read_text()) == whole
    assert run_stg("bench", [*command, "--control", "single", "--out", str(answers)]) == 2
    assert "control single" in " ".join(capsys.readouterr().err.split())
    assert run_stg("bench", ["score", str(bench.folder), str(answers)]) == 0


def test_a_caption_that_is_there_is_not_searched_again(
    bench: Bench, captioner: VideoCaptioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = bench.questions[0]
    few = replace(bench, questions=(question,), captions={question.video: bench.captions[question.video]})
    answers, captions, own = tmp_path / "a.jsonl", tmp_path / "c.jsonl", OwnRun(captioner, few)
    answer_bench(own, answers, captions, made="me")
    whole = answers.read_text(), captions.read_text()
    answers.unlink()
    # Only choices are read now, and their scores are the same to the last digit.
    scored = list[int]()

    def likely(decoder: Decoder, memory: VideoMemory, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        scored.append(len(texts))
        return caption_log_probs(decoder, memory, texts)

    monkeypatch.setattr(own_runs, "caption_log_probs", likely)
    monkeypatch.setattr(own_runs, "decode_memory", None)
    assert answer_bench(own, answers, captions, made="me") == 1
    assert scored == [len(question.choices)]
    assert (answers.read_text(), captions.read_text()) == whole


def test_a_file_that_is_no_model_is_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    path = bench.folder / "bench.json"
    assert run_stg("bench", ["run", str(bench.folder), str(path), "--device", "cpu"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{path} is not a trained model, or is damaged: it is no safetensors file; give the run folder that" in said
    assert "the model.safetensors in one, or the name of a captioner that comes with the installation (stg mod" in said


def test_a_control_needs_a_model_of_single_frames(bench: Bench, captioner: VideoCaptioner) -> None:
    hears = copy(captioner)
    hears.extractor = SimpleNamespace(motion=None, sound=object())  # type: ignore[assignment]
    with pytest.raises(UserError, match="control=reversed arranges single frames, and this model reads motion"):
        OwnRun(hears, bench, "reversed")


def test_captions_alone_may_be_stopped_too(bench: Bench, captioner: VideoCaptioner, tmp_path: Path) -> None:
    few = replace(bench, questions=(), captions=dict(list(bench.captions.items())[:2]))

    class Stopping(Reporter):
        def should_stop(self) -> bool:
            return (tmp_path / "c.jsonl").exists()

    with pytest.raises(Preempted, match="captions the others"):
        answer_bench(OwnRun(captioner, few), tmp_path / "a.jsonl", tmp_path / "c.jsonl", made="me", reporter=Stopping())
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 1
