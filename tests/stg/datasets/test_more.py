"""Several data sets in one run (data.more): joined splits, each with its own coverage, one store."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stg.commands.checks import check
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.schema import from_dict, to_dict
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.base import CaptionDataset, join_datasets
from stg.datasets.open import captions_read, open_dataset
from stg.runs.folder import default_folder
from stg.runs.training_run import TrainingRun
from stg.runtime.errors import UserError
from stg.training.loop import fit
from stg.training.setup import set_up
from tests.stg.datasets.test_open import make_store, run
from tests.stg.make_annotations import write_msrvtt
from tests.stg.said import Said


def write_folder(root: Path, splits: dict[str, str], word: str = "runs") -> Path:
    """A data set of clips of one's own: video -> split, one caption of each."""
    root.mkdir()
    rows = [f"{video},a {video} {word},{split}\n" for video, split in splits.items()]
    (root / "captions.csv").write_text("video,caption,split\n" + "".join(rows))
    return root


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """MSR-VTT of 3, 1 and 2 videos, and a folder of 4, 1 and 1, one of which is not in the store they share."""
    (tmp_path / "msrvtt").mkdir()
    others = {"a": "train", "b": "train", "c": "train", "d": "train", "e": "val", "f": "test"}
    more = f"folder:{write_folder(tmp_path / 'mine', others, 'jumps')}"
    store = make_store(tmp_path / "store", [*(f"video{number}" for number in range(6)), *"acdef"])
    root = write_msrvtt(tmp_path / "msrvtt")
    return DataConfig("msrvtt", str(root), more=more, store=str(store), min_count=1)


def test_splits_are_joined_and_each_data_set_is_covered_by_itself(data: DataConfig, tmp_path: Path) -> None:
    opened, lines = run(data)
    opened.store.close()
    dataset = opened.dataset
    assert dataset.name == "MSR-VTT + mine"
    assert dataset.splits == {
        "train": ["video0", "video1", "video2", "a", "c", "d"],
        "val": ["video3", "e"],
        "test": ["video4", "video5", "f"],
    }
    assert dataset.missing == {"train": ["b"], "val": [], "test": []}
    assert (dataset.category["video2"], "a" in dataset.category) == (2, False)
    assert dataset.groups(["e", "video3", "a"]) == [["video3"], ["e", "a"]]
    said = [line.split() for line in lines]
    assert ["MSR-VTT", "train", "3", "3", "0", "6", "100", "%"] in said
    assert ["mine", "train", "4", "3", "1", "3", "75", "%"] in said
    assert "mine train: 1 of 4 videos are missing ('b'); scores do not cover them" in lines
    rows = [json.loads(line) for line in (tmp_path / "store.missing.jsonl").read_text().splitlines()]
    assert rows == [{"split": "train", "id": "b", "dataset": "mine"}]
    with pytest.raises(UserError, match=r"split 'train' of mine: 3 of 4 videos are in .* --data.min_coverage 0.8"):
        run(replace(data, min_coverage=0.8))
    assert captions_read(data, WorldConfig())["video0"] == ["a dog runs 0", "a cat runs 0"]
    assert captions_read(data, WorldConfig())["f"] == ["a f jumps"]


def test_one_data_set_alone_reports_only_itself(data: DataConfig) -> None:
    said = Said()
    opened = open_dataset(data.only("folder-mine"), WorldConfig(), reporter=said, splits=("test",))
    opened.store.close()
    assert (opened.dataset.name, opened.dataset.splits["test"], opened.dataset.parts) == ("mine", ["f"], ())
    assert said.lines == [
        "split  listed  present  missing  captions  share",
        "test        1        1        0         1  100 %",
    ]
    assert data.only(None) == data.only("msrvtt") == replace(data, more=None)
    assert data.only("all") == data
    with pytest.raises(ValueError, match=r"dataset must be one that .* \(msrvtt, folder-mine, all\); got 'msvd'"):
        data.only("msvd")


@pytest.mark.parametrize(("split", "there"), [("train", "train"), ("test", "train"), ("train", "no split")])
def test_a_video_of_two_data_sets_is_refused(split: str, there: str) -> None:
    first = CaptionDataset("one", {"v": ["a cat"]}, {"train": ["v"]} if there == "train" else {"train": []})
    # Missing here, as its clip may be there on another machine.
    second = CaptionDataset("two", {"v": ["a dog"]}, {split: []}, missing={split: ["v"]})
    with pytest.raises(UserError, match=rf"video 'v' is in one \({there}\) and in two \({split}\): a store has one"):
        join_datasets([first, second])


def test_classes_of_two_data_sets_are_not_mixed() -> None:
    parts = [CaptionDataset(name, {}, {"train": [name]}, category={name: 1}) for name in ("one", "two")]
    assert join_datasets(parts).category == {}
    assert join_datasets([parts[0], replace(parts[1], category={})]).category == {"one": 1}


def test_a_split_is_withheld_where_no_data_set_has_its_captions() -> None:
    first = CaptionDataset("one", {}, {"test": ["a"], "private": ["b"]}, unlabelled=("test", "private"))
    second = CaptionDataset("two", {"c": ["a cat"]}, {"test": ["c"]})
    assert list(join_datasets([first, second]).unlabelled) == ["private"]


