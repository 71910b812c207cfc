"""A clip unlike the training data is said: in the terminal, in JSON, on pages and in Python."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import stg
from stg.captioning import ClipCaption, UnlikeTraining
from stg.commands.caption import main
from stg.commands.parser import run_command
from stg.config.captioning import JSON_HELP, CaptionConfig
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.world.dataset import World
from stg.datasets.world.extractor import unlike_world, world_extractor
from stg.features.manifest import Manifest
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.clips import view_of_clip
from stg.runtime.errors import UserError
from stg.training.loop import fit
from stg.video.decoding import SampledFrames

WORLD = World(train=3, val=1, test=1)
UNLIKE = (
    "unlike the training data, the built-in world alone (60 frames of 96x96 at 12 a second; this clip has 60 of "
    "64x64 at 12)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the world, a video of this world, and one of another size."""
    folder = tmp_path_factory.mktemp("unlike")
    WORLD.write_mp4("test-00000", folder / "test-00000.mp4")
    dataclasses.replace(WORLD, size=64).write_mp4("test-00000", folder / "größer.mp4")
    config = FitConfig(
        data=DataConfig(store=str(folder / "store"), min_count=1),
        world=WorldConfig(train=3, val=1, test=1),
        model=ModelConfig(branches="scene", channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(epochs=1, epoch_captions=1),
        run=RunConfig(out=str(folder / "run"), samples=0),
    )
    fit(config)
    return folder


def test_terminal_and_json_say_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, own = folder / "größer.mp4", folder / "test-00000.mp4"
    again = folder / "again.mp4"
    again.write_bytes(other.read_bytes())
    words = [*map(str, (other, own, again)), "--model", str(folder / "run"), "--workers", "0", "--beam", "1"]
    assert run_command(CaptionConfig, main, "", words) == 0
    said = capsys.readouterr()
    assert said.err == f"warning: {other} is {UNLIKE}\n"
    notes = [line.rpartition("(")[2].partition(" s")[2] for line in said.out.splitlines()]
    assert notes == [", unlike the training data)", ")", ", unlike the training data)"]
    assert run_command(CaptionConfig, main, "", [*words, "--json"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row.get("warning") for row in rows] == [UNLIKE, None, UNLIKE]
    assert "größer.mp4" in said.out


def test_python_warns_and_pages_have_a_note(folder: Path) -> None:
    other, own = folder / "größer.mp4", folder / "test-00000.mp4"
    model = stg.load(folder / "run", beam=1, device="cpu")
    assert model.caption(own) == model.describe(own).caption
    with pytest.warns(UnlikeTraining) as warned:
        model.caption(other)
    assert [str(one.message) for one in warned] == [f"{other} is {UNLIKE}"]
    found = model.describe(other)
    assert found.warning == UNLIKE
    with page_readers() as readers:
        assert f"This clip is {UNLIKE}." in view_of_clip(found, readers).notes
        assert not any("unlike" in note for note in view_of_clip(model.describe(own), readers).notes)


@pytest.mark.parametrize(
    ("size", "frames", "fps", "cut", "said"),
    [
        (96, 60, 12.0, False, False),
        (96, 41, 12.0, True, False),  # a note of its own says that it is cut short
        (96, 61, 12.0, False, True),
        (96, 60, 25.0, False, True),
        (128, 60, 12.0, False, True),
    ],
)
def test_a_video_of_the_world_is_known_by_size_length_and_rate(
    size: int, frames: int, fps: float, cut: bool, said: bool
) -> None:
    sample = SampledFrames("a", np.zeros((2, size, size, 3), np.uint8), np.arange(2), frames, fps, truncated=cut)
    manifest = {"backbone": {"name": "world-backbone"}, "detector": {"world": WORLD.manifest()}}
    assert (unlike_world(manifest, sample) is not None) == said
    assert unlike_world({"backbone": {"name": "resnet18", "weights": "r.pth"}}, sample) is None


def test_what_differs_is_named() -> None:
    manifest = {"backbone": {"name": "world-backbone"}, "detector": {"world": WORLD.manifest()}}
    sample = SampledFrames("a", np.zeros((2, 96, 96, 3), np.uint8), np.arange(2), 60, 30000 / 1001)
    assert unlike_world(manifest, sample) == (
        "unlike the training data, the built-in world alone (60 frames of 96x96 at 12 a second; this clip has 60 of "
        "96x96 at 29.97)"
    )


def test_the_help_of_json_names_every_field_that_it_prints() -> None:
    fields = {item.name for item in dataclasses.fields(ClipCaption)} - {"seen"}
    assert not [name for name in fields if name not in JSON_HELP]


@pytest.mark.parametrize("reads", [["objects"], ["scene", "objects"]])
def test_a_model_that_reads_objects_of_the_world_says_what_captions_clips_instead(reads: list[str]) -> None:
    """The world's detector knows the objects of its own videos by their numbers: it cannot see any in a clip."""
    with pytest.raises(UserError) as caught:
        world_extractor(Manifest({"backbone": {"name": "world-backbone"}}), reads)
    for words in (
        "whose detector knows only the world's own videos",
        "stg.report RUN --split test",
        "--model.branches full or scene",
    ):
        assert words in str(caught.value)
