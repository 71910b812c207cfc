"""Runs set side by side: rows over seeds, differences over videos, and what is refused."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from stg.commands.compare import main, show
from stg.commands.evaluate import evaluate_and_print as evaluate
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.evaluation import EvaluateConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.results import CompareConfig
from stg.config.schema import to_dict
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.evaluation import compare
from stg.evaluation.predictions import write_predictions
from stg.metrics.scorer import score
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit

Capture = pytest.CaptureFixture[str]

REFERENCES = {
    "a": ["a man plays the guitar", "someone is playing a guitar"],
    "b": ["two dogs run on the beach", "dogs are running"],
    "c": ["a woman cuts an onion", "a cook slices an onion"],
    "d": ["a boy rides his red bike", "the boy is riding"],
}
GOOD = {"a": "a man plays the guitar", "b": "dogs are running", "c": "a woman cuts a cake", "d": "a boy rides"}
FAIR = {"a": "a man plays the guitar", "b": "a dog is running", "c": "a woman cuts an onion", "d": "a man rides"}
POOR = {"a": "a man plays", "b": "dogs are running", "c": "someone is playing", "d": "a man is riding"}


@pytest.fixture(autouse=True)
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of captioned clips; runs are made beside it."""
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    rows = [f"{video},{text},val" for video, texts in REFERENCES.items() for text in texts]
    Path("clips/captions.csv").write_text("\n".join(["video,caption,split", "t,a man walks,train", *rows, ""]))


def make(folder: str, seed: int, captions: dict[str, str], *, recorded: float | None = None, **sections: Any) -> str:
    """A run folder as training and evaluation leave it, but for the model."""
    run = sections.pop("run", RunConfig(out=folder))
    data = sections.pop("data", DataConfig(dataset="folder", root="clips"))
    config = FitConfig(run=dataclasses.replace(run, seed=seed), data=data, **sections)
    evaluation = Path(folder) / "evaluation"
    evaluation.mkdir(parents=True)
    (Path(folder) / "config.json").write_text(json.dumps(to_dict(config)))
    write_predictions(evaluation / "val-greedy.json", captions)
    scores = {} if recorded is None else {"cider": recorded}
    (evaluation / "val-greedy-scores.json").write_text(json.dumps({"scores": scores}))
    return folder


@pytest.fixture
def runs() -> list[str]:
    """Two seeds of one model, one of another."""
    spatial = GraphConfig(variant="spatial")
    return [make("full-0", 0, GOOD), make("full-1", 1, POOR), make("spatial-0", 0, FAIR, graph=spatial)]


def found(*folders: str, **options: Any) -> dict[str, Any]:
    config = CompareConfig(folders, **{"meteor": False, "samples": 200, **options})
    return compare(config)


