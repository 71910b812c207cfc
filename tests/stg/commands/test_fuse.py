"""``python -m stg.fuse`` on barely trained runs of a tiny world."""

import dataclasses
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from stg.commands.evaluate import evaluate_and_print as evaluate
from stg.commands.fuse import fuse_and_print, main
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.evaluation import EvaluateConfig
from stg.config.model import ModelConfig
from stg.config.retrieval import FuseConfig
from stg.config.search import SearchConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.open import OpenDataset, open_dataset
from stg.retrieval.fusion import Fused
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit

WORLD = WorldConfig(train=6, val=3, test=4)
VIDEOS = [f"test-{n:05d}" for n in range(4)]


def train(folder: Path, name: str, seed: int, min_count: int = 1, decoder: Any = "transformer") -> Path:
    config = FitConfig(
        data=DataConfig(store=str(folder / "store"), min_count=min_count),
        world=WORLD,
        model=ModelConfig("scene", decoder, channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=1, epoch_captions=2),
        run=RunConfig(out=str(folder / name), samples=0, seed=seed),
    )
    fit(config, reporter=ConsoleReporter(Console(file=io.StringIO())))
    return folder / name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs of one vocabulary and unlike decoders, and one of another vocabulary."""
    folder = tmp_path_factory.mktemp("fuse")
    made = [train(folder, "one", 0), train(folder, "two", 1, decoder="stats"), train(folder, "three", 2, min_count=3)]
    return [str(path) for path in made]


class Oracle:
    """An embedding that finds the alphabetically last caption closest, and knows some videos' features only."""

    path = "there"
    control = "none"
    made_with = ()

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.asked: dict[str, Sequence[str]] = {}

    def check(self, store: Any) -> None:
        if self.refuses:
            raise UserError(self.refuses)

    def similarity(
        self, store: Any, candidates: Mapping[str, Sequence[str]], device: torch.device | str
    ) -> dict[str, list[float]]:
        self.asked |= candidates
        return {video: [sorted(texts).index(text) / 10 for text in texts] for video, texts in candidates.items()}


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    made = Oracle()
    monkeypatch.setattr("stg.retrieval.embedding.EmbeddingBundle.load", lambda folder: made)
    return made


def fused(text: io.StringIO | None = None, **settings: Any) -> Fused:
    settings = {"split": "test", "meteor": False, **settings}
    return fuse_and_print(FuseConfig(**settings), console=Console(file=text or io.StringIO(), width=150))


def test_the_embedding_chooses_among_the_beams_of_all_runs(runs: list[str], oracle: Oracle, tmp_path: Path) -> None:
    out, text = str(tmp_path / "fused.json"), io.StringIO()
    found = fused(text, runs=(*runs,), out=out, embedding="e", candidates=3)
    assert list(found.captions) == VIDEOS
    for video, caption in found.captions.items():
        assert caption == max(oracle.asked[video])
        assert len(oracle.asked[video]) <= 9
    rows = json.loads(Path(out).read_text())
    assert {row["image_id"]: row["caption"] for row in rows} == found.captions
    assert set(found.scores) == {"one", "two", "three", "fused"}
    record = json.loads((tmp_path / "fused-scores.json").read_text())
    assert record["scores"]["fused"]["cider"] == found.scores["fused"].values["cider"]
    assert sum(record["origin"].values()) == 4
    assert set(record["origin"]) <= {"one", "two", "three"}
    assert "moving objects test, 4 videos that all runs have" in text.getvalue()
    assert "captions from" in text.getvalue()
    swapped = fused(runs=tuple(runs[::-1]), out=str(tmp_path / "swapped.json"), embedding="e", candidates=3)
    assert swapped.captions == found.captions


def test_each_run_alone_scores_as_stg_evaluate_says(runs: list[str], oracle: Oracle, tmp_path: Path) -> None:
    found = fused(runs=(*runs[:2],), out=str(tmp_path / "fused.json"), embedding="e")
    config = EvaluateConfig(runs[1], split="test", meteor=False)
    expected = evaluate(config, console=Console(file=io.StringIO()))["beam 5"].values
    assert found.scores["two"].values == expected


def test_an_ensemble_of_one_vocabulary(runs: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / "out.json")
    found = fused(runs=(*runs[:2],), out=out, method="ensemble", search=SearchConfig(beam=2), form="vatex")
    assert json.loads(Path(out).read_text()) == found.captions
    assert set(found.scores) == {"one", "two", "ensemble"}
    assert set(found.origin.values()) == {"one + two"}
    twin = tmp_path / "twin"
    shutil.copytree(runs[0], twin)
    same = fused(runs=(runs[0], str(twin)), out=out, method="ensemble", force=True)
    assert same.scores["ensemble"].values == next(iter(same.scores.values())).values
    with pytest.raises(UserError, match="one and three were trained with unlike vocabularies"):
        fused(runs=(runs[0], runs[2]), out=out, method="ensemble", force=True)


