"""Scores, tables, pages and cards of a run that has learned from several data sets: each data set by itself."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import stg
from stg.commands.compare import main as compare
from stg.commands.evaluate import evaluate_and_print
from stg.commands.evaluate import main as evaluate
from stg.commands.fuse import main as fuse
from stg.commands.parser import run_command
from stg.commands.report import main as report
from stg.config.data import ALL, DataConfig
from stg.config.evaluation import EvaluateConfig
from stg.config.model import ModelConfig
from stg.config.report import ReportConfig
from stg.config.results import CompareConfig
from stg.config.retrieval import FuseConfig
from stg.config.shipping import ShipConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.evaluation import shipping
from stg.evaluation.calibrating import write_calibration
from stg.evaluation.predictions import read_predicted
from stg.metrics.scorer import Scorer
from stg.runs.calibration import Calibration, Curve, calibration_file, run_calibrations
from stg.runs.evaluations import read_evaluations
from stg.runs.folder import RunFolder
from stg.runs.shipped import CARD, read_card
from stg.runtime.files import sha256_file
from tests.stg.datasets.test_more import write_folder
from tests.stg.datasets.test_open import make_store

SIZES = {"train": 3, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on the data sets ``one`` and ``two``: both0, both1, control; and on ``two`` alone."""
    place = tmp_path_factory.mktemp("sets")
    videos = {
        name: {f"{name}{split}{n}": split for split, count in SIZES.items() for n in range(count)}
        for name in ("one", "two")
    }
    roots = {name: write_folder(place / name, rows, f"{name}s") for name, rows in videos.items()}
    store = make_store(place / "store", [video for rows in videos.values() for video in rows])
    data = DataConfig("folder", str(roots["one"]), more=f"folder:{roots['two']}", store=str(store), min_count=1)
    for name, seed, control in (
        ("both0", 0, "none"),
        ("both1", 1, "none"),
        ("control", 0, "shuffle"),
        ("alone", 0, "none"),
    ):
        stg.fit(
            FitConfig(
                data=data if name != "alone" else replace(data, root=str(roots["two"]), more=None),
                model=ModelConfig("scene", channels=16, heads=2, hidden=16, layers=1),
                optim=OptimConfig(epochs=1, batch_videos=2),
                run=RunConfig(out=str(place / name), samples=0, seed=seed, control=control),
            )
        )
        for dataset in ("folder-two",) if name == "alone" else (None, "folder-two"):
            stg.evaluate(place / name, "test", dataset=dataset, metrics=("bleu", "cider"), device="cpu")
    return place


def captioned(folder: Path, name: str) -> set[str]:
    return set(read_predicted(folder / "both0" / "evaluation" / name))


def ciders(folder: Path, search: str) -> list[float]:
    files = [folder / run / f"evaluation/folder-two/test-{search}-scores.json" for run in ("both0", "both1")]
    return [json.loads(file.read_text())["scores"]["cider"] for file in files]


def test_each_data_set_has_captions_and_scores_of_its_own(folder: Path) -> None:
    assert captioned(folder, "test-greedy.json") == {"onetest0", "onetest1", "onetest2"}
    assert captioned(folder, "folder-two/test-greedy.json") == {"twotest0", "twotest1", "twotest2"}
    captions = read_predicted(folder / "both0/evaluation/folder-two/test-beam5.json")
    recorded = json.loads((folder / "both0/evaluation/folder-two/test-beam5-scores.json").read_text())["scores"]
    # Document frequencies are those of these references alone.
    scores = Scorer({video: [f"a {video} twos"] for video in captions}).score(captions, metrics=("cider", "bleu"))
    assert recorded == pytest.approx(dict(scores.values))
    found = RunFolder(folder / "both0").evaluations
    assert [one.title for one in found if one.search == "greedy"] == ["test, greedy", "folder-two, test, greedy"]
    # A run that has learned from this one alone names it, too, and has it in the usual place.
    assert [one.dataset for one in read_evaluations(folder / "alone" / "evaluation")] == ["", ""]


def test_the_command_says_which_data_set_it_is(folder: Path, tmp_path: Path) -> None:
    text = io.StringIO()
    config = EvaluateConfig(str(folder / "both0"), "val", beam=1, meteor=False, out=str(tmp_path), metrics="bleu")
    evaluate_and_print(config, console=Console(file=text, width=1000))
    assert (
        f"{folder}/both0 has also learned from folder-two: this is folder-one alone; see --dataset" in text.getvalue()
    )
    for dataset, videos in (
        ("folder-two", {"twoval0", "twoval1"}),
        ("all", {f"{n}val{k}" for n in ("one", "two") for k in (0, 1)}),
    ):
        text = io.StringIO()
        evaluate_and_print(replace(config, dataset=dataset), console=Console(file=text, width=1000))
        assert "also learned" not in text.getvalue()
        assert set(read_predicted(tmp_path / dataset / "val-greedy.json")) == videos
    assert set(read_predicted(tmp_path / "val-greedy.json")) == {"oneval0", "oneval1"}


