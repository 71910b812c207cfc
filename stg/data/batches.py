"""Batches of (graphs, captions): each video is read and encoded once for several of its captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from graphs import GraphData, GraphSource
from stg.runtime.distributed import Ranks
from stg.text.vocabulary import PAD


@dataclass(frozen=True)
class CaptionBatch:
    """Some videos and some captions of each.

    Attributes:
        graphs: the flat batch of the ``B`` videos' graphs.
        words: [W L], each caption from ``<bos>`` on, without its last word; padded at the end.
        targets: [W L], the words that follow.
        real: [W L], True where a target is a word and not padding.
        video: [W], the row of the video that each caption describes.
        items: the (video id, caption numbers) behind the batch, for error reports.
        stand_in: whether the batch counts in no loss: it only keeps a process busy that has no part in this step.
        teacher_graphs: the same videos' graphs with the edges of a teacher; None: those of ``graphs``, or no teacher.
    """

    graphs: GraphData
    words: Int[Tensor, "W L"]
    targets: Int[Tensor, "W L"]
    real: Bool[Tensor, "W L"]
    video: Int[Tensor, " W"]
    items: tuple["Item", ...] = ()
    stand_in: bool = False
    teacher_graphs: GraphData | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "CaptionBatch":
        """The same batch on another device; from pinned memory to a GPU, ``non_blocking`` does not wait for it."""
        return self._map(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "CaptionBatch":
        """The same batch where a GPU may fetch it by itself."""
        return self._map(lambda part: part.pin_memory())

    def _map(self, function: Callable[[Any], Any]) -> "CaptionBatch":
        names = ["graphs", "words", "targets", "real", "video"]
        names += ["teacher_graphs"] if self.teacher_graphs is not None else []
        return replace(self, **{name: function(getattr(self, name)) for name in names})


@dataclass(frozen=True)
class Item:
    """One video and the numbers of the captions that are learned together with it."""

    video: str
    captions: tuple[int, ...]


def pad_words(captions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Encoded captions as (words, targets, real), each [W L]; ``L`` is the longest caption of the batch."""
    longest = max(len(caption) for caption in captions) - 1
    words = torch.full((len(captions), longest), PAD)
    targets = torch.full((len(captions), longest), PAD)
    for row, caption in enumerate(captions):
        words[row, : len(caption) - 1] = torch.tensor(caption[:-1])
        targets[row, : len(caption) - 1] = torch.tensor(caption[1:])
    lengths = torch.tensor([len(caption) - 1 for caption in captions])
    return words, targets, torch.arange(longest) < lengths[:, None]


@dataclass(frozen=True)
class BatchSource:
    """Videos in, a flat batch of their graphs out.

    Args:
        graphs: where the graphs are: a store, or graphs in memory.
        variant, time_flow: their edges, see `graphs.select_edges`.
        shuffled: from which video the features of each video are taken (the control); None: from itself.
        category: class of each video, which then goes into the batch (`classes`); it comes from the same video as the
            features. None: batches have none.
        shuffled_edges: whether edges come from other objects (`shuffle_edges`): the control of the graph.
    """

    graphs: GraphSource
    variant: str = "full"
    time_flow: str = "literal"
    shuffled: Mapping[str, str] | None = None
    category: Mapping[str, int] | None = None
    shuffled_edges: bool = False

    def batch(self, videos: Sequence[str]) -> GraphData:
        """The graphs of some videos, in order."""
        sources = [self.shuffled[video] for video in videos] if self.shuffled else list(videos)
        batch = self.graphs.flat_batch(sources, variant=self.variant, time_flow=self.time_flow)
        if self.shuffled_edges:
            shuffle_edges(batch)
        if self.category is not None:
            batch.category = classes(sources, self.category)
        elif "category" in batch:
            # A free field of the store, which has nothing to do with the classes that a decoder reads.
            del batch.category
        return batch


