"""Versions of decoder and network runtimes: in stores and models, compared with a warning, part of no manifest."""

from importlib.metadata import version
from pathlib import Path

import av
import pytest
import torch
from torch_geometric.data import Data

from graphs import GraphStore
from stg.commands.parser import run_command
from stg.commands.store import main
from stg.config.store import EdgeConfig, StoreConfig
from stg.data.edges import rebuild_edges
from stg.data.feature_check import Versions, versions_note, versions_now
from tests.stg.conftest import made_batch, made_video

OLD, NEW = {"av": "17.1.0", "torch": "2.8.0"}, {"av": "18.0.0", "torch": "2.8.0"}


def graph(seed: int) -> Data:
    return made_batch([made_video(seed, [2, 1])]).get_example(0)


def store_of(path: Path, videos: dict[str, int], *versions: dict[str, str]) -> Path:
    with GraphStore(path, "a", manifest={"layer": 3}) as store:
        store.state_versions(*versions)
        for seed in videos.values():
            store.put(f"v{seed}", graph(seed))
    return path


def run(*words: str | Path) -> int:
    return run_command(StoreConfig, main, "", [str(word) for word in words])


def test_the_versions_at_hand_are_of_pyav_ffmpeg_and_what_runs_the_networks() -> None:
    torch_networks = {"detector": None, "backbone": {"kind": "torchvision", "weights": "net.pth"}, "layout": "xyxy"}
    found = versions_now(torch_networks)
    assert found["av"] == av.__version__
    assert found["libavcodec"] == ".".join(map(str, av.library_versions["libavcodec"]))
    assert found["torch"] == version("torch")
    assert found["torchvision"] == version("torchvision")
    assert "onnxruntime" not in found
    pytest.importorskip("onnxruntime")
    assert versions_now({**torch_networks, "detector": {"weights": "eye.onnx"}})["onnxruntime"] == version(
        "onnxruntime"
    )


@pytest.mark.parametrize(
    ("made_with", "now", "listed"),
    [
        ([OLD], [NEW], "av: 17.1.0, here 18.0.0"),
        ([OLD], [{"av": "18.0.0", "torch": "2.9.0"}], "av: 17.1.0, here 18.0.0; torch: 2.8.0, here 2.9.0"),
        ([OLD], [OLD, NEW], "av: 17.1.0, here 18.0.0"),
        ([OLD], [OLD], None),
        ([OLD, NEW], [OLD], None),
        ([OLD], [{"av": "17.1.0", "onnxruntime": "1.19.0"}], None),
        ([], [NEW], None),
        ([OLD], [], None),
    ],
)
def test_what_differs_is_listed(made_with: list[Versions], now: list[Versions], listed: str | None) -> None:
    note = versions_note(made_with, now, "that is so")
    assert note == (listed and f"warning: that is so; numbers may differ a little: {listed}")


def test_stores_of_different_versions_are_joined_with_a_warning_and_keep_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store_of(tmp_path / "a", {"v1": 1}, OLD)
    second = store_of(tmp_path / "b", {"v2": 2}, NEW)
    third = store_of(tmp_path / "c", {"v4": 4}, OLD)
    assert run("merge", first, second, third, "--out", tmp_path / "all") == 0
    said = capsys.readouterr().out
    assert f"warning: {first} and {second} hold features made with different versions;" in said
    assert "av: 17.1.0, here 18.0.0" in said
    with GraphStore(tmp_path / "all") as store:
        assert store.versions == (OLD, NEW)
    assert run("info", tmp_path / "all") == 0
    said = capsys.readouterr().out
    assert "made with: av 17.1.0, torch 2.8.0\nmade with: av 18.0.0, torch 2.8.0" in said
    # Stores that state none, as old ones, are joined without a word.
    assert run("merge", store_of(tmp_path / "d", {"v3": 3}), first, "--out", tmp_path / "more") == 0
    assert "warning:" not in capsys.readouterr().out


def test_other_edges_leave_the_versions_as_they_were(tmp_path: Path) -> None:
    with GraphStore(store_of(tmp_path / "a", {"v1": 1}, OLD)) as source, GraphStore(tmp_path / "b", "a") as target:
        rebuild_edges(source, target, EdgeConfig(top_k=1))
        assert target.versions == (OLD,)
        assert torch.equal(target.get("v1").boxes, source.get("v1").boxes)
