"""Small made graphs and batches for the tests of the captioner."""

from typing import Any

import pytest


def made_video(seed: int, counts: list[int], *, motion: bool = True, width: int = 6) -> Any:
    """A video with ``counts[t]`` random objects in frame t, two motion rows, and scene features."""
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
        motion=torch.randn(2, 4, generator=random) if motion else None,
        motion_row=torch.arange(frames) * 2 // frames if motion else None,
        video=f"v{seed}",
    )


def made_batch(videos: list[Any]) -> Any:
    """The flat batch that a store would hand out."""
    import torch
    from torch_geometric.data import Batch

    from graphs import build_graph

    batch = Batch.from_data_list([build_graph(video) for video in videos])
    if videos[0].motion is not None:
        rows = torch.tensor([0] + [len(video.motion) for video in videos if video.motion is not None])
        batch.motion_ptr = rows.cumsum(0)
    return batch


@pytest.fixture
def caption_batch() -> Any:
    """Three videos, one of them without any object, and five captions."""
    import torch

    from stg.data import CaptionBatch, pad_words
    from stg.text import BOS, EOS

    videos = [made_video(1, [2, 1, 3]), made_video(2, [0, 0, 0]), made_video(3, [1, 0, 2])]
    captions = [[BOS, 4, 5, EOS], [BOS, 6, EOS], [BOS, 7, 8, 9, EOS], [BOS, 4, EOS], [BOS, 9, 9, EOS]]
    words, targets, real = pad_words(captions)
    return CaptionBatch(made_batch(videos), words, targets, real, torch.tensor([0, 0, 1, 2, 2]))