def test_what_else_is_learned_from_needs_train_and_the_store(data: DataConfig, tmp_path: Path) -> None:
    store = make_store(tmp_path / "other", [f"video{number}" for number in range(6)])
    with pytest.raises(UserError, match=r"none of the videos of mine .*; all data sets share one store, which .*merge"):
        run(replace(data, store=str(store)))
    (tmp_path / "mine" / "captions.csv").write_text("video,caption,split\na,a cat,train\n")
    opened, _ = run(data)
    opened.store.close()
    assert opened.dataset.splits["val"] == ["video3"]
    (tmp_path / "mine" / "captions.csv").write_text("video,caption,split\na,a cat,val\n")
    with pytest.raises(UserError, match="mine has no video of the split 'train', only of val: training needs train;"):
        run(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": "msvd"}, "more must be NAME:ROOT, several with commas, such as msvd:/data/msvd; got 'msvd'"),
        ({"more": "msvd:/a,"}, "more must be NAME:ROOT"),
        ({"more": "msdv:/a"}, "a name in data.more must be one of world, .*; got 'msdv'; did you mean 'msvd'"),
        ({"more": "msrvtt:/a"}, "more must name other data sets than dataset, each once; msrvtt is there twice"),
        ({"more": "folder:/a/b, folder:/c/b"}, "folder-b is there twice"),
        ({"upsample": 2}, "upsample must be null without data.more, of whose videos it is; got 2"),
        ({"more": "msvd:/a", "upsample": 0}, "upsample must be greater than 0, or null; got 0"),
        ({"more": "world:/a"}, "more joins data sets with annotation files, and the world has none"),
        ({"more": "msvd:/a", "dataset": "world"}, "and the world has none"),
        ({"more": "msvd:/a", "dataset": "vatex", "language": "zh"}, "language zh is for vatex and folder; msvd is"),
    ],
)
def test_what_cannot_be_joined_is_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(DataConfig("msrvtt", "/x"), **change)


def test_a_root_that_is_not_there_is_named_before_torch_is_loaded(data: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"could not read {tmp_path}/gone: "):
        check(FitConfig(data=replace(data, more=f"{data.more},msvd:{tmp_path / 'gone'}")))


def test_settings_without_further_data_sets_stay_as_they_were() -> None:
    assert not {"more", "upsample"} & to_dict(DataConfig("msvd", "/x")).keys()
    assert from_dict(DataConfig, {"dataset": "msvd", "root": "/x"}).more is None


def test_videos_of_further_data_sets_can_be_learned_from_more_often(data: DataConfig, tmp_path: Path) -> None:
    config = small(replace(data, upsample=3), tmp_path / "run")
    setup = set_up(config, torch.device("cpu"))
    setup.store.close()
    drawn = Counter(item.video for batch in setup.data.epoch(0) for item in batch for _ in item.captions)
    assert drawn == {"video0": 2, "video1": 2, "video2": 2, "a": 3, "c": 3, "d": 3}
    assert replace(data, upsample=3).only("folder-mine").upsample is None


def small(data: DataConfig, out: Path, **run: object) -> FitConfig:
    return FitConfig(
        data=data,
        model=ModelConfig("scene", channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=1, batch_videos=2),
        run=RunConfig(out=str(out), samples=0, **run),  # type: ignore[arg-type]
    )


def test_a_run_learns_from_all_and_resumes_where_annotations_have_moved(data: DataConfig, tmp_path: Path) -> None:
    config, said = small(data, tmp_path / "run"), Said()
    fit(config, reporter=said)
    assert f"{tmp_path}/run: MSR-VTT + mine, 6 training videos" in "\n".join(said.lines)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["kind"] == "validation"
    assert default_folder(config) == Path("runs/msrvtt-folder-mine-scene-seed0")
    (tmp_path / "new").mkdir()
    (tmp_path / "mine").rename(tmp_path / "new" / "mine")
    moved = replace(data, more=f"folder:{tmp_path / 'new' / 'mine'}")
    fit(small(moved, tmp_path / "run"), reporter=said)
    assert "is finished: best validation" in said.lines[-1]
    for other in (None, f"folder:{tmp_path / 'other'}"):
        with pytest.raises(UserError, match=r"data.more: was 'folder:"):
            TrainingRun(tmp_path / "run", small(replace(data, more=other), tmp_path / "run"))


def test_words_and_references_are_those_of_all(data: DataConfig, tmp_path: Path) -> None:
    setup = set_up(small(data, tmp_path / "run", control="shuffle"), torch.device("cpu"))
    assert {"jumps", "dog"} <= set(setup.trained.vocabulary.words)
    assert list(setup.validation.videos) == ["video3", "e"]
    shuffled = setup.data.source.shuffled
    assert shuffled is not None
    # Features of another video of the same data set.
    assert {shuffled[video] for video in ("a", "c", "d")} == {"a", "c", "d"}
    assert all(video != other for video, other in shuffled.items())
    setup.store.close()