class TrainingSet:
    """The (video, caption) pairs of a split, in an order that is a function of seed and epoch alone (faults D9).

    Args:
        source: where the graphs come from.
        captions: encoded captions of each video; videos without any are left out.
        batch_videos: items in a batch.
        captions_per_video: captions in an item.
        epoch_captions: captions of each video in an epoch, drawn at random; None: all (Pan et al., 2020).
        times: video -> how many times as many captions of it there are in an epoch; those left out: once.
        length_buckets: from 2 on, the items of as many batches are sorted by their longest caption before they are cut
            into batches, which then come in random order: less padding, but captions meet their like alone.
        pinned: batches lie where a GPU may fetch them by itself, while the host computes.
        seed: of the order.
    """

    def __init__(
        self,
        source: BatchSource,
        captions: Mapping[str, Sequence[Sequence[int]]],
        *,
        batch_videos: int = 16,
        captions_per_video: int = 4,
        epoch_captions: int | None = None,
        times: Mapping[str, int] | None = None,
        length_buckets: int = 1,
        pinned: bool = False,
        seed: int = 0,
    ) -> None:
        self.source, self.seed = source, seed
        # A video that no caption is left of would be read for nothing.
        self.captions = {video: list(texts) for video, texts in captions.items() if texts}
        self.batch_videos, self.captions_per_video, self.epoch_captions = (
            batch_videos,
            captions_per_video,
            epoch_captions,
        )
        self.times = times or {}
        self.length_buckets, self.pinned = length_buckets, pinned
        self.teacher_source: BatchSource | None = None
        """Where a teacher's graphs come from, if it reads others than the student."""
        if not self.captions:
            raise ValueError("the training split has no video with a caption: check the captions and the store")

    def epoch(self, number: int) -> list[tuple[Item, ...]]:
        """The batches of one epoch, in order."""
        # Of seed and epoch alone: a resumed run draws the same batches without any saved state.
        order = np.random.default_rng([self.seed, number])
        items = []
        for video, texts in self.captions.items():
            wanted = min(len(texts), self.epoch_captions or len(texts)) * self.times.get(video, 1)
            # A new draw each epoch: with a limit, other captions of the video have their turn. None comes again before
            # all have come.
            rounds = [order.permutation(len(texts)) for _ in range(-(-wanted // len(texts)))]
            chosen = np.concatenate(rounds)[:wanted]
            for start in range(0, len(chosen), self.captions_per_video):
                items.append(Item(video, tuple(int(n) for n in chosen[start : start + self.captions_per_video])))
        shuffled = [items[position] for position in order.permutation(len(items))]
        if self.length_buckets <= 1:
            return _cut(shuffled, self.batch_videos)
        # Sorted inside windows only: over the whole epoch every batch would meet the same neighbours.
        windows = _cut(shuffled, self.length_buckets * self.batch_videos)
        batches = [batch for window in windows for batch in _cut(sorted(window, key=self._longest), self.batch_videos)]
        # Or every epoch would go from short captions to long ones, window by window.
        return [batches[position] for position in order.permutation(len(batches))]

    def _longest(self, item: Item) -> int:
        return max(len(self.captions[item.video][number]) for number in item.captions)

    def load(self, items: Sequence[Item]) -> CaptionBatch:
        """Read the videos of a batch, each once, and pad its captions."""
        # Several items may be of one video: its graph is read and encoded once.
        videos = list(dict.fromkeys(item.video for item in items))
        row = {video: number for number, video in enumerate(videos)}
        graphs = self.source.batch(videos)
        words, targets, real = pad_words(
            [self.captions[item.video][number] for item in items for number in item.captions]
        )
        # The row of each caption's video in ``graphs``: decoders copy a memory only where they must.
        video = torch.tensor([row[item.video] for item in items for _ in item.captions])
        batch = CaptionBatch(graphs, words, targets, real, video, tuple(items))
        if self.teacher_source is not None:
            batch = replace(batch, teacher_graphs=self.teacher_source.batch(videos))
        return batch.pin_memory() if self.pinned else batch


def _cut(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    return [tuple(items[at : at + size]) for at in range(0, len(items), size)]


def load_share(load: Callable[[Sequence[Item]], CaptionBatch], items: Sequence[Item], ranks: Ranks) -> CaptionBatch:
    """What of a batch falls to this process; a stand-in where that is nothing.

    A batch is divided by videos: all that is learned of a video at once is learned by one process.

    Args:
        load: of the whole batch, such as `TrainingSet.load`.
    """
    # By videos and not by items, or two processes would encode the same video.
    mine = set(ranks.shard(list(dict.fromkeys(item.video for item in items))))
    share = [item for item in items if item.video in mine]
    return load(share) if share else replace(load(items[:1]), stand_in=True)


def classes(videos: Sequence[str], category: Mapping[str, int]) -> Int[Tensor, " B"]:
    """The class of each video, -1 where it is not known."""
    return torch.tensor([category.get(video, -1) for video in videos])


def shuffle_features(videos: Sequence[str], seed: int) -> dict[str, str]:
    """The control: each video gets the features of another one, as one cycle through a random order.

    No video keeps its own where there are two or more. What a model scores on such pairs, captions score without any
    picture; a captioner that does not clearly beat it has learned nothing from the videos.
    """
    order = np.random.default_rng([seed, 0x5417]).permutation(len(videos))
    cycle = [videos[position] for position in order]
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def shuffle_groups(groups: Sequence[Sequence[str]], seed: int) -> dict[str, str]:
    """`shuffle_features` in each of several groups of videos."""
    return {video: other for group in groups for video, other in shuffle_features(group, seed).items()}


def controlled(source: BatchSource, control: str, groups: Sequence[Sequence[str]], seed: int) -> BatchSource:
    """What a run reads of some videos, in training and when it is scored.

    Args:
        source: what it reads where it is no control.
        groups: the videos of each data set, which exchange features among themselves: a control may learn which data
            set a video is of, so that it can be scored on each alone.
        control, seed: ``run.control`` and ``run.seed``.
    """
    others = shuffle_groups(groups, seed) if control == "shuffle" else None
    return replace(source, shuffled=others, shuffled_edges=control == "edges")


def shuffle_edges(batch: GraphData) -> None:
    """The control of a graph, in place: each edge comes from an object that its video has at the place of another one.

    Targets, weights and kinds stay. The objects of each video change places by an order that depends on their boxes
    alone, so that a video has the same edges in every batch.
    """
    corner = batch.boxes.double() @ batch.boxes.new_tensor([12.9898, 78.233, 37.719, 93.989]).double()
    # Digits far behind the point: an order without any sense, but always the same.
    order = (corner.sin() * 43758.5453).frac().argsort(stable=True)
    order = order[batch.batch[order].argsort(stable=True)]
    source, target = batch.edge_index
    batch.edge_index = torch.stack([order[source], target])
