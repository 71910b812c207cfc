"""Pages of a run's videos, from the commands and from Python (issue points: report, caption --report, show; F5-F7)."""

import base64
import dataclasses
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from markupsafe import escape
from rich.console import Console

import stg
from stg.commands.caption import main as caption_main
from stg.commands.glimpses import clips_by_id
from stg.commands.parser import run_command
from stg.commands.report import main as report_main
from stg.commands.report import report_videos
from stg.config.captioning import CaptionConfig
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig, ModelConfig, STaTSConfig
from stg.config.report import ReportConfig
from stg.config.search import SearchConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.world.dataset import World
from stg.evaluation.loaded_run import load_run
from stg.explain import EXPLAINERS, Attribution, ExplainedModel, explain
from stg.features.log import ExtractionLog
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.generation import Caption, decode_memory
from stg.pages.videos import clip_films
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.clips import view_of_clip
from stg.pages.videos.split_report import SplitReport
from stg.pages.videos.views import VideoView
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import SILENT
from stg.runtime.stamps import read_of
from stg.text.vocabulary import BOS, Vocabulary
from stg.training.loop import fit
from tests.stg.make_readers import act_at_once, act_at_the_film, read_footage
from tests.stg.said import Said

WORLD = WorldConfig(train=6, val=3, test=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained run with both branches on a tiny world."""
    folder = tmp_path_factory.mktemp("report")
    config = FitConfig(
        data=DataConfig(store=str(folder / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=1, epoch_captions=2),
        run=RunConfig(out=str(folder / "run"), samples=1),
    )
    fit(config, reporter=ConsoleReporter(Console(file=io.StringIO())))
    return folder / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> Callable[..., Path]:
    """Trains another run on the same store: its name, and what is set otherwise of the model and the run."""

    def fit_another(name: str, *, branches: str, control: str = "none") -> Path:
        out = run.parent / name
        config = FitConfig(
            data=DataConfig(store=str(run.parent / "store"), min_count=1),
            world=WORLD,
            model=ModelConfig(branches=branches, channels=16, heads=2, hidden=16, layers=1),  # type: ignore[arg-type]
            optim=OptimConfig(epochs=1, epoch_captions=2),
            run=RunConfig(out=str(out), samples=0, seed=7, control=control),  # type: ignore[arg-type]
        )
        if not out.exists():
            fit(config, reporter=ConsoleReporter(Console(file=io.StringIO())))
        return out

    return fit_another


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "test-00001.mp4"
    World(train=6, val=3, test=4).write_mp4("test-00001", path)
    return path


def split_report(run: Path, **options: object) -> SplitReport:
    opened = load_run(run, device="cpu")
    return SplitReport(opened, "test", search=SearchConfig(beam=3, n_best=3), **options)  # type: ignore[arg-type]


def views_of(report: SplitReport, *videos: str) -> list[VideoView]:
    with page_readers() as readers:
        return list(report.views(videos, readers))


def test_a_video_is_shown_with_its_graph_its_words_and_their_attributions(run: Path) -> None:
    report = split_report(run, explainers=["scene", "graph", EXPLAINERS["gnn_explainer"](epochs=3)])
    report.caption()
    (view,) = views_of(report, "test-00002")
    graph = report.run.store.batch(["test-00002"])
    assert view.video == "test-00002"
    assert view.size == (96, 96)
    assert [picture.number for picture in view.pictures] == graph.frame_number.tolist()
    assert all(picture.jpeg for picture in view.pictures)
    assert len(view.nodes) == len(graph.x)
    np.testing.assert_allclose([node.box for node in view.nodes], graph.boxes)
    assert [(edge.source, edge.target) for edge in view.edges] == list(zip(*graph.edge_index.tolist(), strict=True))
    assert view.references == tuple(report.run.dataset.captions["test-00002"])
    (model,) = view.captions
    explanation = model.explanation
    assert " ".join(explanation.words) == model.candidates[0].text == report.models[0].captions["test-00002"][0].text
    assert len(model.candidates) == 3
    assert set(model.scores) == {"CIDEr", "BLEU-4", "ROUGE-L"}
    attributions = {look.name: look for look in explanation.attributions}
    # The branch that captions, the one that taught it, Grad-CAM of the first, the objects of the second.
    assert set(attributions) == {
        "frames", "object.frames", "gradcam", "gradcam.caption", "importance", "importance.caption", "explainer",
    }  # fmt: skip
    for name, look in attributions.items():
        rows = 1 if name.endswith(".caption") or name == "explainer" else len(explanation.words)
        for value, width in (
            (look.frames, len(view.pictures)),
            (look.nodes, len(view.nodes)),
            (look.edges, len(view.edges)),
        ):
            assert value is None or value.shape == (rows, width)
        assert look.frames is not None or look.places is not None
    np.testing.assert_allclose(attributions["frames"].frames.sum(1), 1, rtol=1e-5)


def test_every_card_begins_with_the_same_attribution(run: Path) -> None:
    """Frames alone come last, whether a video's shares differ or are all alike."""
    orders = []
    for shares in (np.eye(10)[:1], np.full((1, 10), 0.1)):
        found = Attribution("made", "Made", "", frames=shares, whole=True)
        report = split_report(run, explainers=[lambda *_, found=found: [found], "scene"])
        report.caption()
        (view,) = views_of(report, "test-00000")
        orders.append([look.name for look in view.captions[0].explanation.attributions])
    assert orders[0] == orders[1]
    assert orders[0][0] == "gradcam"


def test_the_words_probabilities_are_those_of_the_search(run: Path) -> None:
    report = split_report(run)
    report.caption()
    (view,) = views_of(report, "test-00000")
    best = report.models[0].captions["test-00000"][0]
    probabilities = view.captions[0].explanation.probabilities
    assert len(probabilities) == len(view.captions[0].explanation.words)
    vocabulary, batch = report.run.trained.vocabulary, report.run.store.batch(["test-00000"])
    ids = torch.tensor([vocabulary.encode(best.text)])
    with torch.inference_mode():
        logits = report.run.trained.captioner.decoder(ids[:, :-1], report.run.trained.captioner.memory(batch))
    said = logits.log_softmax(-1)[0].gather(1, ids[0, 1:, None])[:, 0]
    np.testing.assert_allclose(np.log(probabilities), said[:-1], rtol=1e-4)
    if best.length == len(said):  # the sentence ends by itself and is not cut
        assert best.log_prob == pytest.approx(float(said.sum()), rel=1e-4)
    assert view.captions[0].confidence == pytest.approx(best.confidence)


def test_videos_are_chosen_by_name_or_by_score(run: Path) -> None:
    report = split_report(run)
    report.caption()
    cider = {video: scores["cider"] for video, scores in report.models[0].scores.items()}
    best = report.chosen([], "best", 0)
    assert [cider[video] for video in best] == sorted(cider.values(), reverse=True)
    assert report.chosen([], "worst", 2) == best[::-1][:2]
    assert report.chosen([], "given", 3) == report.videos[:3]
    assert report.chosen(["test-00003", "test-00001"], "given", 30) == ["test-00003", "test-00001"]
    with pytest.raises(UserError, match=r"the split 'test' has no video 'vid9': its names are such as 'test-00000'"):
        report.chosen(["vid9"], "given", 0)


def test_another_run_is_shown_alongside(run: Path, trained: Callable[..., Path]) -> None:
    """Each with its own captions and attributions; Grad-CAM also where the first reads no scene."""
    scene, objects = trained("scene", branches="scene"), trained("objects", branches="object")
    report = split_report(objects, beside=[str(scene), str(run)])
    report.caption()
    (view,) = views_of(report, "test-00001")
    assert [one.model for one in view.captions] == ["objects", "scene", "run"]
    alone = split_report(scene)
    alone.caption()
    (own,) = (one.explanation for one in next(iter(views_of(alone, "test-00001"))).captions)
    beside = view.captions[1].explanation
    assert beside.words == own.words
    assert beside.probabilities == own.probabilities
    assert [look.name for look in beside.attributions] == [look.name for look in own.attributions]
    names = [{look.name for look in one.explanation.attributions} for one in view.captions]
    assert "gradcam" not in names[0]
    assert names[1] == {"frames", "gradcam", "gradcam.caption"}
    assert {"gradcam", "importance", "object.frames"} <= names[2]
    tested = {(found.title.split(": ")[0], found.hides) for found in report.deletions()}
    assert tested == {
        ("objects", "frames"),
        ("scene", "frames"),
        ("scene", "places"),
        ("run", "frames"),
        ("run", "places"),
    }


def test_a_control_is_refused(run: Path, trained: Callable[..., Path]) -> None:
    control = trained("control", branches="scene", control="shuffle")
    with pytest.raises(UserError, match=r"control is a control \(shuffle\): it saw other videos"):
        split_report(control)
    with pytest.raises(UserError, match=r"control is a control \(shuffle\): it saw other videos"):
        split_report(run, beside=[str(control)])


def test_one_video_that_cannot_be_drawn_does_not_stop_the_others(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stg.pages.videos import split_report as module

    drawn, calls = module.explain, []

    def explain_but_second(*args: Any, **options: Any) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise ValueError("odd features in /home/somebody/store")
        return drawn(*args, **options)

    monkeypatch.setattr(module, "explain", explain_but_second)
    said = Said()
    opened = load_run(run, device="cpu", reporter=said)
    report = SplitReport(opened, "test", search=SearchConfig("greedy"), reporter=said)
    report.caption()
    views = views_of(report, *report.videos[:3])
    assert [view.error for view in views] == [None, "odd features in …/store", None]
    assert "test-00001 is not shown: odd features in /home/somebody/store" in said.lines


def test_a_run_on_other_videos_cannot_be_shown_alongside(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    text = (other / "config.json").read_text()
    (other / "config.json").write_text(text.replace('"train": 6', '"train": 7'))
    with pytest.raises(UserError, match=r"other was trained on other videos than .*run: put runs of one data set"):
        split_report(run, beside=[str(other)])


def test_the_command_writes_a_page_that_names_no_path(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STG_SECRET", "planted-3141592")
    out = tmp_path / "page.html"
    assert (
        run_command(ReportConfig, report_main, "", [str(run), "--split", "test", "--limit", "2", "--out", str(out)])
        == 0
    )
    assert capsys.readouterr().out.strip() == str(out)
    page = out.read_text()
    assert page.count("<article") == 2
    assert "test-00000" in page
    assert "test-00003" not in page
    # Neither the folder of the run nor the home of whoever made it (F7).
    assert str(run.parent) not in page
    assert "planted-3141592" not in page
    assert str(Path.home()) not in re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", page)


def test_the_page_of_the_run_is_written_into_the_run(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert run_command(ReportConfig, report_main, "", [str(folder)]) == 0
    page = (folder / "report" / "run.html").read_text()
    assert "<svg" in page
    assert str(folder.parent) not in page


def test_options_that_do_not_go_together_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(ReportConfig, report_main, "", [str(run), "--videos", "test-00000", "--beam", "3"]) == 2
    assert "videos, beam are for a page of videos: add --split val, test or train" in capsys.readouterr().err
    (tmp_path / "folder.html").mkdir()
    assert (
        run_command(
            ReportConfig, report_main, "", [str(run), "--split", "test", "--out", str(tmp_path / "folder.html")]
        )
        == 2
    )
    assert "folder.html is a folder" in capsys.readouterr().err
    assert run_command(ReportConfig, report_main, "", [str(run), "--split", "dev"]) == 2
    assert "no split 'dev': choose one of train, val, test" in capsys.readouterr().err


def test_a_store_without_clips_is_shown_without_pictures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = split_report(run)
    report.world = None
    report.caption()
    (view,) = views_of(report, "test-00000")
    assert view.notes == ("No pictures: the file of this video was not given (--clips).",)
    assert all(picture.jpeg is None for picture in view.pictures)
    assert len(view.nodes)
    assert {"gradient", "gradient.caption"} <= {look.name for look in view.captions[0].explanation.attributions}


def test_another_clip_of_the_same_name_is_not_shown(run: Path, clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "test-00000.mp4"
    dataclasses.replace(World(train=6, val=3, test=4), size=64).write_mp4("test-00000", other)
    said = Said()
    opened = load_run(run, device="cpu", reporter=said)
    report = SplitReport(opened, "test", search=SearchConfig("greedy"), clips={"test-00000": other}, reporter=said)
    report.world = None
    report.caption()
    (view,) = views_of(report, "test-00000")
    assert "is not what the graph was made from" in view.notes[0]
    assert view.film is None
    assert said.lines == [f"no pictures of test-00000: {view.notes[0].removeprefix('No pictures: ')}"]


@pytest.mark.parametrize(("read", "pictures"), [(act_at_the_film, True), (act_at_once, False)])
def test_a_clip_that_hangs_costs_its_film_or_its_pictures(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, pictures: bool
) -> None:
    world, clips, said = World(train=6, val=3, test=4), {}, Said()
    for deed, video in (("hang", "test-00000"), ("fine", "test-00001")):
        (tmp_path / deed).mkdir()
        clips[video] = tmp_path / deed / f"{video}.mp4"
        world.write_mp4(video, clips[video])
    monkeypatch.setattr(clip_films, "read_for_page", read)
    report = split_report(run, clips=clips, reporter=said)
    report.world = None
    report.caption()
    with page_readers(2.0) as readers:
        bad, good = report.views(list(clips), readers)
    why = "'test-00000.mp4': no result within 2 s: the decoder hangs, or it is slow and time_limit too short"
    assert bad.notes == ((f"The clip cannot be played here: {why}" if pictures else f"No pictures: {why}"),)
    assert said.lines == [f"no {'film' if pictures else 'pictures'} of test-00000: {why}"]
    assert [picture.jpeg is not None for picture in bad.pictures] == [pictures] * len(bad.pictures)
    assert bad.captions[0].explanation.words
    assert bad.film is None
    assert good.film is not None
    assert good.film.whole
    assert all(picture.jpeg is not None for picture in good.pictures)


def test_a_clip_that_was_replaced_by_one_of_its_size_and_length_is_not_shown(run: Path, tmp_path: Path) -> None:
    world, path, said = World(train=6, val=3, test=4), tmp_path / "test-00000.mp4", Said()
    world.write_mp4("test-00000", path)
    listed = Path(f"{run.parent / 'store'}.clips.jsonl")
    before = listed.read_bytes() if listed.exists() else None
    try:
        with open(path, "rb") as file:
            ExtractionLog(run.parent / "store").note({"id": "test-00000"} | read_of(file).row())
        world.write_mp4("test-00001", path)
        report = split_report(run, clips={"test-00000": path}, reporter=said)
    finally:
        listed.unlink() if before is None else listed.write_bytes(before)
    report.world = None
    report.caption()
    (view,) = views_of(report, "test-00000")
    assert "it is not the clip that was read for the store" in view.notes[0]
    assert str(tmp_path) not in view.notes[0]
    assert view.film is None
    assert all(picture.jpeg is None for picture in view.pictures)


def test_a_clip_is_captioned_onto_a_page(
    run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.html"
    options = [str(clip), "--model", str(run), "--report", str(out), "--workers", "0", "--beam", "3"]
    assert run_command(CaptionConfig, caption_main, "", options) == 0
    printed = capsys.readouterr()
    page = out.read_text()
    assert page.count("<article") == 1
    said = re.match(r".*test-00001\.mp4: (.*)   \(confidence", printed.out)
    assert said is not None
    words = re.findall(r'<button[^>]*class="word[^>]*>.*?</button>', page, re.DOTALL)
    assert [re.sub("<[^>]*>", " ", word).split()[0] for word in words] == said[1].split()
    assert "No boxes and no edges: the detector of the built-in world knows" in page
    film = re.search(r'<video [^>]*src="data:video/mp4;base64,([^"]+)"></video>', page)
    assert film is not None
    with av.open(io.BytesIO(base64.b64decode(film[1]))) as file, av.open(clip) as whole:
        assert file.streams.video[0].frames == whole.streams.video[0].frames
    # Neither the place of the clip nor that of the model (F7).
    assert str(clip.parent) not in page
    assert str(run.parent) not in page


def test_overlay_wants_one_clip(run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "test-00002.mp4"
    shutil.copy(clip, other)
    options = ["--model", str(run), "--overlay", str(tmp_path / "o.mp4"), str(clip), str(other)]
    assert run_command(CaptionConfig, caption_main, "", options) == 2
    assert "overlay takes one clip, and 2 were given" in capsys.readouterr().err
    assert run_command(CaptionConfig, caption_main, "", [str(clip), "--model", str(run), "--overlay", "x.gif"]) == 2
    assert "ends in .mp4" in capsys.readouterr().err


def test_what_is_searched_for_stays_what_was_asked_for() -> None:
    assert ReportConfig("run", "test").searched() == SearchConfig(beam=5, n_best=5)
    assert ReportConfig("run", "test", beam=9).searched() == SearchConfig(beam=9, n_best=5)
    assert ReportConfig("run", "test", beam=1).searched().greedy
    drawn = SearchConfig(method="sample", temperature=0.5)
    assert ReportConfig("run", "test", search=drawn).searched() == drawn


def test_a_model_that_reads_the_class_is_given_it(run: Path) -> None:
    """The probabilities on the page are those of the video's class, where it is known."""
    stats = STaTSConfig(categories=3, scene_streams=("regions",))
    settings = ModelConfig(decoder="stats", branches="scene", channels=16, stats=stats)
    opened = load_run(run, device="cpu")
    batch = opened.store.batch(["test-00000"])
    torch.manual_seed(0)
    vocabulary, widths = opened.trained.vocabulary, FeatureWidths.of(batch)
    captioner = build_captioner(
        settings, GraphConfig(), widths=widths, vocabulary=len(vocabulary), max_words=vocabulary.max_words
    ).eval()
    trained = dataclasses.replace(opened.trained, captioner=captioner, model=settings, widths=widths)
    caption = Caption(vocabulary.decode([5, 6, 7]), -3.0, 4)
    found = {known: explain(ExplainedModel(trained), batch, caption, category=known) for known in (-1, 0, 2)}
    for known, one in found.items():
        memory = captioner.memory(batch.clone().update({"category": torch.tensor([known])}))
        ids = torch.tensor([[BOS, 5, 6]])
        expected = captioner.decoder(ids, memory).softmax(-1)[0, torch.arange(3), torch.tensor([5, 6, 7])]
        np.testing.assert_allclose(one.probabilities, expected.detach(), rtol=1e-5)
        assert {look.name for look in one.attributions} >= {"ts", "st"}
        assert one.gate is not None
        assert one.gate.shape == (3, 2)
    assert found[0].probabilities != found[2].probabilities


def test_words_with_a_space_of_their_own_are_explained(run: Path) -> None:
    """A word of the vocabulary may hold a no-break space ("2 1/2"): it is one word on the page, too."""
    opened = load_run(run, device="cpu")
    before = opened.trained.vocabulary
    words = (*before.words[:4], *(f"{word}\u00a0{word}" for word in before.words[4:]))
    trained = dataclasses.replace(opened.trained, vocabulary=Vocabulary(words, before.max_words))
    batch = opened.store.batch(["test-00000"])
    (caption,) = decode_memory(
        trained.captioner.decoder, trained.captioner.memory(batch), trained.vocabulary, SearchConfig()
    )[0]
    found = explain(ExplainedModel(trained), batch, caption)
    assert found.words == caption.words
    assert " ".join(found.words) == caption.text
    assert len(found.probabilities) == len(found.words) > 0
    assert all("\u00a0" in word for word in found.words)


def test_a_clip_whose_film_crashes_is_captioned_onto_a_page_without_it(
    run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crash").mkdir()
    bad, out = tmp_path / "crash" / "test-00000.mp4", tmp_path / "out.html"
    World(train=6, val=3, test=4).write_mp4("test-00000", bad)
    monkeypatch.setattr(clip_films, "read_for_page", act_at_the_film)
    options = [str(bad), str(clip), "--model", str(run), "--report", str(out), "--beam", "1"]
    assert run_command(CaptionConfig, caption_main, "", options) == 0
    printed, page = capsys.readouterr(), out.read_text()
    assert len(re.findall(r"test-0000\d\.mp4: .* \(confidence", printed.out)) == 2
    why = "'test-00000.mp4': the decoder crashed (signal SIGSEGV)"
    assert printed.err.count(f"no film of {bad}: {why}") == 1
    assert page.count(f"The clip cannot be played here: {escape(why)}") == 1
    assert (page.count("<article"), page.count("<video ")) == (2, 1)


def test_a_clip_that_hangs_costs_its_overlay(
    run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    bad, out = tmp_path / "broken" / "hang.mp4", tmp_path / "out.mp4"
    shutil.copy(clip, bad)
    options = ["--model", str(run), "--overlay", str(out), "--beam", "1"]
    # Without a page nobody wants the small film of one.
    monkeypatch.setattr(clip_films, "read_for_page", act_at_the_film)
    assert run_command(CaptionConfig, caption_main, "", [str(bad), *options, "--workers", "0"]) == 0
    printed = capsys.readouterr()
    assert f"written: {out}" in printed.err
    assert "no film" not in printed.err
    with av.open(out) as file, av.open(clip) as whole:
        assert file.streams.video[0].frames == whole.streams.video[0].frames
    out.unlink()
    monkeypatch.setattr(clip_films, "read_footage", read_footage)
    assert run_command(CaptionConfig, caption_main, "", [str(bad), *options, "--time_limit", "3"]) == 2
    printed = capsys.readouterr()
    assert re.match(r"\S+hang.mp4: .* \(confidence", printed.out)
    assert f"error: {out} was not written: 'hang.mp4': no result within 3 s: the decoder hangs" in printed.err
    assert list(tmp_path.iterdir()) == [bad.parent]


def test_no_clip_is_written_over(run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.mp4"
    shutil.copy(clip, mine)
    (tmp_path / "link.mp4").symlink_to(mine)
    for name in ("mine.mp4", "link.mp4"):
        options = [str(mine), "--model", str(run), "--overlay", str(tmp_path / name)]
        assert run_command(CaptionConfig, caption_main, "", options) == 2
        assert "is a clip to caption, which would be lost" in capsys.readouterr().err
    assert mine.read_bytes() == clip.read_bytes()
    for options in (["--report", str(mine)], ["--report", str(tmp_path / "page.txt")]):
        assert run_command(CaptionConfig, caption_main, "", [str(mine), "--model", str(run), *options]) == 2
        assert "a page is a file that ends in .html, or a folder for several" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.mp4", "mine.mp4"]


def test_a_wrong_run_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--split", "test"], []):
        assert run_command(ReportConfig, report_main, "", [str(tmp_path / "gone"), *options]) == 2
        assert "is not a run folder" in capsys.readouterr().err
    assert not (tmp_path / "gone").exists()


def test_show_in_a_notebook(run: Path, clip: Path, tmp_path: Path) -> None:
    model = stg.load(run, beam=2, device="cpu", graph=True)
    found = model.describe(clip)
    shown = stg.show(found)
    assert "<iframe" in shown._repr_html_()
    assert found.caption in repr(shown)
    assert len(found.candidates) == 2
    assert str(clip.parent) not in shown.html
    assert shown.save(tmp_path / "page.html").read_text() == shown.html
    with page_readers() as readers:
        assert view_of_clip(found, readers).captions[0].explanation.words == tuple(found.caption.split())
    kept = dataclasses.replace(found, seen=None)
    with pytest.raises(ValueError, match="only the caption was kept"):
        stg.show(kept)


def test_explaining_changes_no_caption(run: Path, clip: Path) -> None:
    plain = stg.load(run, beam=2, device="cpu").describe(clip)
    shown = stg.load(run, beam=2, device="cpu", graph=True).describe(clip)
    assert (plain.caption, plain.log_prob) == (shown.caption, shown.log_prob)
    stg.show(shown).html  # noqa: B018
    again = shown.seen.captioner.describe(clip) if shown.seen is not None else None
    assert again is not None
    assert again.log_prob == plain.log_prob


def test_a_page_is_the_same_twice(run: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        config = ReportConfig(str(run), split="test", limit=2, out=str(tmp_path / name), device="cpu")
        report_videos(config, reporter=SILENT)
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1]


def test_clips_of_a_report_are_found_as_those_of_an_extraction(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.mp4", "deep/b.mkv", "notes.txt", ".c.mp4"):
        (tmp_path / name).touch()
    said = Said()
    assert clips_by_id(str(tmp_path), False, said) == {"a": tmp_path / "a.mp4"}
    assert said.lines == [
        "left out: 1 clip in subfolders (--recursive takes them); 1 file that are no clips by their suffix (1 .txt); "
        "1 hidden file (names that start with a dot)"
    ]
    found = clips_by_id(str(tmp_path), True, Said())
    assert found == {"a": tmp_path / "a.mp4", "b": tmp_path / "deep" / "b.mkv"}
    with pytest.raises(ValueError, match="recursive is for the folders of clips: add --clips"):
        ReportConfig("run", recursive=True)
