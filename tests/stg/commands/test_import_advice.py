"""``python -m stg.import_features``: errors whose advice can be followed, and features that have changed."""

import fcntl
import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from graphs import GraphStore
from stg import import_features
from stg.commands.parser import build_parser
from stg.config.extraction import ImportConfig
from stg.data.batches import BatchSource
from stg.features.precomputed.description import Description
from stg.features.precomputed.files import UnusableFeatures, open_source
from stg.runtime.errors import UserError
from tests.stg.commands.test_import_features import command, describe, importer, listed, rows, save

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
    assert "1 video added, 1 made again, 2 there before, 0 skipped" in capsys.readouterr().out
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


OBJECTS = {"scene": SCENE, "objects": {"source": "objects", "width": 2}, "boxes": {"source": "boxes"}}
SPARSE = {**OBJECTS, "frame": {"source": "frame"}, "scores": {"source": "scores"}, "label": {"source": "label"}}


def detections(folder: Path) -> dict[str, np.ndarray]:
    """Ten rows of a scene, of which importing into four frames keeps 1, 3, 6 and 8; two objects in each."""
    save(folder / "scene", v=rows(10, 3))
    return {
        "objects": np.zeros((20, 2)),
        "boxes": np.tile(np.array([1.0, 2.0, 3.0, 4.0]), (20, 1)),
        "frame": np.repeat(np.arange(10, dtype=np.uint8), 2),
        "scores": np.full(20, 0.5),
        "label": np.arange(20),
    }


def test_labels_of_objects_are_kept(tmp_path: Path) -> None:
    for name, array in detections(tmp_path).items():
        save(tmp_path / name, v=array)
    save(tmp_path / "scene", none=rows(10, 3))
    path, out = describe(tmp_path, num_frames=4, **SPARSE), tmp_path / "out"
    assert command(path, out) == 0
    with GraphStore(out) as store:
        assert store.get("v").label.tolist() == [2, 3, 6, 7, 12, 13, 16, 17]
        assert store.get("none").label.tolist() == []


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("objects", 13, [0, np.nan], "objects must be finite, got nan; video 'v' row 13 of "),
        ("objects", 13, [0, 1e6], "objects holds 1e+06, beyond the largest float16 (65504); video 'v' row 13 of "),
        ("boxes", 7, [3, 2, 1, 4], "boxes must be (x1, y1, x2, y2) with x2 >= x1, got x1=3.0, x2=1.0; video 'v' row 7"),
        ("boxes", 7, [1, 2, 3, np.inf], "boxes must be finite, got inf; video 'v' row 7 of "),
        ("scores", 16, np.nan, "scores must be finite, got nan; video 'v' row 16 of "),
        ("label", 12, -1, "label must hold whole numbers of 0 or more, got -1; video 'v' row 12 of "),
        ("frame", 6, 1, "frame must hold whole numbers in 0..9, in order, got 1; video 'v' row 6 of "),
        ("frame", 19, 10, "frame must hold whole numbers in 0..9, in order, got 10; video 'v' row 19 of "),
    ],
)
def test_rows_in_errors_are_those_of_the_file(tmp_path: Path, name: str, row: int, value: Any, message: str) -> None:
    arrays = detections(tmp_path)
    arrays[name][row] = value
    for stream, array in arrays.items():
        save(tmp_path / stream, v=array)
    with pytest.raises(UnusableFeatures, match=re.escape(message)):
        importer(tmp_path, num_frames=4, **SPARSE)("v", "float16")


@pytest.mark.parametrize(
    ("value", "asked", "message"),
    [
        (70000, "float16", "objects holds 70000, beyond the largest float16 (65504); {}, or import them {}"),
        (1e39, "float16", "objects holds 1e+39, beyond the largest float32 (3.40282e+38); {}"),
        (1e39, "float32", "objects holds 1e+39, beyond the largest float32 (3.40282e+38); {}"),
    ],
)
def test_features_beyond_a_precision_are_sent_to_another_where_there_is_one(
    tmp_path: Path, value: float, asked: str, message: str
) -> None:
    arrays = detections(tmp_path)
    arrays["objects"][13] = 0, value
    for stream, array in arrays.items():
        save(tmp_path / stream, v=array)
    with pytest.raises(UnusableFeatures) as told:
        importer(tmp_path, num_frames=4, **SPARSE)("v", asked)
    place = f"video 'v' row 13 of {tmp_path / 'objects' / 'v.npy'}: scale the features"
    assert str(told.value) == message.format(place, "into a new store with --features_dtype float32")


def test_the_stream_of_another_length_is_named(tmp_path: Path) -> None:
    arrays = detections(tmp_path)
    arrays["label"] = arrays["label"][:19]
    for stream, array in arrays.items():
        save(tmp_path / stream, v=array)
    said = "objects, boxes, scores, label and frame of video 'v' have different numbers of rows: objects 20, boxes 20, "
    with pytest.raises(UnusableFeatures, match=re.escape(f"{said}scores 20, label 19, frame 20")):
        importer(tmp_path, num_frames=4, **SPARSE)("v")


