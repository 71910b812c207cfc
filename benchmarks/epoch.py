"""An epoch on features of frames, beside the loop that is usually written.

Both learn two captions of each video, 32 captions a batch as in the preset ``stg_msrvtt``, with the same weights at the
start. The rival reads a pickled ``Data`` a video through PyG's ``DataLoader``, one video for each caption, pads every
caption to 30 words, predicts words at pads too, and takes Adam as torch has it by default. Ours are store, prefetching,
grouping and step of `stg.fit`. Neither has dropout, a loss on words, clipping or a schedule. Sizes are those of the
captioner that comes along: ten frames of 1280 features, 192 channels, 4,106 words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from benchmarks.growth_work import epoch, made_captions, names
from benchmarks.training_ladder import PADDED
from graphs import FlatBatch, GraphStore, VideoFeatures, flat_graph
from stg.config.model import GraphConfig, ModelConfig
from stg.data.batches import BatchSource, TrainingSet
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.text.vocabulary import PAD
from stg.training.losses import captioning_losses

FRAMES, BATCH, CAPTIONS, RATE = 10, 32, 2, 7e-4


@dataclass(frozen=True)
class Size:
    """How large the model and the features are."""

    channels: int = 192
    features: int = 1280
    vocabulary: int = 4106


SMALL = Size(channels=16, features=8, vocabulary=600)


def made_video(features: int) -> FlatBatch:
    """A video of frames alone, no object found."""
    return flat_graph(
        VideoFeatures(
            boxes=torch.zeros(0, 4),
            objects=torch.zeros(0, 1),
            frame=torch.zeros(0, dtype=torch.int64),
            num_frames=FRAMES,
            # Exact in half precision, so that both read the same numbers.
            scene=torch.randn(FRAMES, features).half().float(),
        )
    )


class Pairs(Dataset[Data]):
    """Each caption with the pickled graph of its video."""

    def __init__(self, folder: Path, captions: dict[str, list[list[int]]]) -> None:
        self.folder = folder
        self.pairs = [(video, caption) for video, several in captions.items() for caption in several]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> Data:
        video, caption = self.pairs[place]
        data: Data = torch.load(self.folder / f"{video}.pt", weights_only=False)
        padded = torch.full((1, PADDED + 1), PAD)
        padded[0, : len(caption)] = torch.tensor(caption)
        data.caption = padded
        return data


class Epochs:
    """One epoch by either way.

    Args:
        folder: where a store and pickled graphs of the same videos are made.
        videos: how many.
        size: of the model and the features.
    """

    def __init__(self, folder: Path, videos: int, size: Size) -> None:
        torch.manual_seed(0)
        vocabulary, texts = made_captions(names(videos))
        encoded = {video: [vocabulary.encode(text) for text in several] for video, several in texts.items()}
        self.captions = {video: several[:CAPTIONS] for video, several in encoded.items()}
        self.pairs, self.size = Pairs(folder, self.captions), size
        self.store = folder / "frames.store"
        with GraphStore(self.store, "w") as store:
            for video in self.captions:
                graph = made_video(self.size.features)
                store.put(video, graph)
                torch.save(graph.to_data(), folder / f"{video}.pt")

    def model(self) -> Captioner:
        """The same weights each time."""
        torch.manual_seed(0)
        channels = self.size.channels
        return build_captioner(
            ModelConfig(branches="scene", channels=channels, hidden=2 * channels, dropout=0.0),
            GraphConfig(),
            widths=FeatureWidths(scene=self.size.features, motion=0, objects=1),
            vocabulary=self.size.vocabulary,
            max_words=PADDED,
        )

    def rivals(self) -> dict[str, Callable[[], int]]:
        """Both ways, each with a model of its own; they return how many videos or captions were learned."""
        return {
            "ours": partial(self.ours, self.model()),
            "pickled Data, padded captions": partial(self.usual, self.model()),
        }

    def ours(self, model: Captioner) -> int:
        """An epoch as `stg.fit` does it."""
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
        with GraphStore(self.store) as store:
            return epoch(store, self.captions, model, optimiser)

    def usual(self, model: Captioner) -> int:
        """An epoch as it is usually written."""
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
        learned = 0
        for data in DataLoader(self.pairs, batch_size=BATCH, shuffle=True):
            optimiser.zero_grad()
            usual_loss(model, data).backward()
            optimiser.step()
            learned += len(data.caption)
        return learned


def usual_loss(model: Captioner, data: Data) -> Tensor:
    """Words predicted at every position; those at pads are left out of the mean."""
    memory, words = model.encode(data).scene, data.caption
    logits = model.scene_decoder(words[:, :-1], memory, torch.arange(len(words)))
    return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=PAD)


def check(epochs: Epochs) -> None:
    """Of one batch both find the same loss and the same gradients, and both have as many captions in a batch.

    Raises:
        AssertionError: they differ.
    """
    model = epochs.model()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with GraphStore(epochs.store) as store:
        data = TrainingSet(BatchSource(store), epochs.captions)
        if data.batch_videos * CAPTIONS != BATCH:
            raise AssertionError(f"epoch: ours does not learn {BATCH} captions a step, as the rival does")
        items = data.epoch(0)[0]
        ours = captioning_losses(model, data.load(items))["loss"]
    same = {item.video: [epochs.captions[item.video][number] for number in item.captions] for item in items}
    pairs = Pairs(epochs.pairs.folder, same)
    theirs = usual_loss(model, Batch.from_data_list([pairs[place] for place in range(len(pairs))]))
    found = [
        (ours, theirs),
        *zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True),
    ]
    for mine, other in found:
        if not torch.allclose(mine, other, rtol=1e-4, atol=1e-6):
            raise AssertionError(f"epoch: loss or gradient differ by {(mine - other).abs().max().item():.2e}")
