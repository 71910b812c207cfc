"""Small made graphs and batches for the tests of the captioner."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from stg.video import readers


@pytest.fixture(autouse=True)
def quick_readers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that read clips start at once; in `test_readers.py` they start as they do for users."""
    if request.path.name != "test_readers.py":
        monkeypatch.setattr(readers, "python", lambda: request.getfixturevalue("python"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; where there is none, tests that ask for it are skipped."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs a browser: no chromium on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def made_video(
    seed: int,
    counts: list[int],
    *,
    motion: bool = True,
    width: int = 6,
    rows: int = 2,
    grid: bool = False,
    heard: list[bool] | None = None,
) -> Any:
    """A video with ``counts[t]`` random objects in frame t and scene features.

    Args:
        rows: of motion, and of the grid of three places, where there is one.
        heard: whether there is something in each stretch of the sound; None: no sound features.
    """
    import torch

    from graphs import VideoFeatures

    random = torch.Generator().manual_seed(seed)
    total, frames = sum(counts), len(counts)
    corner = 50 * torch.rand(total, 2, generator=random)
    return VideoFeatures(
        boxes=torch.cat([corner, corner + 20], 1),
        objects=torch.randn(total, width, generator=random),
        frame=torch.repeat_interleave(torch.arange(frames), torch.tensor(counts)),
        num_frames=frames,
        scene=torch.randn(frames, 5, generator=random),
        motion=torch.randn(rows, 4, generator=random) if motion else None,
        motion_row=torch.arange(frames) * rows // frames if motion else None,
        grid=torch.randn(rows, 3, 7, generator=random) if grid else None,
        audio=torch.randn(len(heard), 8, generator=random) if heard is not None else None,
        audio_mask=torch.tensor(heard, dtype=torch.bool) if heard is not None else None,
        video=f"v{seed}",
    )


def made_batch(videos: list[Any], categories: list[int] | None = None) -> Any:
    """The flat batch that a store would hand out, with the classes of the videos where given."""
    import torch
    from torch_geometric.data import Batch

    from graphs import build_graph

    batch = Batch.from_data_list([build_graph(video) for video in videos])
    for pointer, name in (("motion_ptr", "motion"), ("audio_ptr", "audio")):
        if getattr(videos[0], name) is not None:
            batch[pointer] = torch.tensor([0] + [len(getattr(video, name)) for video in videos]).cumsum(0)
    if categories is not None:
        batch.category = torch.tensor(categories)
    return batch


CAPTIONS = [[1, 4, 5, 2], [1, 6, 2], [1, 7, 8, 9, 2], [1, 4, 2], [1, 9, 9, 2]]
"""Words between the first (1) and the last (2) one."""


def rich_videos() -> list[Any]:
    """The videos of `rich_batch`."""
    return [
        made_video(1, [2, 0, 3, 1], rows=3, grid=True, heard=[True]),
        made_video(2, [0, 0], rows=2, grid=True, heard=[]),
        made_video(3, [1, 4, 2], rows=1, grid=True, heard=[False, True, True, False]),
    ]


@pytest.fixture
def caption_batch() -> Any:
    """Three videos, one of them without any object, and five captions."""
    import torch

    from stg.data.batches import CaptionBatch, pad_words

    videos = [made_video(1, [2, 1, 3]), made_video(2, [0, 0, 0]), made_video(3, [1, 0, 2])]
    words, targets, real = pad_words(CAPTIONS)
    return CaptionBatch(made_batch(videos), words, targets, real, torch.tensor([0, 0, 1, 2, 2]))


@pytest.fixture
def rich_batch() -> Any:
    """Three videos of unlike lengths with every kind of feature, and five captions.

    The first has a frame without objects, the second nothing but scene features and two motion rows, the third sound of
    which half is heard.
    """
    import torch

    from stg.data.batches import CaptionBatch, pad_words

    words, targets, real = pad_words(CAPTIONS)
    return CaptionBatch(made_batch(rich_videos(), [2, -1, 0]), words, targets, real, torch.tensor([0, 0, 1, 2, 2]))
