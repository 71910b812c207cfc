"""Headers of models that ask for more than their files hold, or are no headers (faults H1, H2)."""

import json
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from stg.config.model import GraphConfig, ModelConfig
from stg.config.retrieval import EmbeddingConfig
from stg.config.schema import to_dict
from stg.features.rebuild import features_read, plan_features
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.retrieval.embedding import EmbeddingBundle
from stg.runs.bundle import CaptionerBundle
from stg.runs.model_file import MAX_HEADER, model_header, weight_count
from stg.runs.tensors import CheckpointError, building_for, load_tensors, save_tensors
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.text.vocabulary import SPECIAL, Vocabulary

WORDS = Vocabulary((*SPECIAL, "a", "square"), 9)


def header(**changed: Any) -> dict[str, Any]:
    """The header of a small model; ``changed``: dotted name -> another value."""
    made: dict[str, Any] = {
        "format": "stg-captioner",
        "version": 1,
        "model": to_dict(ModelConfig(branches="scene", channels=16, hidden=16, heads=2)),
        "graph": to_dict(GraphConfig()),
        "widths": {"scene": 8, "motion": 0, "objects": 0, "grid": 0, "audio": 0},
        "vocabulary": WORDS.to_json(),
        "features": {"num_frames": 10, "sampling": "centres", "dtype": "float16", "backbone": {"name": "?"}},
        "features_dtype": "float16",
        "reads": ["scene"],
    }
    for name, value in changed.items():
        *sections, last = name.split(".")
        inside = made
        for section in sections:
            inside = inside[section]
        inside[last] = value
    return made


def captioner() -> nn.Module:
    model = ModelConfig(branches="scene", channels=16, hidden=16, heads=2)
    widths = FeatureWidths(scene=8, motion=0, objects=0)
    return build_captioner(model, GraphConfig(), widths=widths, vocabulary=len(WORDS), max_words=9)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return captioner().state_dict()


def test_a_sound_model_is_read(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_tensors(tmp_path / "model.safetensors", weights, header())
    read = CaptionerBundle.load(tmp_path / "model.safetensors")
    assert read.num_weights == sum(weight.numel() for weight in captioner().parameters())
    assert model_header(tmp_path / "model.safetensors") == header()
    assert weight_count(tmp_path / "model.safetensors") == read.num_weights


@pytest.mark.parametrize(
    "changed",
    [
        {"model.layers": 10**9},
        {"model.channels": 65536},
        {"model.hidden": 10**9},
        {"model.branches": "full", "graph.layers": 10**9, "widths.objects": 8},
        {"model.decoder": "stats", "model.stats.categories": 10**9},
        {"widths.scene": 2**40},
        {"vocabulary": json.dumps({"max_words": 10**9, "words": WORDS.words})},
    ],
)
def test_a_header_that_asks_for_more_than_the_file_holds_is_refused_at_once(
    changed: dict[str, Any], tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    save_tensors(tmp_path / "model.safetensors", weights, header(**changed))
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"settings and weights do not fit each other: .*(larger|max_words)"):
        CaptionerBundle.load(tmp_path / "model.safetensors")
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


def test_an_embedding_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    made = {**header(**{"format": "stg-embedding"}), "model": {**to_dict(EmbeddingConfig()), "hidden": 2**40}}
    save_tensors(tmp_path / "embedding.safetensors", {"x": torch.zeros(3)}, made)
    with pytest.raises(CheckpointError, match="larger network than the 1 tensors of 3 numbers in the file"):
        EmbeddingBundle.load(tmp_path)


def test_only_the_network_of_the_file_is_counted(weights: dict[str, torch.Tensor]) -> None:
    with building_for(weights):
        captioner().load_state_dict(weights)
    with pytest.raises(ValueError, match="larger network"), building_for({"x": torch.zeros(9)}):
        nn.Linear(3, 3)  # its bias is one tensor too many
    nn.Linear(3, 3)  # and nothing is counted afterwards


DAMAGED: list[Any] = [
    *({**header(), part: wrong} for part in ("model", "widths", "vocabulary") for wrong in (5, [], None, {})),
    *({**header(), part: wrong} for part in ("graph", "features") for wrong in (5, [], None)),
    header(**{"model.stats": 5}),
    header(**{"model.channels": "16"}),
    header(**{"model.channels": True}),
    header(**{"model.channels": 16.0}),
    header(**{"model.branches": ["scene"]}),
    header(**{"model.decoder": ["transformer"]}),
    header(**{"model.layers": 10**30}),
    header(**{"widths.scene": "8"}),
    header(**{"widths.scene": -8}),
    header(**{"vocabulary": "[]"}),
    header(**{"vocabulary": json.dumps({"max_words": "9", "words": WORDS.words})}),
    header(**{"vocabulary": json.dumps({"max_words": 9, "words": 5})}),
    header(**{"vocabulary": json.dumps({"max_words": 9, "words": [*SPECIAL, 5]})}),
    header(**{"vocabulary": "[" * 100_000}),
    header(**{"features_dtype": 5}),
    header(**{"made_with": 5}),
    header(**{"made_with": [5]}),
    header(**{"reads": 5}),
    header(**{"reads": [5]}),
    header(**{"plugin": 5}),
    header(**{"plugin": [5]}),
]


@pytest.mark.parametrize("made", DAMAGED, ids=lambda made: json.dumps(made)[-60:])
def test_a_damaged_header_is_called_so(made: Any, tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "model.safetensors"
    save_tensors(path, weights, made)
    with pytest.raises(UserError if isinstance(made, dict) and "plugin" in made else CheckpointError, match=path.name):
        CaptionerBundle.load(path)
    with suppress(UserError):  # without torch less is read of it, and nothing else is raised
        plan_features(model_header(path)["features"], features_read(model_header(path)))


@pytest.mark.parametrize("value", [5, [], None])
def test_a_header_that_is_no_object_is_called_so(value: object, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"x": torch.zeros(2)}, {"stg": json.dumps(value)}))
    path.with_suffix(".sha256").write_text(sha256_file(path))
    with pytest.raises(CheckpointError, match="is not a checkpoint of this project: its header is"):
        load_tensors(path)
    with pytest.raises(UserError, match="is not a trained model, or is damaged: the header is"):
        model_header(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"[" * 200_000, b"5", b"{}", b'{"__metadata__": 5}', b"\xff\xfe"])
