"""From annotation and store to a data set ready to train on: table of readers, coverage, strictness (B3, B4)."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from graphs import GraphStore, build_graph, link_tracks
from stg.commands.checks import ANNOTATED
from stg.config.data import DataConfig, WorldConfig
from stg.config.plugins import KINDS
from stg.config.store import TrackConfig
from stg.data.edges import recorded_tracks
from stg.datasets.open import DATASETS, READERS, OpenDataset, open_dataset
from stg.runtime.errors import UserError
from tests.stg.conftest import made_video
from tests.stg.make_annotations import write_msrvtt, write_vatex
from tests.stg.run_commands import store_command
from tests.stg.said import Said


def make_store(path: Path, videos: Sequence[str]) -> Path:
    with GraphStore(path, "w") as store:
        for number, video in enumerate(videos):
            store.put(video, build_graph(replace(made_video(number, [2, 1]), video=video)))
    return path


def run(data: DataConfig) -> tuple[OpenDataset, list[str]]:
    said = Said()
    return open_dataset(data, WorldConfig(), reporter=said), said.lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten training videos, two of validation, two captions each."""
    root = tmp_path / "mine"
    root.mkdir()
    splits = ["train"] * 10 + ["val"] * 2
    rows = [f"v{number}.mp4,a {word} runs,{split}\n" for number, split in enumerate(splits) for word in ("cat", "dog")]
    (root / "captions.csv").write_text("video,caption,split\n" + "".join(rows))
    return root


def test_every_data_set_can_be_opened() -> None:
    assert tuple(DATASETS) == KINDS["dataset"].built_in == ("world", *ANNOTATED)
    assert tuple(READERS) == ANNOTATED


def test_a_folder_to_graphs_and_captions(folder: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [f"v{number}" for number in range(12) if number != 3])
    opened, lines = run(DataConfig(dataset="folder", root=str(folder), store=str(store)))
    assert opened.dataset.name == "mine"
    assert len(opened.dataset.splits["train"]) == 9
    assert opened.store.batch(opened.dataset.splits["val"]).videos == ["v10", "v11"]
    assert lines == [
        "split  listed  present  missing  captions  share",
        "train      10        9        1        18   90 %",
        "val         2        2        0         4  100 %",
        f"all missing videos (1) are listed in {store}.missing.jsonl",
        "train: 1 of 10 videos are missing ('v3'); scores do not cover them",
    ]
    opened.store.close()


@pytest.mark.parametrize("limit", [0.5, 0.1])
def test_every_missing_video_is_listed_beside_the_store(folder: Path, tmp_path: Path, limit: float) -> None:
    """Also where the coverage is refused, which is when the list is needed most."""
    store, said = make_store(tmp_path / "store", ["v0", "v1", "v2", "v10"]), Said()
    data = DataConfig(dataset="folder", root=str(folder), store=str(store), min_coverage=limit)
    with nullcontext() if limit == 0.1 else pytest.raises(UserError, match="3 of 10 videos are in"):
        open_dataset(data, WorldConfig(), reporter=said).store.close()
    log = tmp_path / "store.missing.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    gone = [("train", f"v{number}") for number in range(3, 10)] + [("val", "v11")]
    assert [(row["split"], row["id"]) for row in rows] == gone
    assert f"all missing videos (8) are listed in {log}" in said.lines
    make_store(store, [f"v{number}" for number in range(12)])
    run(data)[0].store.close()
    assert not log.exists()


def test_a_list_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [f"v{number}" for number in range(1, 12)])
    log = tmp_path / "store.missing.jsonl"
    log.mkdir()
    opened, lines = run(DataConfig(dataset="folder", root=str(folder), store=str(store)))
    assert any(
        line.startswith(f"the list of missing videos is not up to date: could not write {log}") for line in lines
    )
    opened.store.close()


