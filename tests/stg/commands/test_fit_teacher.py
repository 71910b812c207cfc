"""Learning from a frozen run on a tiny world: what is refused, resuming, several processes, schedules of the weight."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.open import open_dataset
from stg.runs.bundle import CaptionerBundle
from stg.runtime.distributed import Ranks
from stg.runtime.reporter import Reporter
from stg.training.loop import fit

WORLD = WorldConfig(train=8, val=3, test=3)
JOINT = {
    "model": {"branches": "joint", "readout": "tracks", "channels": 24},
    "graph": {"conv": "typed", "variant": "spatial", "layers": 1, "track_layers": 1, "box": "linear"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def settings(store: Path, out: Path, **changes: Any) -> FitConfig:
    config = FitConfig(
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        graph=GraphConfig(),
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1, branches="scene"),
        optim=OptimConfig(lr=3e-3, batch_videos=4, epochs=2, captions_per_video=2, epoch_captions=2),
        run=RunConfig(out=str(out), samples=0, save_minutes=1000.0),
    )
    sections = {name: dataclasses.replace(getattr(config, name), **change) for name, change in changes.items()}
    return dataclasses.replace(config, **sections)


class Stopping(Reporter):
    """``lines``: what was said; asks for a stop when ``stop`` says so."""

    def __init__(self, stop: Callable[[], bool] = lambda: False) -> None:
        self.lines, self.should_stop = [], stop  # type: ignore[method-assign]

    def say(self, line: str) -> None:
        self.lines.append(line)


def run(config: FitConfig, stop: Callable[[], bool] = lambda: False, ranks: Ranks | None = None) -> str:
    """Train and return what was said."""
    reporter = Stopping(stop)
    fit(config, reporter=reporter, ranks=ranks)
    return "\n".join(reporter.lines)


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return CaptionerBundle.load(out / "model.safetensors").captioner.state_dict()


def scored(run: Path, cider: float) -> Path:
    """Let a run have recorded this score."""
    (run / "metrics.jsonl").write_text(json.dumps({"kind": "validation", "step": 1, "epoch": 0, "cider": cider}) + "\n")
    return run


@pytest.fixture(scope="module")
def joint(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that reads scene, objects and tracks, wider than its students, with another graph than they name."""
    out = tmp_path_factory.mktemp("joint") / "joint"
    run(settings(store, out, **JOINT))
    return out


@pytest.fixture(scope="module")
def scene(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student without a teacher."""
    out = tmp_path_factory.mktemp("scene") / "scene"
    run(settings(store, out))
    return out


def test_weight_0_changes_nothing_and_weight_1_teaches(store: Path, joint: Path, scene: Path, tmp_path: Path) -> None:
    run(settings(store, tmp_path / "zero", run={"teacher": str(joint)}, teacher={"weight": 0.0}))
    expected = weights(scene)
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "zero").items())
    shown = run(settings(store, tmp_path / "one", run={"teacher": str(joint)}))
    assert f"teacher {joint} (sha256 " in shown
    assert "what the teacher adds" in shown or "may have taught it nothing" in shown
    found = weights(tmp_path / "one")
    assert found.keys() == expected.keys()  # a scene model, as without a teacher
    assert not all(torch.equal(value, expected[name]) for name, value in found.items())
    zero, one = rows(tmp_path / "zero", "step"), rows(tmp_path / "one", "step")
    assert all(row["loss"] == pytest.approx(row["scene"]) and row["teacher"] > 0 for row in zero)
    assert all(row["loss"] == pytest.approx(row["scene"] + row["teacher"]) for row in one)