def test_a_file_that_is_no_model_is_called_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    for read in (model_header, weight_count) if not content.startswith(b"{") else (model_header,):
        with pytest.raises(UserError, match="is not a trained model, or is damaged"):
            read(path)
    path.with_suffix(".sha256").write_text("0")
    with pytest.raises(CheckpointError):
        load_tensors(path)


def test_a_header_without_its_features_is_called_damaged(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    made = {name: value for name, value in header().items() if name != "features"}
    save_tensors(tmp_path / "model.safetensors", weights, made)
    with pytest.raises(CheckpointError, match="settings and weights do not fit each other: 'features'"):
        CaptionerBundle.load(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="its header lacks 'features'"):
        model_header(tmp_path / "model.safetensors")


def test_a_header_is_measured_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(2**40)
    with pytest.raises(UserError, match=f"its header would have {MAX_HEADER + 1} bytes"):
        model_header(path)


def test_shapes_in_a_header_that_are_none_are_called_so(tmp_path: Path) -> None:
    content = save({"x": torch.zeros(2)})
    path = tmp_path / "model.safetensors"
    path.write_bytes(content.replace(b'"shape":[2]', b'"shape":[x]'.replace(b"x", b"{")[:10] + b"]"))
    with pytest.raises(UserError, match="is not a trained model, or is damaged"):
        weight_count(path)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("num_frames", 10**12),
        ("num_frames", "10"),
        ("num_frames", [10]),
        ("sampling", 5),
        ("stride", "x"),
        ("backbone", {"name": ["x"]}),
        ("backbone", {"weights": 5, "sha256": 7}),
        ("backbone", {"weights": ["a", "b"], "sha256": "c"}),
    ],
)
def test_a_manifest_that_is_damaged_is_called_so(part: str, wrong: object) -> None:
    features = {**header()["features"], "backbone": {"weights": "a.onnx", "sha256": "0"}, part: wrong}
    with pytest.raises(UserError, match=r"manifest of this model's features is damaged|manifest lacks backbone"):
        plan_features(features, ["scene"])