@pytest.mark.parametrize("method", ["rerank", "ensemble"])
def test_videos_that_runs_lack_come_from_the_others_or_the_file(
    runs: list[str], oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    lacking = {"one": {VIDEOS[1], VIDEOS[2]}, "two": {VIDEOS[2]}}
    names = iter(lacking)

    def opened(*args: Any, **kwargs: Any) -> OpenDataset:
        found, gone = open_dataset(*args, **kwargs), lacking[next(names)]
        there = {video for videos in found.dataset.splits.values() for video in videos} - gone
        return dataclasses.replace(found, dataset=found.dataset.restrict(there))

    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", opened)
    spare, text = tmp_path / "spare.json", io.StringIO()
    spare.write_text(json.dumps(dict.fromkeys(VIDEOS, "a spare caption")))
    settings: dict[str, Any] = {
        "runs": (*runs[:2],),
        "out": str(tmp_path / "out.json"),
        "method": method,
        "force": True,
    }
    settings |= {"embedding": "e"} if method == "rerank" else {}
    found = fused(text, **settings, fallback=str(spare))
    assert set(found.captions) == set(VIDEOS)
    assert found.captions[VIDEOS[2]] == "a spare caption"
    assert found.origin[VIDEOS[1]] == "two"
    assert found.origin[VIDEOS[2]] == str(spare)
    assert {scores.videos for scores in found.scores.values()} == {2}
    assert f"1 caption from {spare}" in text.getvalue()
    names, text = iter(lacking), io.StringIO()
    assert set(fused(text, **settings).captions) == set(VIDEOS) - {VIDEOS[2]}
    assert "1 video of test left out, in none of the runs: --fallback FILE fills in" in text.getvalue()
    gaps: list[dict[str, Any]] = [{"form": "vatex"}, {"fallback": str(spare)}]
    for more in gaps:
        names = iter(lacking)
        spare.write_text(json.dumps({"another": "a spare caption"}))
        with pytest.raises(UserError, match=r"1 of 4 videos have no caption in any of the files \('test-00002'\)"):
            fused(**settings, **more)


def test_withheld_captions_are_fused_and_not_scored(
    runs: list[str], oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*args: Any, **kwargs: Any) -> OpenDataset:
        found = open_dataset(*args, **kwargs)
        captions = {video: texts for video, texts in found.dataset.captions.items() if not video.startswith("test")}
        dataset = dataclasses.replace(found.dataset, captions=captions, unlabelled=("test",))
        return dataclasses.replace(found, dataset=dataset)

    monkeypatch.setattr("stg.evaluation.loaded_run.open_dataset", opened)
    text = io.StringIO()
    found = fused(text, runs=(*runs,), out=str(tmp_path / "out.json"), embedding="e")
    assert found.scores == {}
    assert len(found.captions) == 4
    assert "the captions of test are withheld: nothing is scored" in text.getvalue()


def test_an_embedding_trained_as_a_control_is_refused(runs: list[str], oracle: Oracle, tmp_path: Path) -> None:
    oracle.control = "shuffle"
    with pytest.raises(UserError, match=r"e is a control \(shuffle\), which knows nothing of the videos"):
        fused(runs=(*runs,), out=str(tmp_path / "out.json"), embedding="e")


def test_an_embedding_of_other_features_is_refused(runs: list[str], tmp_path: Path, oracle: Oracle) -> None:
    oracle.refuses = "the features in X do not fit"
    with pytest.raises(UserError, match=r"no run's features are those of the embedding; .*do not fit"):
        fused(runs=(*runs,), out=str(tmp_path / "out.json"), embedding="e")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "ensemble", "--embedding", "e"], "--embedding is for --method rerank, not for an ensemble"),
        (["--method", "ensemble", "--mix", "0.5"], "--mix is for --method rerank"),
        ([], "reranking needs --embedding FOLDER, as printed by stg.embed (or use --method ensemble)"),
        (["--embedding", "e", "--mix", "-1"], "mix must be 0 or more; got -1.0"),
        (["--embedding", "e", "--candidates", "0"], "candidates must be at least 1; got 0"),
        (["--embedding", "e", "--search.n_best", "3"], "--search.n_best 3 is set by --candidates here"),
        (
            ["--embedding", "e", "--search.method", "diverse", "--candidates", "6"],
            "--candidates 6 do not fit --search.beam 5",
        ),
        (
            ["--embedding", "e", "--search.method", "greedy"],
            "one caption a run: set --candidates 1, or search otherwise",
        ),
        (["--embedding", "e", "--fallback", "OUT"], "is --out and --fallback: choose another --out"),
        (["--embedding", "e"], "out.json is there already: choose another --out, or add --force to replace it"),
        (["--embedding", "e", "--force", "--split", "dev"], "has no split 'dev': choose one of train, val, test"),
    ],
)
def test_wrong_options_are_one_line(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    out = tmp_path / "out.json"
    out.write_text("{}")
    given = [str(out) if option == "OUT" else option for option in options]
    assert run_command(FuseConfig, main, "", [*runs, "--out", str(out), *given]) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


def test_runs_that_cannot_be_fused_are_refused(runs: list[str], tmp_path: Path, oracle: Oracle) -> None:
    with pytest.raises(ValueError, match="one is given twice: give each once"):
        fused(runs=(runs[0], runs[0]), out="x", embedding="e")
    with pytest.raises(ValueError, match="an ensemble needs at least two runs, got 1"):
        fused(runs=(runs[0],), out="x", method="ensemble")
    with pytest.raises(UserError, match=r"the folder .*nowhere of --out does not exist: make it first"):
        fused(runs=(*runs,), out=str(tmp_path / "nowhere" / "x.json"), embedding="e")
    control = tmp_path / "control"
    shutil.copytree(runs[0], control)
    settings = json.loads((control / "config.json").read_text())
    settings["run"]["control"] = "shuffle"
    (control / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"control is a control \(shuffle\), whose captions say nothing"):
        fused(runs=(runs[0], str(control)), out=str(tmp_path / "x.json"), embedding="e")
