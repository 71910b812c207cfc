"""Training at speed from the command down: what is faster learns the same, or is refused."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import stg.runtime.device
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.open import open_dataset
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import Preempted, UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit

WORLD = WorldConfig(train=8, val=3, test=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def settings(store: Path, out: Path, *, loading: Any = "ahead", **optim: Any) -> FitConfig:
    usual = {"lr": 3e-3, "batch_videos": 2, "epochs": 2, "captions_per_video": 2, "epoch_captions": 4}
    return FitConfig(
        data=DataConfig(store=str(store), min_count=1, loading=loading),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(**{**usual, **optim}),
        run=RunConfig(out=str(out), samples=1, save_minutes=1000.0),
    )


def run(config: FitConfig, stop: Callable[[], bool] = lambda: False) -> str:
    text = io.StringIO()
    fit(config, reporter=ConsoleReporter(Console(file=text, width=200), stop))
    return text.getvalue()


def steps(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == "step"]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return CaptionerBundle.load(out / "whole.safetensors").captioner.state_dict()


def test_graphs_in_memory_change_no_bit_and_may_be_taken_up_midway(store: Path, tmp_path: Path) -> None:
    ahead, memory = tmp_path / "ahead", tmp_path / "memory"
    assert "in memory" not in run(settings(store, ahead))
    with pytest.raises(Preempted):
        run(settings(store, memory), lambda: len(steps(memory)) >= 3)
    assert "keeping the graphs of 11 videos in memory" in run(settings(store, memory, loading="memory"))
    assert steps(memory) == steps(ahead)
    expected = weights(ahead)
    assert all(torch.equal(value, expected[name]) for name, value in weights(memory).items())


def test_stopping_and_going_on_among_buckets_changes_no_bit(store: Path, tmp_path: Path) -> None:
    whole, parts, plain = tmp_path / "whole", tmp_path / "parts", tmp_path / "plain"
    run(settings(store, whole, length_buckets=3))
    with pytest.raises(Preempted):
        run(settings(store, parts, length_buckets=3), lambda: len(steps(parts)) >= 5)
    run(settings(store, parts, length_buckets=3))
    assert steps(parts) == steps(whole)
    run(settings(store, plain))
    assert len(steps(plain)) == len(steps(whole))
    assert steps(plain) != steps(whole)
    with pytest.raises(UserError, match=r"optim\.length_buckets: was 3, now 1"):
        run(settings(store, whole))


def test_bfloat16_where_it_is_emulated_leaves_no_trace(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stg.runtime.device, "cpu_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(UserError, match=r"optim\.precision bfloat16 on cpu: it has no bfloat16 in hardware"):
        run(settings(store, tmp_path / "run", precision="bfloat16"))
    assert not (tmp_path / "run").exists()


def test_bfloat16_learns_nearly_what_float32_does(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stg.runtime.device, "cpu_capabilities", lambda: {"amx_bf16": True})
    run(settings(store, tmp_path / "single"))
    run(settings(store, tmp_path / "half", precision="bfloat16"))
    single, half = steps(tmp_path / "single"), steps(tmp_path / "half")
    assert [row["loss"] for row in half] != [row["loss"] for row in single]
    assert [row["loss"] for row in half] == pytest.approx([row["loss"] for row in single], rel=0.05)
    assert all(value.dtype != torch.bfloat16 for value in weights(tmp_path / "half").values())


@pytest.mark.parametrize(("name", "value"), [("length_buckets", 0), ("length_buckets", -2)])
def test_what_is_no_number_of_batches_is_named(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be greater than 0; got {value}"):
        dataclasses.replace(OptimConfig(), **{name: value})
