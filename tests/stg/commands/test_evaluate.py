"""Captions and scores of a run; the right features or none (X2, P19, faults B3, E5, E9)."""

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from graphs import FileLock, GraphStore
from stg.commands.evaluate import evaluate_and_print as evaluate
from stg.commands.evaluate import main
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.evaluation import EvaluateConfig
from stg.config.model import ModelConfig, STaTSConfig
from stg.config.search import SearchConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.open import OpenDataset, open_dataset
from stg.evaluation.scoring import evaluate as score_split
from stg.metrics.measures import METRICS, Metric, MetricSettings, References, Result
from stg.models.generation import Caption, generate
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit
from tests.stg.failing_output import failing_output

WORLD = WorldConfig(train=6, val=3, test=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained run on a tiny world."""
    folder = tmp_path_factory.mktemp("evaluate")
    config = FitConfig(
        data=DataConfig(store=str(folder / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=1, epoch_captions=2),
        run=RunConfig(out=str(folder / "run"), samples=0),
    )
    fit(config, reporter=ConsoleReporter(Console(file=io.StringIO())))
    return folder / "run"


def test_captions_and_scores_are_written_and_shown(run: Path) -> None:
    text = io.StringIO()
    config = EvaluateConfig(str(run), split="test", beam=2, meteor=False, show=2)
    scores = evaluate(config, console=Console(file=text, width=150))
    assert set(scores) == {"greedy", "beam 2"}
    captions = json.loads((run / "evaluation" / "test-beam2.json").read_text())
    assert [row["image_id"] for row in captions] == [f"test-{n:05d}" for n in range(4)]
    record = json.loads((run / "evaluation" / "test-greedy-scores.json").read_text())
    assert record["videos"] == 4
    assert record["scores"]["cider"] == scores["greedy"].values["cider"]
    shown = text.getvalue()
    assert "moving objects test, 4 videos" in shown
    assert "BLEU-4" in shown
    assert f"test-00000: {captions[0]['caption']}" in shown


def test_a_score_that_there_is_none_of_has_its_heading_and_why(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    text = io.StringIO()
    config = EvaluateConfig(str(run), split="val", beam=1, metrics="meteor,cider")
    assert evaluate(config, console=Console(file=text, width=150))["greedy"].values.keys() == {"cider"}
    assert "\nMETEOR: " in text.getvalue()
    assert "needs Java 8 or newer" in text.getvalue()


@pytest.mark.parametrize("fails", [False, True])
def test_metrics_are_closed_when_all_is_scored(run: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """METEOR's Java would live on to the end of the process, next to whatever it does then."""
    calls = list[str]()

    def score(captions: Mapping[str, str], references: References) -> Result:
        if fails:
            raise UserError("no score")
        return {"program": (1.0, {})}

    def program(settings: MetricSettings) -> Metric:
        return Metric(score, lambda: calls.append("start"), lambda: calls.append("close"))

    monkeypatch.setitem(METRICS, "program", program)
    with pytest.raises(UserError, match="no score") if fails else nullcontext():
        score_split(run, "val", metrics=["program"], device="cpu")
    # The two searches of the default share one program.
    assert calls == (["start", "close"] if fails else ["start", "start", "close"])


def test_a_run_that_can_only_be_read_shows_its_scores(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation"))
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    argv = [str(folder), "--split", "test", "--beam", "1", "--meteor", "false"]
    assert run_command(EvaluateConfig, main, "", argv) == 0
    shown = capsys.readouterr().out
    assert "CIDEr" in shown
    told = f"{folder / 'evaluation'} cannot be written to: captions and scores are not kept; give --out FOLDER to keep"
    assert told in shown
    assert "captions and scores are in" not in shown
    assert list((folder / "evaluation").iterdir()) == []
    out = tmp_path / "here" / "scores"
    assert run_command(EvaluateConfig, main, "", [*argv, "--out", str(out)]) == 0
    assert f"captions and scores are in {out}" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"test-greedy.json", "test-greedy-scores.json"}


def test_scores_that_cannot_be_shown_are_kept_and_end_with_1(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores"
    argv = [str(run), "--split", "test", "--beam", "1", "--meteor", "false", "--out", str(out)]
    with failing_output(monkeypatch):
        assert run_command(EvaluateConfig, main, "", argv) == 1
    assert capsys.readouterr().err == "error: reading or writing: No space left on device\n"
    assert {path.name for path in out.iterdir()} == {"test-greedy.json", "test-greedy-scores.json"}


def test_one_process_evaluates_a_split_and_no_link_is_followed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    config = EvaluateConfig(str(run), split="test", beam=1, meteor=False, out=str(out))
    out.mkdir()
    lock = FileLock(out / ".test.lock")
    with pytest.raises(UserError, match=f"scores is being written by process {os.getpid()} on host .* since 2"):
        evaluate(config, console=Console(file=io.StringIO()))
    evaluate(dataclasses.replace(config, split="val"), console=Console(file=io.StringIO()))
    lock.release()
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation"))
    (folder / "evaluation").symlink_to(out)
    with pytest.raises(UserError, match="evaluation is a link, and what it leads to would be overwritten"):
        evaluate(EvaluateConfig(str(folder), split="test", beam=1), console=Console(file=io.StringIO()))


def test_features_made_otherwise_are_refused_naming_the_fields(run: Path, tmp_path: Path) -> None:
    other = DataConfig(store=str(tmp_path / "other"))
    open_dataset(other, dataclasses.replace(WORLD, seed=5)).store.close()
    config = EvaluateConfig(str(run), split="val", store=str(tmp_path / "other"), meteor=False)
    with pytest.raises(UserError, match=r"do not fit this model: .*seed: trained on 0, store has 5"):
        evaluate(_on_world(config, 5, run, tmp_path), console=Console(file=io.StringIO()))


def test_a_store_of_other_versions_than_the_training_is_read_with_a_warning(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    trained = CaptionerBundle.load(run / "model.safetensors")
    dataclasses.replace(trained, made_with=[{"av": "17.1.0"}]).save(copy / "model.safetensors")
    shutil.copy(json.loads((run / "config.json").read_text())["data"]["store"], tmp_path / "store")
    config = EvaluateConfig(str(copy), store=str(tmp_path / "store"), split="test", meteor=False, show=0)
    shown = {}
    for made_with in ({"av": "17.1.0"}, {"av": "18.0.0"}):
        with GraphStore(tmp_path / "store", "a") as store:
            store.state_versions(made_with)
            store.put("test-00000", store.get("test-00000"))
        text = io.StringIO()
        evaluate(config, console=Console(file=text, width=1000))
        shown[made_with["av"]] = text.getvalue()
    assert "warning:" not in shown["17.1.0"]
    assert f"{tmp_path}/store were made with other versions than those that {copy} was trained on;" in shown["18.0.0"]
    assert "av: 17.1.0, here 18.0.0" in shown["18.0.0"]


def test_another_search_names_its_row_and_its_files(run: Path, tmp_path: Path) -> None:
    folder, text = tmp_path / "run", io.StringIO()
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation"))
    search = SearchConfig(beam=3, n_best=2, length_penalty=1.0)
    config = EvaluateConfig(str(folder), split="test", search=search, meteor=False)
    assert set(evaluate(config, console=Console(file=text, width=150))) == {"greedy", "beam 3 +penalty1"}
    stems = ("greedy", "greedy-scores", "beam3+penalty1", "beam3+penalty1-scores", "beam3+penalty1-nbest")
    assert {path.name for path in (folder / "evaluation").iterdir()} == {f"test-{stem}.json" for stem in stems}
    first = json.loads((folder / "evaluation" / "test-beam3+penalty1.json").read_text())
    many = json.loads((folder / "evaluation" / "test-beam3+penalty1-nbest.json").read_text())
    assert [found["captions"][0] for found in many.values()] == [row["caption"] for row in first]
    for found in many.values():
        assert len(found["captions"]) == len(found["log_probs"]) == 2
        assert found["scores"] == sorted(found["scores"], reverse=True)
    record = json.loads((folder / "evaluation" / "test-beam3+penalty1-scores.json").read_text())
    assert record["beam"] == 3
    assert record["search"]["length_penalty"] == 1.0


def test_pycocoevalcap_scores_where_it_is_asked_to(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stg.metrics.scorer import Scorer

    made: list[tuple[bool, str]] = []

    class Watched(Scorer):
        def __init__(self, *args: Any, reference: bool, tokenizer: str, **kwargs: Any) -> None:
            made.append((reference, tokenizer))
            super().__init__(*args, reference=reference, tokenizer="python", **kwargs)

    monkeypatch.setattr("stg.evaluation.scoring.Scorer", Watched)
    config = EvaluateConfig(str(run), "test", beam=1, meteor=False)
    ours = evaluate(config, console=Console(file=io.StringIO()))["greedy"].values
    theirs = evaluate(dataclasses.replace(config, reference=True), console=Console(file=io.StringIO()))["greedy"].values
    assert made == [(False, "python"), (True, "java")]
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_captions_that_end_openly_are_counted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def caption(*args: Any, **kwargs: Any) -> Any:
        texts = ["a square moves with a", "a circle", "a square moves to the", "it stands still"]
        return {video: [Caption(text, -1.0, 5)] for video, text in zip(args[2], texts, strict=True)}

    monkeypatch.setattr("stg.evaluation.scoring.generate", caption)
    text = io.StringIO()
    evaluate(EvaluateConfig(str(run), "test", beam=2, meteor=False), console=Console(file=text, width=150))
    assert "a word such as a, the, with: greedy 2, beam 2 2 of 4" in text.getvalue()
    assert json.loads((run / "evaluation" / "test-greedy-scores.json").read_text())["broken_endings"] == 2


def _on_world(config: EvaluateConfig, seed: int, run: Path, folder: Path) -> EvaluateConfig:
    """The same model in a run that says another world."""
    copy = folder / "run"
    shutil.copytree(run, copy)
    settings = json.loads((copy / "config.json").read_text())
    settings["world"]["seed"] = seed
    (copy / "config.json").write_text(json.dumps(settings))
    return dataclasses.replace(config, run=str(copy))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--split", "dev"), "moving objects has no split 'dev': choose one of train, val, test"),
        (("--beam", "0"), "beam must be at least 1; got 0"),
        (("--beam", "3", "--search.beam", "4"), "--beam 3 and --search.beam 4 are one setting: give it once"),
        (("--search.method", "diverse", "--search.groups", "2"), "groups=2 must divide beam=5"),
        (("--search.methd", "diverse"), "did you mean --search.method?"),
    ],
)
def test_wrong_options_are_one_line(
    change: tuple[str, ...], words: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(EvaluateConfig, main, "", [str(run), *change]) == 2
    assert words in capsys.readouterr().err


def test_no_run_or_a_damaged_one_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(EvaluateConfig, main, "", [str(tmp_path)]) == 2
    assert "is not a run folder (it has no config.json)" in capsys.readouterr().err
    shutil.copytree(run, tmp_path / "run")
    model = bytearray((tmp_path / "run" / "model.safetensors").read_bytes())
    model[-3] ^= 1
    (tmp_path / "run" / "model.safetensors").write_bytes(model)
    assert run_command(EvaluateConfig, main, "", [str(tmp_path / "run")]) == 2
    assert "model.safetensors is damaged: its SHA-256 differs" in capsys.readouterr().err


def test_a_model_that_reads_the_class_is_scored_with_it_and_without(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = {f"{split}-{n:05d}": n % 2 for split in ("train", "val", "test") for n in range(5)}

    def opened(*args: Any, **kwargs: Any) -> OpenDataset:
        found = open_dataset(*args, **kwargs)
        return OpenDataset(dataclasses.replace(found.dataset, category=classes), found.store)

    monkeypatch.setattr("stg.training.setup.open_dataset", opened)
    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", opened)
    out = tmp_path / "run"
    config = FitConfig(
        data=DataConfig(store=str(run.parent / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig("scene", "stats", channels=16, stats=STaTSConfig(categories=2)),
        optim=OptimConfig(epochs=1, epoch_captions=2),
        run=RunConfig(out=str(out), samples=0),
    )
    fit(config, reporter=ConsoleReporter(Console(file=io.StringIO())))
    found_by: dict[str, Any] = {}

    def caption(*args: Any, **kwargs: Any) -> Any:
        found = generate(*args, **kwargs)
        found_by[f"{kwargs['search'].name} {args[1].category is not None}"] = next(iter(found.values()))[0]
        return found

    monkeypatch.setattr("stg.evaluation.scoring.generate", caption)
    text = io.StringIO()
    scores = evaluate(
        EvaluateConfig(str(out), "test", beam=2, meteor=False, show=1), console=Console(file=text, width=150)
    )
    assert list(scores) == ["greedy", "greedy, no class", "beam 2", "beam 2, no class"]
    assert set(found_by) == {"greedy True", "greedy False", "beam 2 True", "beam 2 False"}
    assert found_by["greedy True"] != found_by["greedy False"]
    assert f"test-00000: {found_by['beam 2 True'].text}  " in text.getvalue()
    assert "beam 2, no class" in text.getvalue()
    stems = ("greedy", "greedy-noclass", "beam2", "beam2-noclass")
    names = {f"test-{stem}{end}.json" for stem in stems for end in ("", "-scores")}
    assert {path.name for path in (out / "evaluation").iterdir()} == names
    records = {stem: json.loads((out / "evaluation" / f"test-{stem}-scores.json").read_text()) for stem in stems}
    assert [record["category"] for record in records.values()] == [True, False, True, False]
    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", open_dataset)
    text = io.StringIO()
    scores = evaluate(EvaluateConfig(str(out), "test", 1, meteor=False, show=1), console=Console(file=text, width=150))
    assert list(scores) == ["greedy, no class"]
    assert "moving objects has no classes, which this model reads: it is scored as for clips without" in text.getvalue()
    assert f"test-00000: {found_by['greedy False'].text}  " in text.getvalue()
    classes |= {"test-00000": 2}
    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", opened)
    with pytest.raises(UserError, match=r"model.stats.categories is 2 and moving objects has a class number 2"):
        evaluate(EvaluateConfig(str(out), "test", meteor=False), console=Console(file=io.StringIO()))


def test_a_model_that_predicts_the_class_is_scored_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def opened(*args: Any, **kwargs: Any) -> OpenDataset:
        found = open_dataset(*args, **kwargs)
        classes = {video: number % 2 for number, video in enumerate(found.dataset.videos("train"))}
        return OpenDataset(dataclasses.replace(found.dataset, category=classes), found.store)

    def caption(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[1].category)
        return generate(*args, **kwargs)

    monkeypatch.setattr("stg.training.setup.open_dataset", opened)
    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", opened)
    out = tmp_path / "run"
    config = FitConfig(
        data=DataConfig(store=str(run.parent / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig("scene", "stats", channels=16, stats=STaTSConfig(categories=2, category_use="target")),
        optim=OptimConfig(epochs=1, epoch_captions=2),
        run=RunConfig(out=str(out), samples=0),
    )
    fit(config, reporter=ConsoleReporter(Console(file=io.StringIO())))
    assert all("scene_category" in json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()[:-1])
    monkeypatch.setattr("stg.evaluation.scoring.generate", caption)
    for preparation in (opened, open_dataset):
        monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", preparation)
        scores = evaluate(EvaluateConfig(str(out), "test", 1, meteor=False), console=Console(file=io.StringIO()))
        assert list(scores) == ["greedy"]
    assert seen == [None, None]


@pytest.mark.shared_data
def test_a_split_with_too_few_videos_in_the_store_is_refused(shared_data: Path, run: Path) -> None:
    data = DataConfig(dataset="msvd", root=str(shared_data / "msvd"), store=str(run.parent / "store"))
    with pytest.raises(UserError, match=r"none of the videos of MSVD .* is among the 13 available ones"):
        open_dataset(data, WORLD)


def test_a_split_whose_captions_are_withheld_is_captioned_and_not_scored(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*args: Any, **kwargs: Any) -> OpenDataset:
        found = open_dataset(*args, **kwargs)
        captions = {video: texts for video, texts in found.dataset.captions.items() if not video.startswith("test")}
        return OpenDataset(dataclasses.replace(found.dataset, captions=captions, unlabelled=("test",)), found.store)

    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", opened)
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation"))
    text = io.StringIO()
    assert evaluate(EvaluateConfig(str(folder), "test", beam=2, show=1), console=Console(file=text, width=150)) == {}
    assert {path.name for path in (folder / "evaluation").iterdir()} == {"test-greedy.json", "test-beam2.json"}
    assert len(json.loads((folder / "evaluation" / "test-greedy.json").read_text())) == WORLD.test
    assert "the captions of test are withheld: nothing is scored" in text.getvalue()
    assert "a reference" not in text.getvalue()


def test_a_store_of_the_split_that_is_read_is_enough_and_stays_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not filled up with the other videos of the world, either."""
    part = str(tmp_path / "part")
    open_dataset(DataConfig(store=part), WORLD, splits=("test",)).store.close()
    argv = [str(run), "--split", "test", "--store", part, "--beam", "1", "--meteor", "false", "--out", f"{part}-out"]
    assert run_command(EvaluateConfig, main, "", argv) == 0
    assert "train" not in capsys.readouterr().out
    with GraphStore(part) as store:
        assert sorted(store.keys()) == [f"test-{number:05d}" for number in range(WORLD.test)]
