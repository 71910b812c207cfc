"""``python -m stg.import_features``: errors whose advice can be followed, and features that have changed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphs import GraphStore
from stg.data.batches import BatchSource
from tests.stg.commands.test_import_features import command, describe, listed, rows, save

SCENE = {"source": "scene", "width": 3}


def reasons(out: Path) -> dict[str, str]:
    lines = Path(f"{out}.skipped.jsonl").read_text().splitlines()
    return {row["id"]: row["message"] for row in map(json.loads, lines)}


def test_features_beyond_half_precision_are_kept_in_float32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = rows(4, 3) + np.float32(70000.25)
    save(tmp_path / "scene", v=values)
    path, out = describe(tmp_path, num_frames=4, scene=SCENE), tmp_path / "out"
    assert command(path, out) == 3
    told = capsys.readouterr().err
    assert "--features_dtype float32" in told
    assert "beyond the largest float16 (65504)" in reasons(out)["v"]
    # Into the same store, which holds nothing yet.
    assert command(path, out, "--features_dtype", "float32") == 0
    assert command(path, out) == 0
    with GraphStore(out) as store:
        assert store.features_dtype == "float32"
        assert torch.equal(store.get("v").scene, torch.from_numpy(values))
        assert torch.equal(BatchSource(store).batch(["v"]).scene, torch.from_numpy(values))
    assert command(path, out, "--features_dtype", "float16") == 2
    assert "keeps its features as float32, asked for float16" in capsys.readouterr().err
    # What a store says of its origin does not depend on how it keeps the numbers.
    save(tmp_path / "scene", v=rows(4, 3))
    assert command(path, tmp_path / "half") == 0
    with GraphStore(out) as store, GraphStore(tmp_path / "half") as half:
        assert half.features_dtype == "float16"
        assert half.manifest == store.manifest


def test_features_that_have_changed_are_made_again_with_refresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3), c=rows(4, 3))
    path, out = describe(tmp_path, num_frames=4, scene=SCENE), tmp_path / "out"
    assert command(path, out) == 0
    save(tmp_path / "scene", a=rows(4, 3) + 1, d=rows(4, 3))
    assert command(path, out) == 2
    assert "video 'a' is in the store already, but its scene" in (told := capsys.readouterr().err)
    assert "or add --refresh, if features were mended" in told

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GraphStore, "put", killed)
        assert command(path, out, "--refresh") == 75
    assert [row["id"] for row in listed(out)] == ["a", "b", "c"]
    assert command(path, out) == 2
    capsys.readouterr()
    assert command(path, out, "--refresh") == 0
    assert "1 videos added, 1 made again, 2 there before, 0 skipped" in capsys.readouterr().out
    with GraphStore(out) as store:
        assert store.get("a").scene[:, 0].tolist() == [1, 2, 3, 4]
        assert store.get("b").scene[:, 0].tolist() == [0, 1, 2, 3]
    assert command(path, out) == 0


def test_changed_features_that_cannot_be_used_leave_the_former_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    path, out = describe(tmp_path, num_frames=4, scene=SCENE), tmp_path / "out"
    assert command(path, out) == 0
    save(tmp_path / "scene", a=np.full((4, 3), np.nan))
    capsys.readouterr()
    assert command(path, out, "--refresh") == 3
    told = capsys.readouterr()
    assert f"{out} still holds the former graphs of videos that could not be made again: 'a'" in told.out
    assert "0 videos added, 0 made again, 1 there before, 1 skipped" in told.out
    assert reasons(out).keys() == {"a"}
    assert command(path, out) == 2


def test_a_video_spelt_otherwise_in_an_old_store_is_made_again_under_its_key(tmp_path: Path) -> None:
    save(tmp_path / "scene", **{"caf\u00e9": rows(4, 3)})
    path, out = describe(tmp_path, num_frames=4, scene=SCENE), tmp_path / "out"
    assert command(path, out) == 0
    with GraphStore(out) as store:
        graph: Any = store.get("caf\u00e9")
        manifest = store.manifest
    graph.video = "cafe\u0301"
    with GraphStore(out, "w", manifest=manifest) as store:
        store.put("cafe\u0301", graph)
    save(tmp_path / "scene", **{"caf\u00e9": rows(4, 3) + 1})
    assert command(path, out, "--refresh") == 0
    with GraphStore(out) as store:
        assert store.keys() == ["cafe\u0301"]
        assert store.get("cafe\u0301").scene[0, 0].item() == 1
