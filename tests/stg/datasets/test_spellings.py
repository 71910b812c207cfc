"""One name in two spellings, composed and decomposed letters, is one video in clips, features, captions and stores."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from graphs import GraphStore, build_graph
from stg.config.data import DataConfig, WorldConfig
from stg.datasets.folder import read_folder
from stg.datasets.open import open_dataset
from stg.evaluation.predictions import read_captions
from stg.features.precomputed.files import FolderSource, Hdf5Source
from stg.runtime.errors import UserError
from stg.runtime.reading import Spellings, require_id
from stg.video.clips import find_clips
from stg.video.decoding import video_id
from tests.stg.conftest import made_video
from tests.stg.said import Said

COMPOSED = "caf\u00e9"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
NAMES = (COMPOSED, "\u00dcbung", "na\u00efve")


def folder_of(root: Path, keys: list[str], rows: str) -> DataConfig:
    root.mkdir(exist_ok=True)
    (root / "captions.csv").write_text("video,caption,split\n" + rows, encoding="utf-8")
    with GraphStore(root / "store", "w") as store:
        for number, key in enumerate(keys):
            store.put(key, build_graph(replace(made_video(number, [2, 1]), video=key)))
    return DataConfig(dataset="folder", root=str(root), store=str(root / "store"))


def test_two_spellings_are_one_id_wherever_ids_are_made(tmp_path: Path) -> None:
    assert DECOMPOSED != COMPOSED
    assert video_id(f"x/{DECOMPOSED}.mp4") == require_id(DECOMPOSED, "here") == COMPOSED
    np.save(tmp_path / f"{DECOMPOSED}.npy", np.ones((2, 3), np.float32))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file[DECOMPOSED] = np.ones((2, 3), np.float32)
    for source in FolderSource(tmp_path), Hdf5Source(tmp_path / "f.h5"):
        assert list(source) == [COMPOSED]
        assert source.read(COMPOSED).shape == (2, 3)
        source.close()
    (tmp_path / "a.json").write_text(json.dumps({DECOMPOSED: "a dog"}))
    (tmp_path / "b.json").write_text(json.dumps([{"image_id": DECOMPOSED, "caption": "a dog"}]))
    assert read_captions(tmp_path / "a.json") == read_captions(tmp_path / "b.json") == {COMPOSED: ["a dog"]}


def test_a_clash_of_spellings_is_refused(tmp_path: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        np.save(tmp_path / f"{name}.npy", np.ones((2, 3), np.float32))
        (tmp_path / f"{name}.mp4").touch()
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file[COMPOSED] = file[DECOMPOSED] = np.ones((2, 3), np.float32)
    (tmp_path / "a.json").write_text(json.dumps({COMPOSED: "a dog", DECOMPOSED: "a cat"}))
    with pytest.raises(UserError, match="holds two files of video 'café', spelt unlike"):
        FolderSource(tmp_path)
    with pytest.raises(UserError, match="two clips would have the id 'café'"):
        find_clips((str(tmp_path),))
    with pytest.raises(UserError, match=r"f\.h5 holds a video under two spellings of its name"):
        Hdf5Source(tmp_path / "f.h5")
    with pytest.raises(UserError, match=r"a\.json holds captions of one video under two spellings"):
        read_captions(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"S holds video 'café' in several spellings \('caf\\xe9', 'cafe\\u0301'\)"):
        Spellings([COMPOSED, DECOMPOSED], "S")(COMPOSED)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_captions_find_the_graphs_of_a_store_in_either_spelling(tmp_path: Path, form: str) -> None:
    """A store of an earlier version may hold decomposed letters."""
    keys = [unicodedata.normalize(form, name) for name in NAMES]
    splits = ("train", "val", "train")
    for other in ("NFC", "NFD"):
        named = [unicodedata.normalize(other, name) for name in NAMES]
        rows = "".join(f" {name}.mp4 ,a dog runs,{split}\n" for name, split in zip(named, splits, strict=True))
        said = Said()
        opened = open_dataset(folder_of(tmp_path / other, keys, rows), WorldConfig(), reporter=said)
        assert opened.dataset.splits == {"train": [keys[0], keys[2]], "val": [keys[1]]}
        assert opened.dataset.captions[keys[0]] == ["a dog runs"]
        assert opened.store.batch(opened.dataset.splits["val"]).videos == [keys[1]]
        assert not any("missing" in line for line in said.lines[1:])
        opened.store.close()


def test_blanks_around_a_name_are_not_part_of_it(tmp_path: Path) -> None:
    rows = " a.mp4,a dog runs,train\nb\u00a0,a cat runs,val\n"
    assert read_folder(Path(folder_of(tmp_path, ["a"], rows).root or "")).splits == {"train": ["a"], "val": ["b"]}
    spelt = Spellings([" a", "b", "b "], "S")
    assert (spelt("a"), spelt("b"), spelt("b "), spelt("c")) == (" a", "b", "b ", "c")


def test_a_training_on_few_of_the_videos_is_said_loudly_and_once_with_near_names(tmp_path: Path) -> None:
    splits = {"One": "train", "two": "train", "three": "train", "V": "val", "x": "val", "w": "val"}
    rows = "".join(f"{name},a dog runs,{split}\n" for name, split in splits.items())
    said = Said()
    data = folder_of(tmp_path, ["one1", "two", "v2", "w"], rows)
    open_dataset(data, WorldConfig(), reporter=said).store.close()
    assert said.lines[-1] == (
        f"warning: only 2 of the 6 videos of train, val have a graph in {tmp_path / 'store'}, and 2 graphs there are "
        "named by no caption ('one1', 'v2'): check the names ('One' may be 'one1', 'V' may be 'v2'); where so few are "
        "meant, say so by --data.min_coverage"
    )
    assert sum("check the names" in line for line in said.lines) == 1
    # Coverage that is given has been thought of.
    said = Said()
    open_dataset(replace(data, min_coverage=0.2), WorldConfig(), reporter=said).store.close()
    assert any(line.startswith("train: 2 of 3 videos are missing") for line in said.lines)
    assert not any("names" in line for line in said.lines[1:])


def test_a_part_of_an_annotation_is_no_matter_of_names(tmp_path: Path) -> None:
    rows = "".join(f"{name},a dog runs,{split}\n" for name, split in (("a", "train"), ("b", "train"), ("c", "train")))
    said = Said()
    data = folder_of(tmp_path, ["a", "v"], rows + "v,a cat runs,val\n")
    open_dataset(data, WorldConfig(), reporter=said).store.close()
    assert any(line.startswith("train: 2 of 3 videos are missing ('b', 'c')") for line in said.lines)
    assert not any("names" in line for line in said.lines[1:])