@pytest.mark.parametrize(("limit", "allowed"), [(0.5, True), (0.51, False)])
def test_coverage_above_the_limit_goes_on(folder: Path, tmp_path: Path, limit: float, allowed: bool) -> None:
    store = make_store(tmp_path / "store", ["v0", "v1", "v2", "v3", "v4", "v10", "v11"])
    data = DataConfig(dataset="folder", root=str(folder), store=str(store), min_coverage=limit)
    if allowed:
        assert len(run(data)[0].dataset.splits["train"]) == 5
    else:
        with pytest.raises(UserError, match=r"split 'train' of mine: 5 of 10 videos are in .*store, less than"):
            run(data)


def test_a_split_without_any_video_is_refused(folder: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ["v0"])
    with pytest.raises(UserError, match="split 'val' of mine: 0 of 2 videos are in"):
        run(DataConfig(dataset="folder", root=str(folder), store=str(store), min_coverage=0.0))


def test_only_the_splits_that_are_read_are_asked_for(folder: Path, tmp_path: Path) -> None:
    """A store of the validation videos alone serves whoever reads these."""
    store, said = make_store(tmp_path / "store", ["v10"]), Said()
    data = DataConfig(dataset="folder", root=str(folder), store=str(store), min_coverage=0.9)
    opened = open_dataset(data, WorldConfig(), reporter=said, splits=("val",))
    assert opened.dataset.splits == {"train": [], "val": ["v10"]}
    opened.store.close()
    assert said.lines == [
        "split  listed  present  missing  captions  share",
        "val         2        1        1         2   50 %",
        f"all missing videos (1) are listed in {store}.missing.jsonl",
        "val: 1 of 2 videos are missing ('v11'); scores do not cover them",
    ]
    with pytest.raises(UserError, match=r"split 'train' of mine: 0 of 10 videos are in .*store: extract its clips"):
        open_dataset(data, WorldConfig(), splits=("train", "val"))


def test_a_test_split_that_is_not_there_stops_no_training(folder: Path, tmp_path: Path) -> None:
    with open(folder / "captions.csv", "a") as file:
        file.write("v12.mp4,a cat sits,test\nv13.mp4,a dog sits,test\n")
    opened, lines = run(
        DataConfig(
            dataset="folder", root=str(folder), store=str(make_store(tmp_path / "s", [f"v{n}" for n in range(12)]))
        )
    )
    opened.store.close()
    assert "test: 2 of 2 videos are missing ('v12', 'v13'); scores do not cover them" in lines


def test_an_annotation_of_one_split_can_be_read_but_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("video,caption,split\nv0,a cat runs,test\n")
    data = DataConfig(dataset="folder", root=str(tmp_path), store=str(make_store(tmp_path / "store", ["v0"])))
    open_dataset(data, WorldConfig(), splits=("test",)).store.close()
    with pytest.raises(
        UserError, match="has no video of the split 'train', only of test: training needs train and val"
    ):
        run(data)


def test_the_world_makes_the_splits_that_are_read(tmp_path: Path) -> None:
    world, data = WorldConfig(train=2, val=1, test=1), DataConfig(store=str(tmp_path / "world"))
    for splits, videos in (("test",), {"test-00000"}), ((), {"train-00000", "train-00001", "val-00000", "test-00000"}):
        with open_dataset(data, world, splits=splits).store as store:
            assert set(store.keys()) == videos


def test_faults_are_told_and_refused_when_strict(tmp_path: Path) -> None:
    path = write_msrvtt(tmp_path) / "test_videodatainfo.json"
    path.write_text(path.read_text().replace('"video_id": "video5", "caption"', '"video_id": "video9", "caption"'))
    store = make_store(tmp_path / "store", [f"video{number}" for number in range(6)])
    data = DataConfig(dataset="msrvtt", root=str(tmp_path), store=str(store))
    opened, lines = run(data)
    assert "MSR-VTT: without captions: 1 ('video5'); captions without a video: 1 ('video9')" in lines
    assert any(line.startswith("MSR-VTT: the numbers of videos are not those") for line in lines)
    assert opened.dataset.category["video4"] == 4
    assert opened.dataset.splits["test"] == ["video4"]  # without a caption there is nothing to score
    opened.store.close()
    strict = DataConfig(dataset="msrvtt", root=str(tmp_path), store=str(store), strict=True)
    with pytest.raises(UserError, match=r"MSR-VTT is not clean: without captions: 1 \('video5'\); .*--data.strict off"):
        run(strict)


