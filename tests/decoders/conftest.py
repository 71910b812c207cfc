"""Double precision for every decoder test, and memories that carry everything a decoder may ask for."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import jaxtyping
import pytest
import torch

from decoders.memory import VideoMemory

MakeMemory = Callable[..., VideoMemory]


@pytest.fixture(autouse=True)
def _in_double_precision(double_precision: None) -> None:
    pass


@pytest.fixture
def make_memory() -> MakeMemory:
    """Random memory of ragged videos: video b has ``F - b`` real frames, at least one."""

    def make(videos: int = 3, frames: int = 5, channels: int = 16, regions: int = 2, seed: int = 1) -> VideoMemory:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        real = torch.arange(frames) < (frames - torch.arange(videos)).clamp(min=1)[:, None]
        return VideoMemory(
            frames=normal(videos, frames, channels),
            frame_mask=real,
            regions=normal(videos, frames, regions, channels),
            region_mask=real[:, :, None].expand(-1, -1, regions).clone(),
            clip=normal(videos, channels),
            motion=normal(videos, frames, channels),
            grid=normal(videos, 3, 4, channels),
            grid_mask=torch.arange(3) < (3 - torch.arange(videos)).clamp(min=1)[:, None],
            category=torch.arange(videos) - 1,
            objects=normal(videos, 4, channels),
            object_mask=torch.arange(4) < (2 + torch.arange(videos))[:, None],
        )

    return make


@pytest.fixture
def memory(make_memory: MakeMemory) -> VideoMemory:
    """Ragged videos whose regions have gaps: a slot here, a whole frame in the middle of the first there."""
    memory = make_memory(regions=3)
    mask = memory.region_mask & (torch.rand(3, 5, 3) < 0.7)
    mask[:, 0, 1], mask[0, 2] = True, False
    return replace(memory, regions=memory.regions.masked_fill(~mask[..., None], torch.nan), region_mask=mask)


@pytest.fixture
def without_annotations() -> Iterator[None]:
    """Leave annotations unchecked, as for a user, so that the library's own errors speak."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
