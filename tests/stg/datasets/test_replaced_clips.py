"""Clips that were replaced after their extraction, wherever they are used again."""

import dataclasses
import os
from pathlib import Path

import pytest

from graphs import GraphStore, build_graph
from stg.commands.glimpses import clips_by_id, glimpses
from stg.config.data import DataConfig, WorldConfig
from stg.config.training import FitConfig
from stg.datasets.open import open_dataset
from stg.features.log import ExtractionLog
from stg.runtime.stamps import read_of
from stg.video.clip import ClipRequest
from stg.video.readers import Readers
from tests.stg.conftest import made_video
from tests.stg.make_clips import grey_frames, write_clip
from tests.stg.said import Said


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """A folder of three clips and their captions, with a store that knows the clips by their hashes."""
    root = tmp_path / "clips"
    root.mkdir()
    rows = "".join(
        f"{name}.mp4,a dog runs,{split}\n" for name, split in zip("abc", ("train", "val", "test"), strict=True)
    )
    (root / "captions.csv").write_text("video,caption,split\n" + rows)
    log = ExtractionLog(tmp_path / "store")
    with GraphStore(tmp_path / "store", "w") as store:
        for number, name in enumerate("abc"):
            store.put(name, build_graph(dataclasses.replace(made_video(number, [2, 1]), video=name)))
            with open(write_clip(root / f"{name}.mp4", grey_frames(12)), "rb") as file:
                log.note({"id": name} | read_of(file).row())
    return DataConfig(dataset="folder", root=str(root), store=str(tmp_path / "store"))


def replace_clip(data: DataConfig, name: str) -> Path:
    """Another clip of the same number of frames, of the same size."""
    return write_clip(Path(str(data.root)) / f"{name}.mp4", grey_frames(12)[::-1])


def lines(data: DataConfig, *splits: str) -> list[str]:
    said = Said()
    open_dataset(data, WorldConfig(), reporter=said, splits=splits).store.close()
    return [line for line in said.lines if line.startswith("warning:")]


def test_training_warns_of_features_of_former_clips(data: DataConfig) -> None:
    assert lines(data) == []
    clip = replace_clip(data, "a")
    (line,) = lines(data)
    assert line.startswith(f"warning: 1 clip is not what was read for the store ('a': {clip} has ")
    assert "its features are those of before; extract --refresh makes them anew" in line
    # Of the splits that are read, and no others.
    assert lines(data, "test") == []
    assert len(lines(data, "train")) == 1
    clip.unlink()
    assert lines(data) == []


def test_a_copy_of_a_clip_is_the_same_and_hashed_once(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Path(str(data.root)) / "a.mp4"
    os.utime(clip, (1, 1))
    assert lines(data) == []
    monkeypatch.setattr("stg.features.log.sha256_file", lambda path: "of another file")
    assert lines(data) == []


def test_the_page_of_a_run_shows_no_former_pictures(data: DataConfig) -> None:
    said, settings = Said(), FitConfig(data=data)
    with Readers(ClipRequest(4), workers=0) as readers:
        clips = clips_by_id(str(data.root), False, said)
        frames = glimpses(settings, clips, 4, readers, said)
        assert frames is not None
        assert len(frames("a")) == 4
        clip = replace_clip(data, "a")
        assert frames("a") == ()
        assert said.lines[-1].startswith(f"no pictures of a: {clip} has ")
        assert "is not the clip that was read for the store" in said.lines[-1]
        assert len(frames("b")) == 4