def test_a_private_test_needs_no_coverage(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [f"{name}_000001_000011" for name in ("-a", "-A", "b", "c")])
    data = DataConfig(dataset="vatex", root=str(write_vatex(tmp_path)), store=str(store), language="zh", strict=True)
    opened, lines = run(data)
    assert opened.dataset.captions["-A_000001_000011"][1] == "有 人 跑 步"
    assert "private       1        0        1         0    0 %" in lines
    opened.store.close()


def test_a_split_without_any_caption_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "captions.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(f"{row.split(',')[0]},?,val" if row.endswith("val") else row for row in rows))
    store = make_store(tmp_path / "store", [f"v{number}" for number in range(12)])
    with pytest.raises(UserError, match="split 'val' of mine: of 2 videos none has a caption"):
        run(DataConfig(dataset="folder", root=str(folder), store=str(store)))


@pytest.mark.parametrize("name", sorted(READERS))
def test_root_and_store_are_asked_for(name: str, folder: Path) -> None:
    with pytest.raises(UserError, match=f"--data.dataset {name} needs --data.root"):
        run(DataConfig(dataset=name))  # type: ignore[arg-type]
    if name == "folder":
        with pytest.raises(UserError, match=r"--data.dataset folder needs --data.store: make one with"):
            run(DataConfig(dataset="folder", root=str(folder)))


def test_chinese_is_for_the_data_sets_that_have_it() -> None:
    with pytest.raises(ValueError, match="language zh is for vatex and folder; msvd is English"):
        DataConfig(dataset="msvd", language="zh")


def test_reading_annotations_imports_no_torch() -> None:
    modules = "annotation base folder msrvtt msvd vatex".split()  # noqa: SIM905
    imports = "; ".join(f"import stg.datasets.{name}" for name in modules)
    code = f"import sys, stg.config.training; {imports}; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_graphs_of_another_world_are_refused_though_the_ids_are_the_same(tmp_path: Path) -> None:
    small = {"train": 1, "val": 1, "test": 1}
    data = DataConfig(store=str(tmp_path / "world"))
    open_dataset(data, WorldConfig(**small)).store.close()
    with pytest.raises(UserError, match=r"holds graphs of another world \(detector.world.seed: 0 there, now 1"):
        open_dataset(data, WorldConfig(seed=1, **small))


def test_a_store_with_other_edges_serves_the_world_and_is_not_added_to(tmp_path: Path) -> None:
    small = {"train": 1, "val": 1, "test": 1}
    path, sharp = tmp_path / "world", tmp_path / "sharp"
    open_dataset(DataConfig(store=str(path)), WorldConfig(**small)).store.close()
    assert store_command(["edges", str(path), "--out", str(sharp), "--tau_time", "0.1"]) == 0
    data = DataConfig(store=str(sharp))
    with open_dataset(data, WorldConfig(**small)).store as store:
        assert store.manifest["edges"]["tau_time"] == 0.1
    with pytest.raises(UserError, match="has other edges or tracks and lacks 1 of the world's videos"):
        open_dataset(data, WorldConfig(train=2, val=1, test=1))


def test_the_objects_of_the_world_have_tracks(tmp_path: Path) -> None:
    small = {"train": 2, "val": 1, "test": 1}
    with open_dataset(DataConfig(store=str(tmp_path / "world")), WorldConfig(**small)).store as store:
        assert recorded_tracks(store.manifest) == TrackConfig()
        graph = store.get("train-00000")
        wanted = link_tracks(graph.boxes, graph.x, graph.frame, min_iou=0, min_cosine=0.3, appearance=0.8, patience=2)
        # Up to the half precision of stored features, which may decide between near equals.
        assert (graph.track == wanted).float().mean() > 0.9
        assert len(graph.track.unique()) < len(graph.track) / 2
