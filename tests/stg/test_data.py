"""Batches: order, grouping, padding, the shuffled control."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from graphs import GraphStore
from stg.data import Item, TrainingSet, pad_words, shuffle_features
from stg.text import BOS, EOS, PAD


class Recorder(GraphStore):
    """Stands for a store: remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str, str]] = []

    def batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> Any:
        from torch_geometric.data import Data

        self.asked.append((list(videos), variant, time_flow))
        return Data(num_frames=torch.ones(len(videos), dtype=torch.long))


def captions(videos: int = 7, each: int = 5) -> dict[str, list[list[int]]]:
    return {f"v{v}": [[BOS, *range(4, 4 + (v + c) % 3 + 1), EOS] for c in range(each)] for v in range(videos)}


def make(**settings: Any) -> TrainingSet:
    store: Any = Recorder()
    return TrainingSet(store, captions(), **{"batch_videos": 3, "captions_per_video": 2, "seed": 1, **settings})


def pairs(batches: list[tuple[Item, ...]]) -> list[tuple[str, int]]:
    return [(item.video, number) for batch in batches for item in batch for number in item.captions]


def test_an_epoch_holds_every_pair_once() -> None:
    data = make()
    batches = data.epoch(0)
    every = [(video, n) for video, texts in captions().items() for n in range(len(texts))]
    assert sorted(pairs(batches)) == sorted(every)
    assert all(len(batch) == 3 for batch in batches[:-1])
    assert all(len(item.captions) <= 2 for batch in batches for item in batch)


def test_fewer_captions_an_epoch_are_drawn_anew_each_time() -> None:
    data = make(epoch_captions=2)
    drawn = [sorted(pairs(data.epoch(epoch))) for epoch in range(6)]
    assert all(len(found) == 14 for found in drawn)
    assert len({tuple(found) for found in drawn}) == 6


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = [make().epoch(epoch) for epoch in range(3)]
    data = make()
    data.epoch(2)
    torch.manual_seed(5)
    assert [data.epoch(epoch) for epoch in range(3)] == first
    assert first[0] != first[1]
    assert make(seed=2).epoch(0) != first[0]


def test_each_video_of_a_batch_is_read_once_for_all_its_captions() -> None:
    data = make(variant="spatial", time_flow="both")
    batch = data.load([Item("v1", (0, 1)), Item("v2", (3,)), Item("v1", (4,))])
    store: Any = data.store
    assert store.asked == [(["v1", "v2"], "spatial", "both")]
    assert batch.video.tolist() == [0, 0, 1, 0]
    assert len(batch.words) == 4


def test_words_are_shifted_by_one_and_padded_to_the_longest_of_the_batch() -> None:
    words, targets, real = pad_words([[BOS, 7, 8, EOS], [BOS, 9, EOS]])
    assert words.tolist() == [[BOS, 7, 8], [BOS, 9, PAD]]
    assert targets.tolist() == [[7, 8, EOS], [9, EOS, PAD]]
    assert real.tolist() == [[True, True, True], [True, True, False]]


def test_the_control_reads_other_videos_features() -> None:
    videos = [f"v{v}" for v in range(7)]
    source = shuffle_features(videos, seed=3)
    assert sorted(source) == sorted(source.values()) == videos
    assert all(video != other for video, other in source.items())
    assert shuffle_features(videos, seed=3) == source
    assert shuffle_features(videos, seed=4) != source
    assert shuffle_features(["only"], seed=0) == {"only": "only"}
    data = make(source=source)
    data.load([Item("v1", (0,))])
    store: Any = data.store
    assert store.asked[0][0] == [source["v1"]]


def test_videos_without_captions_are_left_out_and_none_at_all_is_refused() -> None:
    store: Any = Recorder()
    assert list(TrainingSet(store, {"a": [], "b": [[BOS, 4, EOS]]}).captions) == ["b"]
    with pytest.raises(ValueError, match="training split has no video with a caption"):
        TrainingSet(store, {"a": []})
