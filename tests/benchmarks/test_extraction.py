"""The rivals that turn clips into stores: the same records, and a difference is told."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.extraction import check, contestants, made_clips, pipeline, plain
from graphs import GraphStore
from stg.config.extraction import SamplingConfig
from stg.datasets.world.dataset import World
from stg.features.extractor import Extractor
from stg.video.readers import Readers


@pytest.fixture(scope="module")
def world() -> World:
    return World(train=2, val=0, test=0, frames=20)


@pytest.fixture(scope="module")
def clips(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made_clips(world, tmp_path_factory.mktemp("clips"))


def test_rivals_write_the_same_records(world: World, clips: dict[str, Path], tmp_path: Path) -> None:
    extractor = Extractor(world.detector(), world.backbone())
    with ExitStack() as stack:
        rivals = contestants(clips, extractor, tmp_path, stack)
        del rivals["two processes"]  # one process is tested; a second tells nothing more here
        check(rivals)
        with GraphStore(rivals["plain loop"]()) as store:
            assert sorted(store.keys()) == ["train-00000", "train-00001"]


def test_another_record_is_told(world: World, clips: dict[str, Path], tmp_path: Path) -> None:
    extractor = Extractor(world.detector(), world.backbone())
    lower = Extractor(world.detector(), world.backbone(), SamplingConfig(threshold=0.1, max_objects=1))
    some = {video: clips[video] for video in ["train-00000"]}

    def ours() -> Path:
        with Readers(extractor.request(), 0) as readers:
            return pipeline(clips, extractor, readers, tmp_path / "ours.store")

    with pytest.raises(AssertionError, match="plain and ours stored different videos"):
        check({"ours": ours, "plain": lambda: plain(some, extractor, tmp_path / "some.store")})
    (tmp_path / "ours.store").unlink()
    with pytest.raises(AssertionError, match="plain and ours stored different records of train-00000"):
        check({"ours": ours, "plain": lambda: plain(clips, lower, tmp_path / "lower.store")})
