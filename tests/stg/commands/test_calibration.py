"""Confidence calibrated on validation videos: kept by ``evaluate``, shown by ``caption``, passed on by ``ship``."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stg
from stg.captioning.confidence import calibration_of, chance_of
from stg.commands.caption import main as caption
from stg.commands.evaluate import main as evaluate
from stg.commands.parser import run_command
from stg.config.captioning import CaptionConfig
from stg.config.data import DataConfig, WorldConfig
from stg.config.evaluation import EvaluateConfig
from stg.config.model import ModelConfig
from stg.config.search import SearchConfig, with_candidates
from stg.config.shipping import ShipConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.world.dataset import World
from stg.evaluation.calibrating import calibrate, right_captions
from stg.evaluation.loaded_run import batch_source, load_run
from stg.evaluation.predictions import read_predicted
from stg.evaluation.shipping import ship
from stg.models.generation import Caption, generate
from stg.pages import write_video_pages
from stg.pages.run.charts import BOTTOM, LEFT, RIGHT, TOP
from stg.pages.run.page import run_html, run_view
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.clips import view_of_clip
from stg.pages.videos.split_report import SplitReport
from stg.runs.bundle import CaptionerBundle
from stg.runs.calibration import Calibration, Curve, level, read_calibration
from stg.runs.folder import RunFolder
from stg.runtime.errors import UserError
from stg.training.loop import fit
from tests.stg.make_clips import write_clip

WORLD = WorldConfig(train=4, val=24, test=3)
FILE = "evaluation/val-beam2-calibration.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained run of the world in ``run``, evaluated on val, and clips."""
    folder = tmp_path_factory.mktemp("calibration")
    config = FitConfig(
        data=DataConfig(store=str(folder / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig(branches="scene", channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=4, epoch_captions=2, lr=0.01),
        run=RunConfig(out=str(folder / "run"), samples=0),
    )
    fit(config)
    assert run_command(EvaluateConfig, evaluate, "", evaluate_words(folder, "val")) == 0
    World.of(WORLD).write_mp4("test-00000", folder / "own.mp4")
    white = np.full((60, 96, 96, 3), 255, np.uint8)
    write_clip(folder / "white.mp4", list(white), rate=12)
    return folder


def evaluate_words(folder: Path, split: str) -> list[str]:
    return [str(folder / "run"), "--split", split, "--beam", "2", "--metrics", "cider", "--device", "cpu"]


def caption_words(folder: Path, *more: str) -> list[str]:
    return [str(folder / "own.mp4"), "--model", str(folder / "run"), "--workers", "0", "--beam", "2", *more]


def test_evaluate_keeps_what_confidence_is_worth(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_calibration(trained / "run" / FILE)
    world = World.of(WORLD)
    captions = read_predicted(trained / "run/evaluation/val-beam2.json")
    right = right_captions(captions, {video: world.captions(video) for video in captions})
    assert (found.search, found.videos, found.feature) == ("beam 2", 24, "scene")
    assert found.right == pytest.approx(right.mean(), abs=1e-6)
    assert sum(found.before.captions) == sum(found.after.captions) == 24
    assert 0 < right.mean() < 1, "captions must differ for this test to mean anything"
    # On other videos it is measured, and left as it is.
    before = (trained / "run" / FILE).read_bytes()
    assert run_command(EvaluateConfig, evaluate, "", evaluate_words(trained, "test")) == 0
    said = capsys.readouterr().out
    assert "confidence, beam 2: every content word is in a reference of" in said.replace("\n", " ")
    assert "calibrated on val" in said.replace("\n", " ")
    assert (trained / "run" / FILE).read_bytes() == before
    assert not (trained / "run/evaluation/test-beam2-calibration.json").exists()
    # No evaluation is one too many.
    assert {one.captions.name for one in RunFolder(trained / "run").evaluations} == {
        "val-greedy.json", "val-beam2.json", "test-greedy.json", "test-beam2.json",
    }  # fmt: skip


def test_caption_shows_the_chance(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_calibration(trained / "run" / FILE)
    assert run_command(CaptionConfig, caption, "", caption_words(trained, "--json")) == 0
    row = json.loads(capsys.readouterr().out)
    chance = 1 / (1 + math.exp(-(found.slope * row["log_prob"] + found.intercept)))
    assert row["chance"] == pytest.approx(chance, abs=1e-12)
    assert row["level"] == level(chance)
    assert run_command(CaptionConfig, caption, "", caption_words(trained)) == 0
    assert f"   (confidence: {row['level']}, {chance:.2f}, " in capsys.readouterr().out
    # Another search is not calibrated.
    assert run_command(CaptionConfig, caption, "", [*caption_words(trained), "--beam", "3", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert "chance" not in row
    assert "level" not in row


def test_a_page_shows_the_chance(trained: Path, tmp_path: Path) -> None:
    model = stg.load(trained / "run", beam=2, device="cpu")
    found = model.describe(trained / "own.mp4")
    assert found.chance is not None
    (shown,) = view_of_clip(found, None).captions
    assert shown.chance == (found.chance, found.level)
    # On the page for colleagues in plain words, above what is folded; what is doubtful stands under the caption.
    view = replace(view_of_clip(found, None), folded=True, notes=("This clip is odd.",))
    (page,) = write_video_pages(tmp_path / "page.html", [view], title="own")
    result, _, analysis = page.read_text().partition('<details class="analysis">')
    sure = f'How sure: <b class="level">{found.level}</b>, about {100 * found.chance:.0f} of 100 captions like this are'
    assert result.index('<p class="said">') < result.index(sure) < result.index("This clip is odd.")
    assert "in the graph</p>" not in result
    assert "in the graph</p>" in analysis
    assert "How sure" not in analysis
    uncalibrated = replace(view, captions=(replace(shown, chance=None),))
    (page,) = write_video_pages(tmp_path / "page.html", [uncalibrated], title="own")
    assert f"Confidence {found.confidence:.2f}</p>" in page.read_text()


def test_the_page_of_a_run_draws_how_reliable_its_confidence_is(trained: Path, tmp_path: Path) -> None:
    found = read_calibration(trained / "run" / FILE)
    page = run_view(trained / "run", tagger="lexicon")
    charts = {chart.title: chart for chart in page.reliability}
    assert list(charts) == ["Captions that are right, beam 2", "Captions that are right, greedy"]
    before, after, grey = charts["Captions that are right, beam 2"].lines
    for line, curve in ((before, found.before), (after, found.after)):
        assert line.last == f"error {curve.error:.3f}"
        # Right where confidence and share say: the axes of both go from 0 to 1.
        assert [x for x, _, _ in line.dots] == pytest.approx(
            LEFT + (RIGHT - LEFT) * np.array(curve.confidence), abs=0.06
        )
        assert [y for _, y, _ in line.dots] == pytest.approx(BOTTOM - (BOTTOM - TOP) * np.array(curve.right), abs=0.06)
        assert (
            line.dots[0][2] == f"3 captions, confidence {curve.confidence[0]:.2f}: {100 * curve.right[0]:.0f} % right"
        )
    assert (grey.path, grey.dots, grey.last) == (f"M{LEFT},{BOTTOM} {RIGHT},{TOP}", (), "")
    html = run_html(page)
    assert f'before calibration <span class="quiet">error {found.before.error:.3f}</span>' in html
    assert f"{100 * found.right:.0f} % of 24 validation captions are right" in html
    # Of other weights, and of a run that was not evaluated, there is none.
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run/model.safetensors").write_bytes((trained / "run/model.safetensors").read_bytes() + b"0")
    page = run_view(tmp_path / "run", tagger="lexicon")
    assert page.reliability == ()
    missing = page.missing["reliability"]
    assert missing is not None
    assert missing.command.endswith("run --split val")


def test_pages_of_a_split_show_the_chance_and_what_is_far(trained: Path, tmp_path: Path) -> None:
    run = load_run(trained / "run", device="cpu")
    search = with_candidates(SearchConfig(beam=2))
    report = SplitReport(run, "test", search=search, beside=[str(trained / "run")])
    report.caption()
    with page_readers() as readers:
        (view,) = report.views(["test-00001"], readers)
    (found,) = generate(
        run.trained.captioner,
        batch_source(run.trained, run.store, run.dataset),
        ["test-00001"],
        run.trained.vocabulary,
        search=search,
        device=run.device,
    ).values()
    chance = read_calibration(trained / "run" / FILE).chance(found[0].log_prob)
    assert [caption.chance for caption in view.captions] == [(pytest.approx(chance, abs=1e-4), level(chance))] * 2
    assert not [note for note in view.notes if "unlike" in note]
    (page,) = write_video_pages(tmp_path / "page.html", [view], title="test")
    assert f"chance of being right {chance:.2f}: {level(chance)}" in page.read_text()
    # Nothing is like a training of which all features were alike.
    (name, own), *_ = report.models[0].calibration.items()
    report.models[0] = replace(report.models[0], calibration={name: replace(own, farthest=0.0)})
    with page_readers() as readers:
        (view,) = report.views(["test-00001"], readers)
    assert [note.partition(" (")[0] for note in view.notes if "unlike" in note] == [
        "This video is unlike the training data"
    ]
    # Of a search that was not calibrated nothing is promised.
    report = SplitReport(run, "test", search=SearchConfig(beam=3))
    report.caption()
    with page_readers() as readers:
        (view,) = report.views(["test-00001"], readers)
    assert view.captions[0].chance is None


def test_of_a_model_that_reads_classes_captions_without_count_for_clips() -> None:
    curve = Curve((0.5,), (0.5,), (1,), 0.0)
    with_class = Calibration("greedy", "", 1, 0.5, 2.0, 1.0, curve, curve)
    found = {"greedy": with_class, "greedy, no class": replace(with_class, slope=1.0)}
    search = SearchConfig(beam=1)
    assert calibration_of(found, search) is found["greedy, no class"]
    assert calibration_of(found, search, classes=True) is with_class
    assert calibration_of({"greedy": with_class}, search) is with_class
    assert calibration_of({}, search) is None
    assert chance_of(None, Caption("a man", -1.0, 3)) is None
    assert chance_of(with_class, Caption("a man", -0.5, 3)) == (0.5, "high")


def test_a_clip_far_from_the_training_data_says_so(trained: Path) -> None:
    # As long, as large and as fast as the videos of the world: its features alone can tell.
    model = stg.load(trained / "run", beam=2, device="cpu")
    assert model.describe(trained / "own.mp4").warning is None
    warning = model.describe(trained / "white.mp4").warning
    assert warning is not None
    assert warning.startswith("unlike the training data (its features are ")
    # Whatever the search: features are the same.
    assert stg.load(trained / "run", beam=1, device="cpu").describe(trained / "white.mp4").warning == warning
    model.trained = replace(model.trained, calibration={})
    assert model.describe(trained / "white.mp4").warning is None


def test_the_calibration_of_other_weights_does_not_count(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    bundle = CaptionerBundle.load(tmp_path / "run/model.safetensors")
    next(bundle.captioner.parameters()).data.mul_(1.5)
    bundle.save(tmp_path / "run/model.safetensors")
    model = stg.load(tmp_path / "run", beam=2, device="cpu")
    assert model.describe(trained / "own.mp4").chance is None
    assert any("is of other weights: python -m stg.evaluate" in note for note in model.notes)
    (tmp_path / "run" / FILE).write_text('{"search": 3}')
    with pytest.raises(UserError, match=r"val-beam2-calibration.json is not what stg.evaluate writes: evaluate"):
        stg.load(tmp_path / "run", device="cpu")


def test_a_shipped_captioner_takes_its_calibration_along(trained: Path, tmp_path: Path) -> None:
    model = ship(ShipConfig((str(trained / "run"),), "small", weights=str(trained), out=str(tmp_path)))
    there = CaptionerBundle.load(model.folder / "model.safetensors").calibration
    assert there["beam 2"] == read_calibration(trained / "run" / FILE)
    assert model.facts["confidence"]["beam 2"]["videos"] == 24
    assert "of 24 validation captions are right; expected" in (model.folder / "card.md").read_text()
    runs = (model.folder, trained / "run")
    found, own = (stg.load(run, beam=2, device="cpu").describe(trained / "own.mp4") for run in runs)
    assert found.chance == pytest.approx(own.chance, abs=1e-3)  # half precision


def test_few_captions_calibrate_nothing() -> None:
    found = {f"v{n}": Caption("a man runs", -3.0, 4) for n in range(19)}
    assert calibrate(found, {video: ["a man runs"] for video in found}, search="greedy", model="") is None


def test_distances_and_chances_by_hand() -> None:
    curve = Curve((0.5,), (0.5,), (1,), 0.0)
    one = Calibration("greedy", "", 1, 0.5, 2.0, 1.0, curve, curve, "scene", (1.0, 0.0), (1.0, 2.0), 2.0)
    assert one.distance([1.0, 0.0]) == 0
    assert one.distance([2.0, 2.0]) == 1
    assert one.distance([4.0, 2.0]) == pytest.approx(math.sqrt((9 + 1) / 2))
    assert one.chance(-0.5) == 0.5
    assert one.chance(0.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert (one.chance(-1e4), one.chance(1e4)) == (0.0, 1.0)
    assert [level(chance) for chance in (0.0, 0.2499, 0.25, 0.4999, 0.5, 1.0)] == [
        "low", "low", "middle", "middle", "high", "high",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="a mean and a deviation above 0 for each feature"):
        replace(one, deviation=(1.0, 0.0))
