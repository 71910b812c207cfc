"""Pipes and devices in the place of files: every reader refuses them by name, and waits for none (fault H5)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graphs import GraphStore, StoreError
from stg.commands.parser import parse
from stg.config.training import FitConfig
from stg.data.merge import _joined
from stg.datasets.folder import read_folder
from stg.datasets.msrvtt import read_msrvtt
from stg.datasets.msvd import read_msvd
from stg.datasets.vatex import read_vatex
from stg.evaluation.predictions import holds_list, read_captions, read_ids, read_predictions
from stg.evaluation.probing import _records
from stg.features.precomputed.description import Description
from stg.features.precomputed.files import UnusableFeatures, open_source
from stg.features.precomputed.importer import _read_clips
from stg.features.precomputed.motion_table import MotionFeatures
from stg.features.precomputed.sources import SourceList
from stg.pages.run.ablations import read_ablation
from stg.runs.evaluations import read_evaluations
from stg.runs.folder import RunFolder
from stg.runs.model_file import model_file
from stg.runs.tensors import CheckpointError, load_tensors
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.runtime.reading import open_regular, read_json, read_text
from stg.runtime.yaml_reading import read_yaml
from stg.video.decoding import open_regular as open_clip
from stg.vision.backbones import read_preprocessing
from stg.vision.onnx import OnnxNetwork
from stg.vision.weights import load_state_dict
from tests.stg.alarms import ends_within


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """A reader that waits for a pipe, or reads a device to its end, is ended."""
    with ends_within(10):
        yield


def features(path: Path) -> object:
    return open_source(path.parent).read("x")


def metrics(path: Path) -> object:
    return RunFolder(path.parent).metrics


def times(path: Path) -> object:
    return RunFolder(path.parent).times


def state(path: Path) -> object:
    return RunFolder(path.parent).state


def settings(path: Path) -> object:
    return RunFolder(path.parent).config


def checksum(path: Path) -> object:
    path.with_suffix(".safetensors").write_bytes(b"")
    return load_tensors(path.with_suffix(".safetensors"))


def options(path: Path) -> object:
    return parse(FitConfig, ["--config", str(path)], prog="", description="")


READERS: list[tuple[str, Callable[[Path], object]]] = [
    *(("file", read) for read in (open_regular, read_text, read_json, read_yaml, sha256_file, read_preprocessing)),
    *(("captions.json", read) for read in (read_captions, read_predictions, read_ids)),
    *((name, Description.read) for name in ("f.json", "f.yaml")),
    *(("s.jsonl", read) for read in (SourceList, _read_clips, _records, lambda path: _joined([str(path)]))),
    ("metrics.jsonl", metrics),
    ("train.log", times),
    ("state.json", state),
    ("config.json", settings),
    ("model.sha256", checksum),
    ("val-greedy-scores.json", lambda path: (path.parent / "val-greedy.json").touch() or read_evaluations(path.parent)),
    ("table.json", read_ablation),
    ("x.npy", features),
    ("x.h5", open_source),
    ("m.npz", MotionFeatures),
    ("captions.csv", lambda path: read_folder(path.parent)),
    ("captions.jsonl", lambda path: read_folder(path.parent)),
    ("MSRVTT_data.json", lambda path: read_msrvtt(path.parent)),
    ("youtube_mapping.txt", lambda path: read_msvd(path.parent)),
    ("vatex_training_v1.0.json", lambda path: read_vatex(path.parent)),
    ("w.pth", load_state_dict),
    ("w.safetensors", load_state_dict),
    ("n.onnx", OnnxNetwork),
    ("model.safetensors", model_file),
    ("model.safetensors", load_tensors),
    ("store", GraphStore),
    ("c.mp4", open_clip),
    ("options.yaml", options),
]


@pytest.mark.parametrize("made", ["pipe", "device"])
@pytest.mark.parametrize(("name", "read"), READERS, ids=lambda value: getattr(value, "__name__", value))
def test_neither_pipe_nor_device_is_read(name: str, read: Callable[[Path], object], made: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if made == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises((UserError, CheckpointError, StoreError, UnusableFeatures)):
        read(path)
    assert not holds_list(path)
