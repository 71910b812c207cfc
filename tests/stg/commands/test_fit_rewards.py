"""The training command with rewards, on a tiny world: phases, resuming, beginning with a trained run (S22, V7)."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.training import FitConfig, OptimConfig, RewardConfig, RunConfig
from stg.datasets.open import open_dataset
from stg.metrics.java import JavaError
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import Preempted, UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit
from stg.training.rewards import Rewards
from tests.stg.changed import with_changes

WORLD = WorldConfig(train=8, val=3, test=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def settings(store: Path, out: Path, **changes: Any) -> FitConfig:
    config = FitConfig(
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(lr=3e-3, batch_videos=3, epochs=4, captions_per_video=2, epoch_captions=2),
        reward=RewardConfig(weight=0.5, from_epoch=2, cider=0.1, samples=2, baseline="leave_one_out"),
        run=RunConfig(out=str(out), samples=1, save_minutes=1000.0),
    )
    return with_changes(config, changes)


def run(config: FitConfig, stop: Callable[[], bool] = lambda: False) -> str:
    text = io.StringIO()
    fit(config, reporter=ConsoleReporter(Console(file=text, width=200), stop))
    return text.getvalue()


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two epochs of cross-entropy and two of rewards, and what it printed."""
    out = tmp_path_factory.mktemp("rewards") / "run"
    return out, run(settings(store, out))


@pytest.fixture(scope="module")
def first(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without rewards, for others to begin with."""
    out = tmp_path_factory.mktemp("first") / "first"
    run(settings(store, out, reward={"weight": 0.0}, optim={"epochs": 3}))
    return out


def test_rewards_begin_with_their_epoch_and_broken_endings_are_told(whole: tuple[Path, str]) -> None:
    out, shown = whole
    steps = rows(out, "step")
    assert {row["epoch"]: "reward_loss" in row for row in steps} == {0: False, 1: False, 2: True, 3: True}
    later = [row for row in steps if row["epoch"] >= 2]
    assert all(0 <= row["reward"] < 0.1 * 10 + 1 for row in later)
    assert any(row["reward"] > 0 for row in later)
    for row in later:
        assert row["loss"] == pytest.approx(
            0.5 * (row["scene"] + row["object"] + 0.25 * row["distill"]) + 0.5 * row["reward_loss"], rel=1e-4
        )
    assert all("broken_endings" in row for row in rows(out, "validation"))
    assert "learning from rewards from epoch 3 on, share 0.5" in shown
    # Before (the last epoch of cross-entropy) and after.
    told = [line for line in shown.splitlines() if "broken endings" in line]
    assert [line.split()[1] for line in told] == ["2", "3", "4"]


@pytest.mark.parametrize("changes", [{}, {"decoder": "stats"}, {"decoder": "attention_lstm", "branches": "scene"}])
def test_stopping_and_going_on_changes_no_bit(changes: dict[str, Any], store: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    changed: dict[str, Any] = {"model": changes, "reward": {"from_epoch": 1, "lr": 1e-3}, "optim": {"epochs": 3}}
    if changes.get("branches") == "scene":
        changed["model"] = {**changes, "attention_lstm": dataclasses.replace(ModelConfig().attention_lstm)}
    run(settings(store, whole, **changed))
    parts = tmp_path / "stopped"
    for step in (5, 7):  # of rewards, in two epochs
        with pytest.raises(Preempted, match=f"stopped at step {step}"):
            run(settings(store, parts, **changed), lambda step=step: len(rows(parts, "step")) >= step)
        torch.manual_seed(999)
    run(settings(store, parts, **changed))
    assert rows(parts, "step") == rows(whole, "step")
    assert rows(parts, "validation") == rows(whole, "validation")


def test_the_step_size_changes_where_rewards_begin(store: Path, whole: tuple[Path, str], tmp_path: Path) -> None:
    same, other = whole[0], tmp_path / "other"
    run(settings(store, other, reward={"lr": 1e-6}, optim={"epochs": 3}))
    first, second = (
        [{key: row[key] for key in ("loss", "epoch")} for row in rows(out, "step")] for out in (same, other)
    )
    first = first[: len(second)]  # the second ends an epoch earlier
    early = sum(row["epoch"] < 2 for row in first)
    assert first[: early + 1] == second[: early + 1]
    assert first[early + 1 :] != second[early + 1 :]


def test_patience_waits_for_the_rewards(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(settings(store, out, optim={"lr": 1e-9, "patience": 1, "epochs": 6}, reward={"from_epoch": 3}))
    # Nothing improves after the first epoch: one more than it waits for is done.
    assert [row["epoch"] for row in rows(out, "validation")] == [0, 1, 2, 3]


def test_a_run_begins_with_another_and_keeps_it_unless_it_improves(store: Path, first: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    changes: dict[str, Any] = {"reward": {"from_epoch": 0, "lr": 1e-12}, "run": {"start": str(first)}}
    shown = run(settings(store, second, **changes, optim={"epochs": 1, "lr": 1e-12}))
    assert f"beginning with the weights of {first}" in shown
    (start,) = rows(second, "start")
    assert start["cider"] == max(row["cider"] for row in rows(first, "validation"))
    expected = CaptionerBundle.load(first / "whole.safetensors").captioner.state_dict()
    found = CaptionerBundle.load(second / "whole.safetensors").captioner.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert "at the start" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"channels": 32}}, "another model .model.channels: was 16, now 32"),
        ({"graph": {"layers": 1}}, "another model .graph.layers: was 3, now 1"),
        ({"data": {"min_count": 2}}, "trained with other words"),
    ],
)
def test_beginning_with_another_model_is_refused(
    changes: dict[str, Any], message: str, store: Path, first: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        run(settings(store, tmp_path / "second", **changes, run={"start": str(first)}))
    with pytest.raises(Exception, match=r"there is no file .*nowhere"):
        run(settings(store, tmp_path / "third", run={"start": str(tmp_path / "nowhere")}))


def test_meteor_that_fails_leaves_a_checkpoint(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, calls = Rewards.start, []

    def fail(self: Rewards, videos: Any, captions: Any) -> Any:
        calls.append(videos)
        if len(calls) > 1:
            raise JavaError("METEOR's Java program ended")
        return start(self, videos, captions)

    monkeypatch.setattr(Rewards, "start", fail)
    with pytest.raises(JavaError, match="ended"):
        run(settings(store, tmp_path / "run"))
    done = len(rows(tmp_path / "run", "step"))
    assert sum(row["epoch"] == 2 for row in rows(tmp_path / "run", "step")) == 1
    assert (tmp_path / "run" / "checkpoints" / f"step-{done:08d}.safetensors").exists()


def test_java_is_missed_before_anything_is_learned(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaError, match="needs Java 8 or newer"):
        run(settings(store, tmp_path / "run", reward={"meteor": 1.0}))
    assert not (tmp_path / "run").exists()


def test_rewards_that_are_never_reached_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reward.from_epoch 2 is never reached in 2 epochs"):
        settings(store, tmp_path, optim={"epochs": 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": 1.5}, "must lie in 0..1; got 1.5"),
        ({"weight": 0.5, "cider": 0.0, "bleu4": 0.0}, "nothing is rewarded"),
        ({"baseline": "leave_one_out"}, "samples must be 2 or more; got 1"),
        ({"lr": 0.0}, "lr must be greater than 0"),
        ({"meteor": -1.0}, "meteor must not be negative; got -1.0"),
        ({"samples": 0}, "samples must be greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardConfig(**changes)