def refused(capsys: Capture, *argv: str) -> str:
    """The one line that the command ends with."""
    assert run_command(CompareConfig, main, "", [*argv, "--meteor", "false"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_runs_that_differ_in_their_seed_are_one_row(runs: list[str]) -> None:
    record = found(*runs)
    assert [(row["name"], row["runs"], row["seeds"]) for row in record["rows"]] == [
        ("variant=full", ["full-0", "full-1"], [0, 1]),
        ("variant=spatial", ["spatial-0"], [0]),
    ]
    each = [score(said, REFERENCES, metrics=["bleu", "rouge", "cider"]).values for said in (GOOD, POOR)]
    for metric in ("bleu4", "rouge", "cider"):
        row = record["rows"][0]["scores"][metric]
        assert row["mean"] == pytest.approx((each[0][metric] + each[1][metric]) / 2)
        assert row["deviation"] == pytest.approx(abs(each[0][metric] - each[1][metric]) / 2**0.5)
    assert record["rows"][1]["scores"]["cider"]["deviation"] is None


def test_differences_are_of_the_seeds_average(runs: list[str]) -> None:
    record = found(*runs)
    good, poor, fair = (score(said, REFERENCES, metrics=["bleu", "cider"]) for said in (GOOD, POOR, FAIR))
    (row,) = record["differences"]
    assert (record["baseline"], row["name"]) == ("variant=full", "variant=spatial")
    for metric in ("bleu4", "cider"):
        expected = fair.values[metric] - (good.values[metric] + poor.values[metric]) / 2
        assert row["scores"][metric]["value"] == pytest.approx(expected, abs=1e-12)
    gains = np.array(
        [
            fair.per_video[video]["cider"] - (good.per_video[video]["cider"] + poor.per_video[video]["cider"]) / 2
            for video in REFERENCES
        ]
    )
    drawn = gains[np.random.default_rng(0).integers(4, size=(200, 4))].mean(1)
    cider = row["scores"]["cider"]
    assert (cider["low"], cider["high"]) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert cider["better"] == (drawn > 0).mean()


def test_the_baseline_is_named_or_one_of_its_runs(runs: list[str], capsys: Capture) -> None:
    plain = found(*runs)["differences"][0]["scores"]["rouge"]
    turned = found(*runs, baseline="variant=spatial")
    assert turned["differences"][0]["scores"]["rouge"]["value"] == pytest.approx(-plain["value"])
    assert found(*runs, baseline="./spatial-0") == turned
    text = refused(capsys, *runs, "--baseline", "x")
    assert "--baseline 'x' is neither a row nor a run of one; the rows are variant=full; variant=spatial" in text


def test_names_stand_for_the_rows_one_each(runs: list[str], capsys: Capture) -> None:
    assert [row["name"] for row in found(*runs, names="A, B")["rows"]] == ["A", "B"]
    text = refused(capsys, *runs, "--names", "A,B,C")
    assert "gives 3 names; the runs make 2 rows (variant=full; variant=spatial): give one name for each" in text


def test_the_videos_that_changed_most_come_with_captions_and_a_reference(runs: list[str]) -> None:
    record = found(*runs, show=1)
    good, poor, fair = (score(said, REFERENCES, metrics=["cider"]).per_video for said in (GOOD, POOR, FAIR))
    change = {v: fair[v]["cider"] - (good[v]["cider"] + poor[v]["cider"]) / 2 for v in REFERENCES}
    (gain,), (loss,) = record["gains"], record["losses"]
    assert gain["video"] == max(change, key=lambda video: change[video]) == "c"
    assert loss["video"] == min(change, key=lambda video: change[video]) == "b"
    assert gain["change"] == pytest.approx(change["c"])
    assert (gain["row"]["caption"], gain["reference"]) == ("a woman cuts an onion", "a woman cuts an onion")
    assert loss["baseline"] == {"cider": pytest.approx(good["b"]["cider"]), "caption": "dogs are running"}


def test_the_caption_shown_is_of_the_seed_nearest_to_the_average() -> None:
    said = ["a man plays the guitar", "a man plays", "a zebra"]
    runs = [make(f"r{seed}", seed, {**GOOD, "a": text}) for seed, text in enumerate(said)]
    each = [score({**GOOD, "a": text}, REFERENCES, metrics=["cider"]).per_video["a"]["cider"] for text in said]
    nearest = min(range(3), key=lambda seed: abs(each[seed] - sum(each) / 3))
    assert max(each) > each[nearest] > min(each)
    (loss,) = found(make("best", 0, GOOD, graph=GraphConfig(layers=1)), *runs)["losses"]
    assert loss["row"] == {"cider": pytest.approx(sum(each) / 3), "caption": said[nearest]}


def test_equal_captions_differ_in_nothing() -> None:
    runs = [make("x", 0, GOOD), make("y", 0, GOOD, graph=GraphConfig(layers=1))]
    record = found(*runs)
    for number in record["differences"][0]["scores"].values():
        assert number == {"value": 0, "low": 0, "high": 0, "better": 0}
    assert record["gains"] == record["losses"] == []


def test_one_row_has_a_table_alone(capsys: Capture) -> None:
    make("m-seed0", 0, GOOD)
    make("m-seed1", 1, POOR, run=RunConfig(out="elsewhere", threads=2))
    assert run_command(CompareConfig, main, "", ["m-seed0", "m-seed1", "--meteor", "false"]) == 0
    text = capsys.readouterr().out
    assert "│ m   │ 2 │" in text
    assert "resamples" not in text


def test_json_is_one_object_and_the_text_says_the_same(runs: list[str], capsys: Capture) -> None:
    argv = [*runs, "--meteor", "false", "--samples", "50", "--show", "1"]
    assert run_command(CompareConfig, main, "", [*argv, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["videos"] == 4
    assert run_command(CompareConfig, main, "", argv) == 0
    text = capsys.readouterr().out
    cider = record["differences"][0]["scores"]["cider"]
    assert f"{cider['value']:+.3f}" in text
    assert f"{cider['low']:+.3f} .. {cider['high']:+.3f}" in text
    assert f"{100 * cider['better']:.1f} %" in text
    assert f"{record['rows'][1]['scores']['rouge']['mean']:.3f} ± -" in text
    assert "variant=spatial gains most CIDEr against variant=full:\n  c: " in text
    assert "    variant=full: a woman cuts a cake\n    variant=spatial: a woman cuts an onion\n" in text


def test_meteor_without_java_is_said_and_left_out(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    text = io.StringIO()
    record = compare(CompareConfig(tuple(runs), samples=10))
    show(record, Console(file=text, width=200, highlight=False, markup=False))
    assert "meteor" not in record["rows"][0]["scores"]
    assert "note: METEOR: " in text.getvalue()
    assert "needs Java 8 or newer" in text.getvalue()


class LengthMeteor:
    """In METEOR's place: the share of ten words, and another number for the corpus."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    def start(self) -> None:
        pass

    def score(self, captions: list[str], references: list[list[str]]) -> tuple[float, list[float]]:
        scores = [len(text.split()) / 10 for text in captions]
        return max(scores), scores

    def close(self) -> None:
        pass


def test_meteor_is_paired_by_the_mean_of_its_videos(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stg.metrics.measures.Meteor", LengthMeteor)
    record = found(*runs, meteor=True)
    assert record["differences_of"]["meteor"] == "METEOR (mean of videos)"
    assert record["differences"][0]["scores"]["meteor"]["value"] == pytest.approx((17 - (16 + 13) / 2) / 40)
    assert [row["scores"]["meteor"]["mean"] for row in record["rows"]] == pytest.approx([(0.5 + 0.4) / 2, 0.5])


def test_control_runs_are_named(runs: list[str]) -> None:
    make("shuffled", 0, POOR, run=RunConfig(control="shuffle"))
    record = found(runs[0], "shuffled")
    assert [row["name"] for row in record["rows"]] == ["control=none", "control=shuffle"]
    assert [row["control"] for row in record["rows"]] == ["none", "shuffle"]
    assert (
        "control=shuffle is a control run (shuffle): its model never saw the video that it captions" in record["notes"]
    )
    assert "full-0 holds no model any more: its features are taken for those of the others" in record["notes"]


def test_other_features_are_another_row() -> None:
    for name, layers in (("one", 34), ("two", 34), ("three", 18)):
        store = DataConfig(dataset="folder", root="clips", store=f"stores/{name}")
        make(name, 0, GOOD, data=store)
        parts = {"features": {"network": layers}, "model": {"branches": "scene"}, "widths": {"scene": 1, "motion": 0}}
        header = json.dumps({"__metadata__": {"stg": json.dumps(parts)}}).encode()
        (Path(name) / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    record = found("one", "two", "three")
    assert [(row["name"], row["runs"]) for row in record["rows"]] == [
        ("store=one", ["one", "two"]),
        ("store=three", ["three"]),
    ]
    assert record["notes"] == ["store=one has a seed twice (0, 0): its deviation says too little"]


def test_scores_that_are_no_longer_the_recorded_ones_are_noted() -> None:
    now = score(GOOD, REFERENCES, metrics=["cider"]).values["cider"]
    make("x", 0, GOOD, recorded=now)
    make("y", 1, GOOD, recorded=9.0)
    notes = [note for note in found("x", "y")["notes"] if "no model" not in note]
    assert notes == [
        f"y was recorded with CIDEr 9.000, and has {now:.3f} on these references: they changed since; evaluate it again"
    ]


def test_a_run_without_this_evaluation_says_how_to_make_it(runs: list[str], capsys: Capture) -> None:
    text = refused(capsys, *runs, "--search", "beam3", "--split", "test")
    assert (
        "full-0 has no scores of test with search beam3 (there: val-greedy): "
        "run python -m stg.evaluate full-0 --split test --beam 3\n"
    ) in text
    Path("full-1/evaluation/val-greedy-scores.json").unlink()
    text = refused(capsys, *runs)
    assert "full-1 has no scores of val with search greedy, whose captions may be withheld (there: none)" in text
    assert "clips is not a run folder" in refused(capsys, "clips")


def test_a_run_twice_is_refused(runs: list[str], capsys: Capture) -> None:
    assert "the run ./full-0 is given twice" in refused(capsys, "full-0", "./full-0")


def test_runs_of_different_data_sets_are_refused(runs: list[str], capsys: Capture) -> None:
    make("w0", 0, GOOD, data=DataConfig())
    make("w1", 0, GOOD, data=DataConfig(), world=WorldConfig(seed=1))
    assert "full-0 is of folder-clips, language en, w0 of the world of seed 0: " in refused(capsys, "full-0", "w0")
    assert "w0 is of the world of seed 0, w1 of the world of seed 1" in refused(capsys, "w0", "w1")


def test_other_videos_are_refused(runs: list[str], capsys: Capture) -> None:
    make("less", 2, {video: text for video, text in GOOD.items() if video != "c"})
    text = refused(capsys, *runs, "less")
    assert "full-0 and less were evaluated on different videos: 1 are in one of them only, such as 'c'" in text
    make("more", 2, {**GOOD, "e": "a cat"})
    assert "1 of 5 videos, such as 'e', have no caption in the annotation" in refused(capsys, "more")


def test_damaged_files_are_named(runs: list[str], capsys: Capture) -> None:
    captions, scores = (Path("full-1/evaluation") / name for name in ("val-greedy.json", "val-greedy-scores.json"))
    whole = scores.read_text()
    for text in ("[]", '{"scores": 1}', '{"scores": {"cider": "high"}}'):
        scores.write_text(text)
        assert f"{scores} is not what stg.evaluate writes: evaluate the run again" in refused(capsys, *runs)
    scores.write_text("{")
    assert f"{scores} is not valid JSON" in refused(capsys, *runs)
    scores.write_text(whole)
    captions.write_text(captions.read_text()[:40])
    assert f"{captions} is not valid JSON" in refused(capsys, *runs)


def test_options_out_of_range_are_refused(capsys: Capture) -> None:
    assert "samples must be at least 1; got 0" in refused(capsys, "x", "--samples", "0")
    assert "show must be at least 0; got -1" in refused(capsys, "x", "--show", "-1")
    assert "seed must be a whole number from 0 to 2**63 - 1; got -1" in refused(capsys, "x", "--seed", "-1")


def test_a_run_that_names_no_annotation_needs_a_root(capsys: Capture) -> None:
    make("x", 0, GOOD, data=DataConfig(dataset="folder"))
    assert "the run x names no annotation files: give their folder with --root" in refused(capsys, "x")
    assert found("x", root="clips")["videos"] == 4


def test_runs_as_trained_and_evaluated_compare() -> None:
    """The file names and references are those of stg.evaluate; a copy with another seed changes nothing."""
    config = FitConfig(
        data=DataConfig(store="store", min_count=1),
        world=WorldConfig(train=6, val=3, test=2),
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=1, epoch_captions=2),
        run=RunConfig(out="one", samples=0),
    )
    quiet = Console(file=io.StringIO())
    fit(config, reporter=ConsoleReporter(quiet))
    scores = evaluate(EvaluateConfig("one", beam=2, meteor=False), console=quiet)
    shutil.copytree("one", "two")
    again = dataclasses.replace(config, run=dataclasses.replace(config.run, seed=1))
    Path("two/config.json").write_text(json.dumps(to_dict(again)))
    record = found("one", "two", search="beam2")
    (row,) = record["rows"]
    assert (row["seeds"], record["notes"]) == ([0, 1], [])
    for metric in ("bleu4", "rouge", "cider"):
        assert row["scores"][metric] == {"mean": pytest.approx(scores["beam 2"].values[metric]), "deviation": 0}
