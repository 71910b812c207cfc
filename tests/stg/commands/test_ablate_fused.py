"""The rows of Chen et al. that build on others, on a tiny world: rewards from a trained run on, and the fusion."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import stg.ablation.fused
import stg.ablation.work
from stg.ablation.ablate import ablate
from stg.ablation.cells import Cell, CellFolder
from stg.ablation.config import AblateConfig
from stg.ablation.fused import FusedFolder
from stg.ablation.plan import make_plan
from stg.commands.ablate import main
from stg.commands.compare import main as compare
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.results import CompareConfig
from stg.config.retrieval import EmbedConfig, EmbeddingConfig, MatchingConfig
from stg.config.training import OptimConfig, RunConfig
from stg.datasets.world.dataset import World
from stg.evaluation.predictions import read_predicted
from stg.metrics.scorer import Scorer
from stg.runtime.errors import Preempted, StgError
from stg.runtime.progress import ConsoleReporter

WORLD = WorldConfig(train=6, val=2, test=4)
EMBEDDING = EmbedConfig(
    model=EmbeddingConfig(channels=8, words=8, hidden=8),
    optim=MatchingConfig(batch_videos=3, epochs=2, epoch_captions=2),
    seed=5,
)
ROWS = ["vanilla", "temporal", "spatial", "temporal-rl", "spatial-rl", "fused"]


def config_in(folder: Path) -> AblateConfig:
    return AblateConfig(
        table="vatex1",
        seeds="0",
        beam=2,
        out=str(folder / "out"),
        data=DataConfig(store=str(folder / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=8, hidden=8),
        optim=OptimConfig(batch_videos=3, epochs=1, captions_per_video=1, epoch_captions=1),
        run=RunConfig(samples=0, save_minutes=1000.0, threads=1),
    )


def run(config: AblateConfig, *, code: int = 0, stop: Callable[[], bool] = lambda: False) -> str:
    text = io.StringIO()
    reporter = ConsoleReporter(Console(file=text, width=200), stop)
    assert ablate(config, embedding=EMBEDDING, reporter=reporter) == code
    return text.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cells of one seed; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    run(config_in(folder))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> AblateConfig:
    """The same, to be changed: one of the fused runs is named by the place it lay in."""
    shutil.copytree(finished / "out", tmp_path / "out")
    config = config_in(finished)
    cells = tmp_path / "out" / "cells"
    for settings in cells.glob("*/**/config.json"):
        settings.write_text(settings.read_text().replace(str(finished / "out"), str(tmp_path / "out")))
    return dataclasses.replace(config, out=str(tmp_path / "out"))


def cell_of(config: AblateConfig, row: str) -> CellFolder:
    return make_plan(config, EMBEDDING).at(Cell(row, 0))


def record_of(config: AblateConfig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(str(config.out)) / "table.json").read_text())
    return found


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("was called")

    for name in names:
        monkeypatch.setattr(name, never)


def test_rewards_are_learned_from_where_the_row_without_ended(finished: Path) -> None:
    config = config_in(finished)
    for row in ("temporal", "spatial"):
        before, after = (cell_of(config, name).run for name in (row, f"{row}-rl"))
        start = after.metrics.of_kind("start")[0]
        assert start["cider"] == pytest.approx(max(found["cider"] for found in before.metrics.of_kind("validation")))
        assert "reward" in after.metrics.of_kind("step")[0]
        assert "reward" not in before.metrics.of_kind("step")[0]


def test_the_fusion_is_a_row_with_captions_and_scores_of_its_own(finished: Path) -> None:
    config = config_in(finished)
    record, cell = record_of(config), cell_of(config, "fused")
    assert record["missing"] == {}
    assert [row["name"] for row in record["rows"]] == ROWS
    rows = {row["name"]: row for row in record["rows"]}
    world = World(seed=0, train=6, val=2, test=4)
    for search, stem in {"greedy": "test-greedy", "beam 2": "test-beam2"}.items():
        captions = read_predicted(cell.run.evaluation_file(stem))
        offered = [
            read_predicted(cell_of(config, row).run.evaluation_file(stem)) for row in ("temporal-rl", "spatial-rl")
        ]
        if search == "greedy":
            # Each run offers its one caption.
            assert all(captions[video] in {found[video] for found in offered} for video in captions)
        texts = {video: list(world.captions(video)) for video in captions}
        assert len(texts) == 4
        expected = Scorer(texts).score(captions, metrics=("bleu", "rouge", "cider")).values
        scores = rows["fused"]["scores"][search]
        assert {name: scores[name]["mean"] for name in ("bleu4", "rouge", "cider")} == {
            name: pytest.approx(expected[name]) for name in ("bleu4", "rouge", "cider")
        }
        assert "event" in scores
    assert rows["fused"]["settings"] == {"fused": "temporal-rl + spatial-rl"}
    parts = [rows[row]["weights"]["captioning"] for row in ("temporal-rl", "spatial-rl")]
    assert rows["fused"]["weights"]["captioning"] > sum(parts)
    apart = {(pair["row"], pair["against"]): pair["settings_apart"] for pair in record["differences"]}
    assert apart["temporal", "vanilla"] == 1
    # Two settings, and what it begins with.
    assert apart["temporal-rl", "temporal"] == 3
    assert apart["fused", "temporal-rl"] is apart["fused", "vanilla"] is None
    text = (finished / "out" / "table.md").read_text()
    assert "| fused | temporal-rl (fused) |" in text
    assert "- fused: `fused temporal-rl + spatial-rl`" in text
    assert "fused (temporal + spatial, RL)" in text


def test_the_embedding_is_trained_on_the_data_of_the_runs(finished: Path) -> None:
    cell = cell_of(config_in(finished), "fused")
    settings = json.loads((cell.run.path / "embedding" / "config.json").read_text())
    assert (settings["seed"], settings["model"]["channels"]) == (0, 8)
    assert settings["data"]["store"] == str(finished / "store")
    assert (settings["data"]["min_count"], settings["world"]["train"]) == (1, 6)


def test_the_fusion_compares_with_runs_on_the_same_videos(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_in(finished)
    folders = [str(cell_of(config, row).run) for row in ("temporal-rl", "spatial-rl", "fused")]
    words = ["--split", "test", "--search", "beam2", "--samples", "3", "--meteor", "false", "--json"]
    assert run_command(CompareConfig, compare, "", [*folders, *words]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["runs"] for row in record["rows"]] == [[folder] for folder in folders]
    assert record["rows"][2]["name"].endswith("fused=temporal-rl + spatial-rl")
    assert record["notes"] == []
    mean = record_of(config)["rows"][5]["scores"]["beam 2"]["cider"]["mean"]
    assert record["rows"][2]["scores"]["cider"]["mean"] == pytest.approx(mean)
    assert run_command(CompareConfig, compare, "", [folders[2], "--split", "val"]) == 2
    assert "run its python -m stg.ablate again with --split val" in capsys.readouterr().err


def test_what_is_there_is_not_made_again(copied: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of(copied, "fused")
    assert cell.state == "done"
    with monkeypatch.context() as patched:
        forbid(patched, "stg.ablation.work.fit", "stg.ablation.fused.train_in", "stg.ablation.fused.fuse")
        run(copied)
    # Without its scores it is fused again, and nothing is trained.
    file = cell.run.evaluation_file("test-beam2", "scores")
    before = json.loads(file.read_text())
    file.unlink()
    forbid(monkeypatch, "stg.ablation.work.fit", "stg.ablation.fused.train_in")
    assert "cell 6 of 6, fused-seed0: 5 of 6 cells done" in run(copied)
    assert json.loads(file.read_text()) == before
    # Of a run that was trained on since, the captions are those of before.
    state = cell_of(copied, "spatial-rl").run.state_file
    state.write_text(json.dumps({**json.loads(state.read_text()), "step": 9}))
    assert cell.state == "unfinished"
    run(copied)
    assert cell.state == "done"


def test_a_stopped_embedding_is_resumed(copied: AblateConfig, finished: Path) -> None:
    cell = cell_of(copied, "fused")
    shutil.rmtree(cell.run.path)
    cell.record_file.unlink()
    assert cell.state == "new"
    epochs = cell.run.path / "embedding" / "metrics.jsonl"
    with pytest.raises(Preempted, match=r"stopped in epoch 2, the epochs before it are in .*fused-seed0/embedding"):
        run(copied, stop=epochs.exists)
    assert (cell.state, cell.record["failed"]) == ("unfinished", None)
    run(copied)
    assert cell.state == "done"
    rows = [row["scores"] for row in record_of(copied)["rows"]]
    assert rows == [row["scores"] for row in record_of(config_in(finished))["rows"]]


def test_another_embedding_is_refused(copied: AblateConfig) -> None:
    other = dataclasses.replace(EMBEDDING, model=EmbeddingConfig(channels=4))
    with pytest.raises(StgError, match=r"fused-seed0/embedding holds an embedding with other settings \(model.chan"):
        ablate(copied, embedding=other)


def test_a_row_does_not_build_on_one_that_failed(copied: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ("spatial-rl", "fused"):
        cell = cell_of(copied, row)
        shutil.rmtree(cell.run.path)
        cell.record_file.unlink()

    def broken(*args: Any, **options: Any) -> Any:
        raise StgError("the lights went out")

    monkeypatch.setattr(stg.ablation.work, "fit", broken)
    shown = run(copied, code=1)
    assert "failed: fused-seed0: fused-seed0 needs spatial-rl-seed0, which failed: the lights went out" in shown
    assert not isinstance(cell_of(copied, "spatial-rl"), FusedFolder)


def test_the_embedding_of_the_table_may_be_a_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["vatex1", "--dry_run", "--seeds", "0", "--out", str(tmp_path / "o"), "--data.store", str(tmp_path / "no")]
    assert run_command(AblateConfig, main, "", [*argv, "--embedding", "vatex_embedding"]) == 0
    shown = capsys.readouterr().out
    assert f"python -m stg.embed --data.store {tmp_path}/no" in shown
    assert "--model.channels 1024" in shown
    assert f"python -m stg.fuse {tmp_path}/o/cells/temporal-rl-seed0 {tmp_path}/o/cells/spatial-rl-seed0" in shown
    assert run_command(AblateConfig, main, "", [*argv, "--embedding", "pan_msvd"]) == 2
    assert "--embedding pan_msvd is no preset and no file of stg.embed" in capsys.readouterr().err
