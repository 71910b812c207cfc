"""The run folder: its name, what it refuses, runs of earlier versions (faults D2, D10)."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from stg.config.data import DataConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.schema import to_dict
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.runs.folder import default_folder, load_config
from stg.runs.training_run import TrainingRun
from stg.runtime.errors import UserError


def begun(out: Path, **parts: Any) -> FitConfig:
    """The settings of a run that was begun there."""
    config = FitConfig(run=RunConfig(out=str(out)), **parts)
    with TrainingRun(out, config) as run:
        run.begin()
    return config


def written(out: Path, config: dict[str, Any]) -> None:
    out.mkdir()
    (out / "config.json").write_text(json.dumps(config))


def test_the_default_folder_tells_what_was_trained() -> None:
    def name(**parts: Any) -> str:
        return default_folder(FitConfig(data=DataConfig(dataset="msvd"), **parts)).as_posix()

    assert name() == "runs/msvd-full-full-seed0"
    assert name(model=ModelConfig(branches="scene")) == "runs/msvd-scene-seed0"
    assert name(model=ModelConfig(branches="scene", decoder="stats")) == "runs/msvd-scene-stats-seed0"
    both = {"graph": GraphConfig(variant="spatial"), "model": ModelConfig(decoder="attention_lstm")}
    assert name(**both, run=RunConfig(control="shuffle")) == "runs/msvd-full-spatial-attention_lstm-shuffle-seed0"


def test_a_folder_with_another_run_is_refused_with_the_differences(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = begun(out)
    with pytest.raises(UserError, match=r"other settings \(model.channels: was 128, now 32\): choose another folder"):
        TrainingRun(out, dataclasses.replace(config, model=ModelConfig(channels=32)))
    longer = dataclasses.replace(config, optim=OptimConfig(epochs=3))
    with pytest.raises(UserError, match=r"optim.epochs: was 25, now 3\): add --run.override true"):
        TrainingRun(out, longer)
    TrainingRun(out, dataclasses.replace(longer, run=RunConfig(out=str(out), override=True)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and is not a run of this project"):
        TrainingRun(other, config)


def test_a_run_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    config = FitConfig()
    old = to_dict(config)
    for name in ("decoder", "views", "stats", "attention_lstm"):
        del old["model"][name]
    for name in ("rank_weight", "category_weight"):
        del old["loss"][name]
    for name in ("algorithm", "scheduled_sampling", "own_word"):
        del old["optim"][name]
    out = tmp_path / "run"
    written(out, old)
    TrainingRun(out, config)
    with pytest.raises(UserError, match=r"\(model.decoder: was 'transformer', now 'stats'\): choose another folder"):
        TrainingRun(out, FitConfig(model=ModelConfig(decoder="stats")))


def test_a_run_with_settings_that_this_version_lacks_is_refused(tmp_path: Path) -> None:
    old = to_dict(FitConfig())
    old["optim"]["momentum"] = 0.9
    out = tmp_path / "run"
    written(out, old)
    with pytest.raises(UserError, match=r"does not fit this version: unknown key 'momentum' of OptimConfig; known: "):
        TrainingRun(out, FitConfig())
    with pytest.raises(UserError, match="does not fit this version"):
        load_config(out)