def test_rows_that_are_not_kept_do_no_harm_and_objects_of_a_frame_are_counted(tmp_path: Path) -> None:
    arrays = detections(tmp_path)
    objects, boxes = arrays["objects"].reshape(10, 2, 2), arrays["boxes"].reshape(10, 2, 4)
    objects[2] = np.nan
    save(tmp_path / "objects", v=objects)
    save(tmp_path / "boxes", v=boxes)
    made = importer(tmp_path, num_frames=4, **OBJECTS)
    assert made("v")[0].objects.shape == (8, 2)
    objects[6, 1] = np.nan
    save(tmp_path / "objects", v=objects)
    with pytest.raises(UnusableFeatures, match=r"got nan; video 'v' row 6, object 1 of .*objects/v\.npy"):
        made("v")


def test_a_file_that_is_being_written_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "all.h5"
    with h5py.File(path, "w") as file:
        file["v"] = rows(4, 3)
    with open(path, "rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"all\.h5 is being written by another process: wait until that ends"):
            open_source(path)
    with h5py.File(path, "w", libver="latest") as file:
        file.flush()
        shutil.copy(path, tmp_path / "copy.h5")  # marked, as a writer that was killed leaves it
    with pytest.raises(UserError, match=r"one was killed while it wrote: .* `h5clear -s .*copy\.h5` takes"):
        open_source(tmp_path / "copy.h5")


@pytest.mark.parametrize(
    ("name", "array", "advice"),
    [
        ("scene", np.zeros((1, 10, 3)), 'add "squeeze": true to its description, which drops a leading axis of 1'),
        ("scene", np.zeros((10, 3, 1, 1)), r"save array\.reshape\(\[10, 3\]\), without the axes of 1"),
        ("objects", np.zeros((1, 20, 2)), 'add "squeeze": true'),
        ("frame", np.zeros((1, 20)), 'add "squeeze": true'),
        ("scene", np.zeros((2, 10, 3)), r"expected 2 axes, the last of them 3$"),
    ],
)
def test_axes_of_one_are_named_with_what_helps(tmp_path: Path, name: str, array: np.ndarray, advice: str) -> None:
    for stream, good in {**detections(tmp_path), "scene": rows(10, 3), name: array}.items():
        save(tmp_path / stream, v=good, w=rows(10, 3) if stream == "scene" else good)
    with pytest.raises((UserError, UnusableFeatures), match=advice):
        importer(tmp_path, num_frames=4, **SPARSE)("v")


def test_squeeze_where_there_is_nothing_to_drop(tmp_path: Path) -> None:
    save(tmp_path / "scene", v=rows(4, 3))
    with pytest.raises(UserError, match='expected a leading axis of 1, as "squeeze" says: take it out'):
        importer(tmp_path, scene={**SCENE, "squeeze": True})


def test_streams_at_the_wrong_level_are_sent_to_the_right_one(tmp_path: Path) -> None:
    nested = {**OBJECTS["objects"], "boxes": {"source": "boxes"}}
    path = describe(tmp_path, scene=SCENE, objects=nested)
    with pytest.raises(UserError, match=r"unknown key 'boxes': write 'boxes' next to 'objects', not within it"):
        Description.read(path)
    path = describe(tmp_path, streams={"scene": SCENE})
    with pytest.raises(UserError, match=r"unknown key 'streams': write what is within it \(scene\) in its place"):
        Description.read(path)


def test_the_example_of_the_help_can_be_imported(tmp_path: Path) -> None:
    """Taken out of the help as it stands."""
    text = build_parser(ImportConfig, prog="x", description=import_features.__doc__ or "").format_help()
    example = re.search(r"^    \{\"name.*?\}\}$", text, re.DOTALL | re.MULTILINE)
    assert example is not None
    path, out = tmp_path / "features.json", tmp_path / "out"
    path.write_text(example[0], encoding="utf-8")
    assert Description.read(path).streams().keys() == {"scene", "objects", "boxes", "frame", "scores", "label"}
    found, wide = detections(tmp_path), {"objects": np.zeros((20, 1024))}
    save(tmp_path / "scene", v=rows(10, 2048))
    with h5py.File(tmp_path / "detections.h5", "w") as file:
        for name, array in found.items():
            file["v/features" if name == "objects" else f"v/{name}"] = wide.get(name, array)
    assert command(path, out) == 0
    with GraphStore(out) as store:
        graph = store.get("v")
        assert graph.x.shape == (20, 1024)
        assert graph.label.tolist() == list(range(20))
        assert graph.frame.tolist() == found["frame"].tolist()
        assert graph.scene[:, 0].tolist() == list(range(10))