def test_a_data_set_that_the_run_does_not_know_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, config, words in (
        (evaluate, EvaluateConfig, [str(folder / "both0"), "--dataset", "msvd"]),
        (compare, CompareConfig, [str(folder / "both0"), "--dataset", "msvd"]),
        (report, ReportConfig, [str(folder / "both0"), "--dataset", "msvd"]),
    ):
        assert run_command(config, command, "", words) == 2  # type: ignore[type-var]
        said = capsys.readouterr().err
        assert (
            f"{folder}/both0: dataset must be one that the run has learned from (folder-one, folder-two, all)" in said
        )
    words = [str(folder / "both0"), "--dataset", "folder-two", "--search", "beam3", "--split", "test"]
    assert run_command(CompareConfig, compare, "", words) == 2
    wanted = f"run python -m stg.evaluate {folder}/both0 --split test --dataset folder-two --beam 3"
    assert wanted in capsys.readouterr().err


def test_runs_compare_on_a_data_set_that_both_have_learned_from(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--split", "test", "--samples", "2", "--json", "--meteor", "false", "--names", "both,alone"]
    runs = [str(folder / name) for name in ("both0", "both1", "alone")]
    assert run_command(CompareConfig, compare, "", [*runs, "--dataset", "folder-two", *words]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [len(row["runs"]) for row in record["rows"]] == [2, 1]
    scores = [
        json.loads((folder / name / "evaluation/folder-two/test-greedy-scores.json").read_text())
        for name in ("both0", "both1")
    ]
    mean = sum(each["scores"]["cider"] for each in scores) / 2
    assert record["rows"][0]["scores"]["cider"]["mean"] == pytest.approx(mean)
    assert run_command(CompareConfig, compare, "", [*runs, *words]) == 2
    assert "is of folder-one, language en, " in capsys.readouterr().err


def test_each_data_set_may_have_moved(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Annotation files of the others, too: NAME:FOLDER."""
    moved = {name: tmp_path / name / "elsewhere" for name in ("one", "two")}
    run = tmp_path / "run"
    shutil.copytree(folder / "both0", run)
    for name, place in moved.items():
        shutil.copytree(folder / name, place)
    # Where they were at the training is gone.
    for name in ("config.json", "config.yaml"):
        text = (run / name).read_text()
        for gone in ("one", "two"):
            text = text.replace(str(folder / gone), str(tmp_path / "gone" / gone))
        (run / name).write_text(text)
    words = [str(run), "--split", "val", "--beam", "1", "--metrics", "bleu", "--out", str(tmp_path / "out")]
    both = f"folder-one:{moved['one']}, folder-two:{moved['two']}"
    for more, written in (
        (["--root", str(moved["one"])], "val-greedy.json"),
        (["--dataset", "folder-two", "--root", str(moved["two"])], "folder-two/val-greedy.json"),
        (["--dataset", "folder-two", "--root", both], "folder-two/val-greedy.json"),
        (["--root", both], "val-greedy.json"),
    ):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert run_command(EvaluateConfig, evaluate, "", [*words, *more]) == 0
        assert (tmp_path / "out" / written).exists()
    capsys.readouterr()
    for root, said in (
        (f"folder-two:{moved['two']}", str(tmp_path / "gone" / "one")),
        ("msvd:/data", "root must be a folder, or NAME:FOLDER, several with commas, of folder-one, folder-two; got 'm"),
        (
            "folder-two:",
            "root must be a folder, or NAME:FOLDER, several with commas, of folder-one, folder-two; got 'f",
        ),
    ):
        assert run_command(EvaluateConfig, evaluate, "", [*words, "--root", root]) == 2
        assert said in capsys.readouterr().err


def test_a_moved_folder_of_no_data_set_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataConfig("msrvtt", "a", more="msvd:b, folder:c/mine")
    for root, meant in (("msdv:/b", "msvd"), ("msvd:/b,msrvt:/c", "msrvtt"), ("folder-min:/d", "folder-mine")):
        with pytest.raises(ValueError, match=f"of msrvtt, msvd, folder-mine; got '{root}'; did you mean '{meant}'"):
            data.only(None, root)
    # A folder that is there is meant by its path.
    (tmp_path / "msdv:b").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        assert data.only(None, "msdv:b").root == "msdv:b"
    # The built-in world has no files that could have moved.
    world = Path(__file__).parents[1] / "fixtures" / "old_run" / "run"
    assert run_command(EvaluateConfig, evaluate, "", [str(world), "--root", "x:y"]) == 2
    assert "the built-in world has no annotation files, whose folder root is: leave it out; got 'x:y'" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_moved_folder_is_a_path_unless_it_names_a_data_set() -> None:
    data = DataConfig("msrvtt", "a", more="msvd:b, folder:c/mine")
    assert data.only(ALL) == replace(data, more="msvd:b,folder:c/mine")
    assert data.only(ALL, "x:y,z") == replace(data, root="x:y,z", more="msvd:b,folder:c/mine")
    assert data.only("msvd", "x:y,z").root == data.only(None, "x:y,z").root == "x:y,z"
    named = "folder-mine:d/other, msrvtt:e"
    assert data.only(ALL, named) == replace(data, root="e", more="msvd:b,folder:d/other")
    assert [data.only(name, named).root for name in (None, "msrvtt", "msvd", "folder-mine")] == [
        "e",
        "e",
        "b",
        "d/other",
    ]
    with pytest.raises(ValueError, match=r"of msrvtt, msvd, folder-mine; got 'msvd:b,vatex:q'"):
        data.only("msvd", "msvd:b,vatex:q")


def test_runs_are_fused_on_either_data_set(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, moved = tmp_path / "fused.json", tmp_path / "moved"
    shutil.copytree(folder / "one", moved)
    options = ["--method", "ensemble", "--split", "test", "--meteor", "false", "--out", str(out), "--force"]
    words = [str(folder / "both0"), str(folder / "both1"), *options]
    for more, names, said in (
        ([], {"one"}, True),
        (["--dataset", "folder-two"], {"two"}, False),
        (["--dataset", "all"], {"one", "two"}, False),
        (["--root", str(moved), "--store", str(folder / "store")], {"one"}, True),
    ):
        assert run_command(FuseConfig, fuse, "", [*words, *more]) == 0
        assert set(read_predicted(out)) == {f"{name}test{n}" for name in names for n in range(3)}
        assert ("has also learned from folder-two: this is folder-one alone" in capsys.readouterr().out) == said
    assert run_command(FuseConfig, fuse, "", [*words, "--dataset", "msvd"]) == 2
    assert "both0: dataset must be one that the run has learned from (folder-one, fold" in capsys.readouterr().err


def test_pages_show_either_data_set(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.html"
    assert run_command(ReportConfig, report, "", [str(folder / "both0"), "--out", str(out)]) == 0
    page = out.read_text()
    assert "A captioner trained on folder-one and folder-two" in page
    assert "folder-two, test, greedy" in page
    assert "onetest0" in page
    assert "twotest0" not in page
    words = [str(folder / "both0"), "--dataset", "folder-two", "--out", str(out)]
    assert run_command(ReportConfig, report, "", words) == 0
    assert "twotest0" in out.read_text()
    words = [*words, "--split", "test", "--beside", str(folder / "alone"), "--beam", "1", "--explainers", "scene"]
    assert run_command(ReportConfig, report, "", words) == 0
    page = out.read_text()
    assert "twotest0" in page
    assert "onetest0" not in page


def test_what_was_calibrated_on_all_data_sets_comes_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation" / "all").mkdir(parents=True)
    model = tmp_path / "model.safetensors"
    model.write_bytes((folder / "alone" / "model.safetensors").read_bytes())
    curve = Curve((0.5,), (0.5,), (1,), 0.0)
    first = Calibration("greedy", sha256_file(model), 20, 0.5, 1.0, 0.0, curve, curve)
    both = replace(first, videos=40)
    write_calibration(calibration_file(tmp_path / "evaluation", "greedy"), first)
    assert run_calibrations(model) == ({"greedy": first}, [])
    write_calibration(calibration_file(tmp_path / "evaluation" / "all", "greedy"), both)
    assert run_calibrations(model) == ({"greedy": both}, [])
    write_calibration(calibration_file(tmp_path / "evaluation" / "all", "greedy"), replace(both, model="other"))
    found, notes = run_calibrations(model)
    assert found == {"greedy": first}
    assert len(notes) == 1


def test_a_card_has_the_scores_of_every_data_set_and_of_the_control(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_network_files", lambda config: ([], ["scene"]))  # made features have no networks
    runs = (str(folder / "both0"), str(folder / "both1"))
    config = ShipConfig(runs, "small", str(folder), out=str(tmp_path), control=str(folder / "control"))
    facts = read_card(shipping.ship(config).folder / CARD)
    names = [f"folder-{name}, test, {search}" for name in ("one", "two") for search in ("beam 5", "greedy")]
    assert list(facts["scores"]) == list(facts["control"]) == names
    values = [round(value, 4) for value in ciders(folder, "beam5")]
    assert facts["scores"]["folder-two, test, beam 5"]["cider"]["values"] == values
    described = [f"folder-{name}, language en: 3 / 2 / 3 videos" for name in ("one", "two")]
    assert facts["data"] == "; ".join(described)
    # Half precision is judged by validation captions of both.
    assert facts["half_precision"]["captions"] == 4
