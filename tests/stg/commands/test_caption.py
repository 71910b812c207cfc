"""``python -m stg.caption`` and ``stg.load``: the model's manifest decides how clips are looked at."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg
from graphs import GraphStore
from stg.commands.caption import main
from stg.commands.extract import main as extract
from stg.commands.parser import run_command
from stg.config.captioning import CaptionConfig
from stg.config.extraction import ExtractConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.search import SearchConfig
from stg.evaluation.predictions import read_predicted
from stg.features.extractor import Extractor
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.generation import Caption
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import UserError
from stg.text.vocabulary import Vocabulary
from stg.video.decoding import VideoError
from tests.stg.best_captions import best_captions
from tests.stg.make_clips import grey_frames, write_clip
from tests.stg.make_networks import write_backbone, write_detector

ROOT = Path(__file__).resolve().parents[3]
WORDS = Vocabulary.build(["a blue square moves to the right", "a grey wall"], min_count=1, max_words=8)


def colours(seed: int) -> np.ndarray:
    """Squares of four colours."""
    return np.random.default_rng(seed).integers(0, 255, (2, 2, 3), np.uint8).repeat(32, axis=0).repeat(32, axis=1)


def clip(path: Path, seed: int = 0) -> Path:
    """Twelve frames of squares of one colour, coded without loss so that every decoder sees the same."""
    colours = np.random.default_rng(seed).integers(0, 255, (12, 2, 2, 3), np.uint8)
    frames = colours.repeat(32, axis=1).repeat(32, axis=2)
    return write_clip(path, list(frames), options={"crf": "0"}, pixels="yuv444p")


class Bench:
    """Clips, networks, a store made from them, and an untrained model for that store."""

    def __init__(self, folder: Path, branches: str = "scene", called: str = "colours") -> None:
        self.clips, self.weights, self.run = folder / "clips", folder / "weights", folder / "run"
        for item in (self.clips, self.weights, self.run):
            item.mkdir()
        self.files = [clip(self.clips / f"clip{i}.mp4", seed=i) for i in range(3)]
        detector = write_detector(self.weights / "eye.onnx")
        backbone = write_backbone(self.weights / "net.onnx", name=called)
        self.store = folder / "store"
        options = ["--out", self.store, "--detector", detector, "--backbone", backbone, "--num_frames", 4]
        assert (
            run_command(ExtractConfig, extract, "", [str(item) for item in [self.clips, *options, "--threads", 1]]) == 0
        )
        self.save(branches)

    def save(self, branches: str, settings: dict[str, Any] | None = None, **changes: Any) -> None:
        """Write the model that a training run on the store would have left (untrained: any words will do)."""
        with GraphStore(self.store) as store:
            torch.manual_seed(3)
            model = ModelConfig(branches=branches, channels=16, hidden=16, heads=2, **(settings or {}))
            graph = GraphConfig(layers=1)
            widths = FeatureWidths.of(store.get("clip0"))
            captioner = build_captioner(model, graph, widths=widths, vocabulary=len(WORDS), max_words=8).eval()
            with torch.no_grad():  # an untrained model hardly looks at its video
                for name, weight in captioner.named_parameters():
                    if any(part in name for part in ("frames", "fuse", "parts")):
                        weight.mul_(10)
            trained = CaptionerBundle(captioner, WORDS, model, graph, widths, store.manifest, store.features_dtype)
        replace(trained, **changes).save(self.run / "model.safetensors")

    def caption(self, *more: str, clips: list[str] | None = None) -> int:
        named = clips if clips is not None else [str(self.clips)]
        options = ["--model", str(self.run), "--weights", str(self.weights), "--threads", "1", *more]
        return run_command(CaptionConfig, main, "", [*options, "--", *named])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def from_store(bench: Bench, beam: int) -> dict[str, Caption]:
    """What the model says of the stored graphs, as ``stg.evaluate`` would."""
    trained = CaptionerBundle.load(bench.run / "model.safetensors")
    with GraphStore(bench.store) as store:
        return best_captions(trained.captioner, store, store.keys(), trained.vocabulary, beam=beam)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_clip_gets_the_caption_of_its_stored_graph(bench: Bench, beam: int) -> None:
    captioner = stg.load(bench.run, weights=bench.weights, beam=beam)
    expected = from_store(bench, beam)
    likely = [caption.log_prob for caption in expected.values()]
    assert min(abs(a - b) for a, b in combinations(likely, 2)) > 0.01, (
        "clips must differ for this test to mean anything"
    )
    for path in bench.files:
        found = captioner.describe(path)
        assert found.caption == captioner.caption(path) == expected[path.stem].text
        assert found.log_prob == pytest.approx(expected[path.stem].log_prob, abs=1e-4)


def test_a_scene_model_opens_no_detector(bench: Bench) -> None:
    (bench.weights / "eye.onnx").unlink()
    captioner = stg.load(bench.run, weights=bench.weights)
    assert captioner.extractor.detector is None
    assert captioner.caption(bench.files[0])


def test_an_object_model_runs_the_detector(tmp_path: Path) -> None:
    bench = Bench(tmp_path, branches="object")
    assert (
        stg.load(bench.run, weights=bench.weights, beam=1).caption(bench.files[0]) == from_store(bench, 1)["clip0"].text
    )
    (bench.weights / "eye.onnx").unlink()
    with pytest.raises(UserError, match=r"the detector of this model needs eye.onnx \(sha256 .*with --weights"):
        stg.load(bench.run, weights=bench.weights)


def test_the_command_prints_caption_confidence_and_seconds(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.caption("--beam", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    expected = from_store(bench, 2)
    assert len(lines) == 3
    for line, path in zip(lines, bench.files, strict=True):
        assert line.startswith(f"{path}: {expected[path.stem].text}   (confidence 0.")


def test_other_versions_than_in_training_are_said(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    with GraphStore(bench.store) as store:
        (now,) = store.versions
    for made_with, said in (([now], ""), ([now | {"av": "9.9"}], f"av: 9.9, here {now['av']}"), ([], "")):
        bench.save("scene", made_with=made_with)
        assert CaptionerBundle.load(bench.run / "model.safetensors").made_with == tuple(made_with)
        assert bench.caption() == 0
        warned = f"warning: {bench.run} was trained on features made with other versions than are installed here;"
        assert (f"{warned} numbers may differ a little: {said}\n" in capsys.readouterr().err) == bool(said)


def test_json_is_one_object_a_line(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.caption("--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["video"] for row in rows] == [str(path) for path in bench.files]
    for row in rows:
        known = {"video", "start", "end", "caption", "confidence", "log_prob", "seconds", "truncated", "error"}
        assert row.keys() == known
        assert (row["start"], row["end"]) == (0, pytest.approx(12 / 25))
        assert 0 < row["confidence"] < 1
        assert row["log_prob"] < 0
        assert row["seconds"] > 0
        assert row["error"] is None


def test_several_captions_are_a_list_in_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.caption("--json", "--n_best", "3", "--search.length_penalty", "1.0") == 0
    for row in map(json.loads, capsys.readouterr().out.splitlines()):
        first, *others = row["candidates"]
        assert len(others) == 2
        assert first["caption"] == row["caption"]
        assert first["confidence"] == row["confidence"] >= others[0]["confidence"] >= others[1]["confidence"]
        assert first["score"] > first["log_prob"] == row["log_prob"]
    search = SearchConfig(n_best=3, length_penalty=1.0)
    described = stg.load(bench.run, weights=bench.weights, search=search).describe(bench.files[2])
    assert described.caption == described.candidates[0].text == row["caption"]
    with pytest.raises(UserError, match=r"--beam 3 and --search\.beam 2 are one setting"):
        stg.load(bench.run, weights=bench.weights, beam=3, search=SearchConfig(beam=2))


def test_confidence_is_the_mean_probability_of_a_word(bench: Bench) -> None:
    found = stg.load(bench.run, weights=bench.weights, beam=1).describe(bench.files[0])
    words = len(found.caption.split()) + 1  # the end of sentence counts
    assert found.confidence in (
        pytest.approx(np.exp(found.log_prob / words)),
        pytest.approx(np.exp(found.log_prob / (words - 1))),  # cut at the longest length, without an end
    )


def test_names_that_start_with_a_dash_and_stranger_ones(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["-4ws.mp4", "two words.mp4", "line\nbreak.mp4", "\N{GRINNING FACE}.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for name in names:
        (bench.clips / name).write_bytes(bench.files[0].read_bytes())
    monkeypatch.chdir(bench.clips)
    assert bench.caption(clips=names) == 0
    lines = capsys.readouterr().out.splitlines()
    said = from_store(bench, 5)["clip0"].text
    assert [line.split(":")[0] for line in lines] == [
        "-4ws.mp4", "two words.mp4", "line\\nbreak.mp4", "\N{GRINNING FACE}.mp4", "caf\\udce9.mp4"
    ]  # fmt: skip
    assert all(said in line for line in lines)


def test_one_broken_file_of_many_is_told_and_the_others_are_done(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.clips / "broken.mp4").write_bytes(b"<html>not found</html>")
    assert bench.caption("--json") == 3
    told = capsys.readouterr()
    rows = {Path(row["video"]).stem: row for row in map(json.loads, told.out.splitlines())}
    assert rows.keys() == {"broken", "clip0", "clip1", "clip2"}
    assert "is not a video" in rows["broken"]["error"]
    assert rows["clip2"]["caption"]
    assert told.err == "error: 1 of 4 clips could not be captioned; the others are done\n"


def test_captions_are_written_to_a_file_and_a_failed_clip_is_named(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (bench.clips / "broken.mp4").write_bytes(b"<html>not found</html>")
    out, said = tmp_path / "captions.csv", from_store(bench, 5)
    assert bench.caption("--out", str(out)) == 3
    failed, *rows = csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines())
    assert [row["caption"] for row in rows] == [said[path.stem].text for path in bench.files]
    assert [row["video"] for row in rows] == list(map(str, bench.files))
    assert "'broken.mp4' is not a video" in failed["error"]
    printed = capsys.readouterr().err
    assert f"written: {out}\n" in printed
    assert "skipped: 'broken.mp4' is not a video" in printed
    # The same as a list of objects, which other commands read.
    assert bench.caption("--out", str(tmp_path / "captions.json"), "--n_best", "2") == 3
    assert read_predicted(tmp_path / "captions.json") == {path.stem: said[path.stem].text for path in bench.files}
    assert len(json.loads((tmp_path / "captions.json").read_text())[1]["candidates"]) == 2


def test_subtitles_last_as_long_as_the_clip(bench: Bench, tmp_path: Path) -> None:
    assert bench.caption("--out", str(tmp_path / "clip.srt"), clips=[str(bench.files[0])]) == 0
    said = from_store(bench, 5)["clip0"].text
    assert (tmp_path / "clip.srt").read_text() == f"1\n00:00:00,000 --> 00:00:00,480\n{said}\n"


@pytest.fixture
def film(bench: Bench) -> Path:
    """Four scenes of a second or more, of which the second and the third show the same."""
    scenes = [colours(seed) for seed in (0, 2, 2, 1)]
    scenes[2] = scenes[2][:, ::-1]  # mirrored: the same features, and a cut
    path = bench.clips.parent / "film.mp4"
    return write_clip(path, [one for one in scenes for _ in range(30)], options={"crf": "0"}, pixels="yuv444p")


def test_segments_of_a_film_are_captioned_as_clips_of_their_own(
    bench: Bench, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioner = stg.load(bench.run, weights=bench.weights)
    alone = []
    for seed in (0, 2, 1):
        own = write_clip(tmp_path / f"{seed}.mp4", [colours(seed)] * 30, options={"crf": "0"}, pixels="yuv444p")
        alone.append(captioner.describe(own))
    assert alone[0].caption != alone[1].caption != alone[2].caption, "neighbours must differ for this test to mean much"
    found = list(captioner.describe_segments(film, "1.2s"))
    expected = [(alone[0].caption, 0.0, 1.2), (alone[1].caption, 1.2, 3.6), (alone[2].caption, 3.6, 4.8)]
    assert [one.caption for one in found] == [caption for caption, _, _ in expected]
    assert [time for one in found for time in (one.start, one.end)] == pytest.approx(
        [time for _, *times in expected for time in times]
    )
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in alone], abs=1e-4)
    assert [(one.caption, one.start) for one in captioner.describe_segments(film)] == [
        (caption, pytest.approx(start)) for caption, start, _ in expected
    ]
    out = tmp_path / "film.srt"
    assert bench.caption("--segments", "scenes", "--out", str(out), clips=[str(film)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{film} 0:00:01-0:00:04: {alone[1].caption}   (confidence 0.")
    assert len(lines) == 3
    assert [line for line in out.read_text().splitlines() if "-->" in line] == [
        "00:00:00,000 --> 00:00:01,200", "00:00:01,200 --> 00:00:03,600", "00:00:03,600 --> 00:00:04,800"
    ]  # fmt: skip


def test_segments_are_shown_on_the_page_with_their_times(bench: Bench, film: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert bench.caption("--segments", "1.2s", "--report", str(page), clips=[str(film)]) == 0
    text = page.read_text()
    said = [one.caption for one in stg.load(bench.run, weights=bench.weights).describe_segments(film, "1.2s")]
    listed = re.findall(r'<li><a href="#v\d"><bdi>(.*?)</bdi></a> <bdi>(.*?)</bdi></li>', text)
    times = ("0:00:00-0:00:01", "0:00:01-0:00:04", "0:00:04-0:00:05")
    assert listed == [(f"film.mp4 {time}", caption) for time, caption in zip(times, said, strict=True)]
    assert text.count('<details class="analysis">') == 3
    assert text.count('alt="The frame in the middle of film.mp4 0:00:0') == 3


def test_what_was_captioned_before_a_clip_failed_is_kept(
    bench: Bench, film: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_clip, calls = Extractor.run_clip, list[int]()

    def third_fails(*given: Any, **named: Any) -> Any:
        calls.append(1)
        found = run_clip(*given, **named)
        if len(calls) == 4:
            raise VideoError("'film.mp4' is broken at the end")
        return found

    monkeypatch.setattr(Extractor, "run_clip", third_fails)
    assert bench.caption("--json", "--segments", "1.2s", clips=[str(film), str(bench.files[0])]) == 3
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["start"], row["error"]) for row in rows] == [
        (0, None), (pytest.approx(1.2), None), (0, "'film.mp4' is broken at the end"), (0, None)
    ]  # fmt: skip
    assert rows[1]["end"] == pytest.approx(3.6)


def test_a_clip_that_is_cut_short_is_captioned_and_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_clip(bench.clips / "whole.mp4", grey_frames(60), container_options={"movflags": "faststart"})
    cut = bench.clips / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:-400])
    assert bench.caption(clips=[str(cut), str(whole)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(", the file is cut short)")
    assert "cut short" not in second


def test_two_clips_of_one_name_are_both_captioned(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    other = bench.clips / "other"
    other.mkdir()
    twin = other / "clip0.mp4"
    twin.write_bytes(bench.files[1].read_bytes())
    assert bench.caption("--json", clips=[str(bench.files[0]), str(twin)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = from_store(bench, 5)
    assert [row["log_prob"] for row in rows] == [
        pytest.approx(said[name].log_prob, abs=1e-4) for name in ("clip0", "clip1")
    ]


def test_a_single_broken_file_is_one_error(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    broken = bench.clips / "broken.mp4"
    broken.write_bytes(b"")
    assert bench.caption(clips=[str(broken)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: 'broken.mp4' is not a video: the file is empty"
    with pytest.raises(VideoError, match="the file is empty"):
        stg.load(bench.run, weights=bench.weights).caption(broken)


def test_other_weights_under_the_same_name_are_refused(bench: Bench) -> None:
    write_backbone(bench.weights / "net.onnx", mean=[1, 1, 1])
    with pytest.raises(UserError, match=r"other features than this model was trained on: backbone.mean: trained on"):
        stg.load(bench.run, weights=bench.weights)
    whole = (bench.weights / "net.onnx").read_bytes()
    (bench.weights / "net.json").unlink()  # how to feed it is not asked before it is known to be the right file
    (bench.weights / "net.onnx").write_bytes(whole + b"\x00")
    with pytest.raises(UserError, match=r"backbone.sha256: trained on '[0-9a-f]{64}', now '[0-9a-f]{64}' .*net.onnx"):
        stg.load(bench.run, weights=bench.weights)
    write_detector(bench.weights / "net.onnx")  # another network altogether
    with pytest.raises(UserError, match=r"backbone.sha256: trained on '[0-9a-f]{64}', now '[0-9a-f]{64}'"):
        stg.load(bench.run, weights=bench.weights)


def test_features_made_elsewhere_cannot_be_made_for_new_clips(bench: Bench) -> None:
    with GraphStore(bench.store) as store:
        manifest = store.manifest
    motion = manifest | {"motion": {"name": "r2plus1d.npz", "span": 32}}
    bench.save("scene", features=motion)
    assert stg.load(bench.run, weights=bench.weights).caption(bench.files[0])  # this model reads no motion
    bench.save("scene", features={"made": "by somebody"})
    with pytest.raises(UserError, match=r"were not made by stg\.extract"):
        stg.load(bench.run, weights=bench.weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "nowhere"], "nowhere holds no trained model"),
        (["--beam", "0"], "beam must be at least 1; got 0"),
        (["--n_best", "2", "--out", "a.csv"], "need --json, or an --out that ends in .json or .jsonl: add one"),
        (["--out", "a.txt"], "out is a file that ends in .csv, .json, .jsonl, .srt or .vtt; got 'a.txt'"),
        (["--workers", "-1"], "must not be negative"),
        (["--weights", "nowhere"], "which is not in nowhere, "),
        (["--segments", "0.5s"], "at least 1s, such as 10s; got '0.5s'"),
        (["--segments", "shots"], "segments are scenes, or of a length in seconds, at least 1s"),
        (["--segments", "10s", "--overlay", "a.mp4"], "overlay draws one caption into the whole clip"),
    ],
)
def test_wrong_options_end_with_2(
    bench: Bench, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert bench.caption(*options) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["resnet101", "world-backbone"])
def test_what_an_onnx_network_calls_itself_does_not_decide(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, called=name)
    assert (
        stg.load(bench.run, weights=bench.weights, beam=1).caption(bench.files[0]) == from_store(bench, 1)["clip0"].text
    )


def test_a_renamed_onnx_network_brings_its_sidecar(bench: Bench) -> None:
    for end in ("onnx", "json"):
        (bench.weights / f"net.{end}").rename(bench.weights / f"my own.{end}")
    assert stg.load(bench.run, weights=bench.weights).caption(bench.files[0])


WRAPPER = """
import sys
from stg.caption import CaptionConfig, main
from stg.commands.parser import run_command
code = run_command(CaptionConfig, main, "", sys.argv[1:])
assert "torch" not in sys.modules and "av" not in sys.modules
sys.exit(code)
"""


def test_without_weights_the_command_answers_before_it_loads_anything(tmp_path: Path) -> None:
    bench = Bench(tmp_path, branches="object")
    command = [sys.executable, "-c", WRAPPER, str(bench.files[0]), "--model", str(bench.run)]
    environment = os.environ | {"TORCH_HOME": str(tmp_path / "torch")}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2, found.stderr
    assert found.stderr.count("\n") == 1
    assert re.fullmatch(
        r"error: the backbone of this model needs net.onnx \(sha256 [0-9a-f]{16}\.\.\.\), the detector of this model "
        r"needs eye.onnx \(sha256 [0-9a-f]{16}\.\.\.\), which are not in .*checkpoints: give the files, or a folder "
        r"that holds them, with --weights\n",
        found.stderr,
    )


def test_a_file_that_is_no_model_is_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    path = bench.run / "model.safetensors"
    whole = path.read_bytes()
    header = json.dumps({"__metadata__": {"stg": json.dumps({"features": {}, "model": {}, "widths": {}})}}).encode()
    for content in (b"", b"rubbish" * 99, whole[:50], len(header).to_bytes(8, "little") + header):
        path.write_bytes(content)
        assert bench.caption() == 2
        told = capsys.readouterr().err
        assert f"{path} is not a trained model, or is damaged: " in told
        assert told.count("\n") == 1
    path.write_bytes(whole[:-1])  # the header says enough, the weights do not
    assert bench.caption() == 2
    assert "is damaged: its SHA-256 differs" in capsys.readouterr().err
