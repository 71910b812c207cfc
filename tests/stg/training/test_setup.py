"""What a training run needs before its first step, and what is refused there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphs import GraphStore, build_graph
from stg.config.data import DataConfig
from stg.config.model import AttentionLSTMConfig, ModelConfig
from stg.config.training import FitConfig, RunConfig
from stg.runtime.errors import UserError
from stg.training.setup import set_up
from tests.stg.conftest import made_video

SPLITS = {"a": "train", "b": "train", "c": "val"}


def data_of(folder: Path, objects: dict[str, list[int]]) -> DataConfig:
    """Three videos; of each, how many objects its frames have."""
    root = folder / "mine"
    root.mkdir()
    rows = [f"{video},a cat runs,{split}\n" for video, split in SPLITS.items()]
    (root / "captions.csv").write_text("video,caption,split\n" + "".join(rows))
    with GraphStore(folder / "store", "w") as store:
        for number, video in enumerate(SPLITS):
            store.put(video, build_graph(replace(made_video(number, objects.get(video, [0, 0])), video=video)))
    return DataConfig("folder", str(root), store=str(folder / "store"), min_count=1)


def config_of(data: DataConfig, out: Path, **model: object) -> FitConfig:
    small = ModelConfig(channels=16, heads=2, hidden=16, layers=1, **model)  # type: ignore[arg-type]
    return FitConfig(data=data, model=small, run=RunConfig(out=str(out)))


SPATIAL = {"branches": "scene", "decoder": "attention_lstm", "attention_lstm": AttentionLSTMConfig(memory="spatial")}


@pytest.mark.parametrize("model", [{"branches": "full"}, {"branches": "object"}, SPATIAL])
def test_a_model_that_learns_from_objects_refuses_a_store_without_any(model: dict[str, object], tmp_path: Path) -> None:
    config = config_of(data_of(tmp_path, {"c": [2, 1]}), tmp_path / "run", **model)
    with pytest.raises(UserError, match=r"store: none of the first 2 training videos has an object.*--detector FILE"):
        set_up(config, torch.device("cpu"))


def test_one_object_is_enough_and_a_model_of_frames_needs_none(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    some = data_of(tmp_path / "some", {"b": [0, 1]})
    set_up(config_of(some, tmp_path / "run", branches="full"), torch.device("cpu")).store.close()
    none = data_of(tmp_path, {})
    set_up(config_of(none, tmp_path / "run", branches="scene"), torch.device("cpu")).store.close()
