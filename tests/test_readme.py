"""What README shows of ``graphs`` and ``decoders`` runs as it stands, but for smaller numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from graphs import EDGE_TYPES, GraphStore
from tests.readme import block


def run(code: str, names: dict[str, Any], **smaller: str) -> dict[str, Any]:
    """Run a block with the names of those before it, other numbers put into it; returns the names with its own."""
    for old, new in smaller.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_a_classifier_is_trained_explained_and_drawn_and_its_graphs_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = run(
        block("class Classifier"), {}, **{"train=300": "train=6", "test=100": "test=1", "range(20)": "range(1)"}
    )
    run(block("GNNExplainer(epochs=100)"), names, **{"epochs=100": "epochs=5"})
    assert names["found"].edge_mask.shape == (names["graph"].num_edges,)
    with Image.open("edges.png") as picture:
        assert picture.width > 4 * 360
    # In this process: other tests start workers.
    run(block("VideoGraphDataset"), names, **{"num_workers=2": "num_workers=0"})
    assert len(names["dataset"]) == 6
    assert names["batch"].y.shape == (6,)


def test_boxes_become_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    item = {"box": [1, 2, 30, 40]}
    video = {"width": 64, "height": 48, "frames": [[item], [item, item]]}
    Path("boxes.json").write_text(json.dumps({"format": "video-boxes/1", "videos": {"one": video, "two": video}}))
    frames = [{"boxes": torch.tensor([[1.0, 2, 30, 40]]), "labels": torch.tensor([90])}] * 4
    names = run(block("read_boxes"), {"graphs": __import__("graphs"), "frames": frames})
    with GraphStore("boxes.lmdb") as store:
        assert store.keys() == ["one", "two"]
        assert store.get("two").boxes.shape == (3, 4)
    graph = names["graph"]
    assert graph.track.tolist() == [0] * 4
    assert int((graph.edge_type == EDGE_TYPES["track"]).sum()) == 2 * (3 + 2)
    assert graph.x.shape == (4, 5 + 91)


def test_a_decoder_writes_words_and_says_where_it_attended() -> None:
    names = run(block("STaTSDecoder"), {})
    assert names["words"].shape == names["attention"]["gate"].shape[:2]
