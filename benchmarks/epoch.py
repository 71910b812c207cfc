"""An epoch on features of still frames, as MSR-VTT's are, beside the loop that most code has.

Both learn the same captions, two of each video, with the same weights at the start and the same size of batch: 64
captions. The rival reads a pickled ``Data`` a video through PyG's ``DataLoader``, one video for each caption, pads
every caption to 30 words, predicts words at pads too, and takes Adam as torch has it by default. Ours is what `stg.fit`
does: a store, a video once for both captions, the vocabulary at real words.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from benchmarks.growth_work import made_captions, names
from benchmarks.training_ladder import PADDED
from graphs import FlatBatch, GraphStore, VideoFeatures, flat_graph
from stg.config.model import GraphConfig, ModelConfig
from stg.data.batches import BatchSource, TrainingSet
from stg.data.prefetch import prefetch
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.text.vocabulary import PAD
from stg.training.losses import captioning_losses
from stg.training.step import train_step

FRAMES, BATCH, CAPTIONS = 10, 64, 2
Losses = list[tuple[float, int]]
"""The loss of each batch, and how many words it is the mean of."""


def made_still(width: int) -> FlatBatch:
    """A video of frames alone, no object found."""
    return flat_graph(
        VideoFeatures(
            boxes=torch.zeros(0, 4),
            objects=torch.zeros(0, 1),
            frame=torch.zeros(0, dtype=torch.int64),
            num_frames=FRAMES,
            # Exact in half precision, so that both read the same numbers.
            scene=torch.randn(FRAMES, width).half().float(),
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
    """One epoch by either way, on videos in a folder.

    Args:
        folder: where store and pickled graphs are made.
        videos: how many.
        channels, width: of the model, and of the features.
    """

    def __init__(self, folder: Path, videos: int, channels: int = 192, width: int = 1408) -> None:
        torch.manual_seed(0)
        vocabulary, texts = made_captions(names(videos))
        encoded = {video: [vocabulary.encode(text) for text in several] for video, several in texts.items()}
        self.captions = {video: several[:CAPTIONS] for video, several in encoded.items()}
        self.folder, self.channels, self.width = folder, channels, width
        # As many words as the captioner of the installation knows.
        self.vocabulary = max(len(vocabulary), 4106 if channels == 192 else 0)
        with GraphStore(folder / "stills.store", "w") as store:
            for video in self.captions:
                graph = made_still(width)
                store.put(video, graph)
                torch.save(graph.to_data(), folder / f"{video}.pt")

    def model(self) -> Captioner:
        """The same weights each time."""
        torch.manual_seed(0)
        settings = ModelConfig(branches="scene", channels=self.channels, hidden=2 * self.channels, dropout=0.0)
        widths = FeatureWidths(scene=self.width, motion=0, objects=1)
        return build_captioner(settings, GraphConfig(), widths=widths, vocabulary=self.vocabulary, max_words=PADDED)

    def rivals(self) -> dict[str, Callable[[], Losses]]:
        """Both ways, each with a model of its own."""
        ours, theirs = self.model(), self.model()
        optimiser = torch.optim.Adam(ours.parameters(), lr=7e-4, fused=True)
        usual = torch.optim.Adam(theirs.parameters(), lr=7e-4)
        return {
            "ours": lambda: self.ours(ours, optimiser),
            "pickled Data, padded captions": lambda: self.usual(theirs, usual),
        }

    def ours(self, model: Captioner, optimiser: torch.optim.Optimizer | None) -> Losses:
        """An epoch as `stg.fit` does it; without an optimiser nothing is learned."""
        losses = []
        with GraphStore(self.folder / "stills.store") as store:
            data = TrainingSet(
                BatchSource(store), self.captions, batch_videos=BATCH // CAPTIONS, captions_per_video=CAPTIONS
            )
            for batch in prefetch(data.load, data.epoch(0)):
                if optimiser is None:
                    found = float(captioning_losses(model, batch)["loss"].detach())
                else:
                    found = train_step(model, batch, optimiser, captioning_losses).losses["loss"]
                losses.append((found, int(batch.real.sum())))
        return losses

    def usual(self, model: Captioner, optimiser: torch.optim.Optimizer | None) -> Losses:
        """An epoch as it is usually written."""
        losses = []
        for graphs, words in self.batches():
            found = usual_loss(model, graphs, words)
            if optimiser is not None:
                optimiser.zero_grad()
                found.backward()
                optimiser.step()
            losses.append((float(found.detach()), int((words[:, 1:] != PAD).sum())))
        return losses

    def batches(self) -> Iterator[tuple[Data, Tensor]]:
        """The rival's graphs and captions."""
        generator = torch.Generator().manual_seed(0)
        pairs = Pairs(self.folder, self.captions)
        for data in DataLoader(pairs, batch_size=BATCH, shuffle=True, generator=generator):
            yield data, data.caption


def usual_loss(model: Captioner, graphs: Data, words: Tensor) -> Tensor:
    """Words predicted at every position; those at pads are left out of the mean."""
    memory = model.encode(graphs).scene
    logits = model.scene_decoder(words[:, :-1], memory, torch.arange(len(words)))
    return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=PAD)


def mean(losses: Losses) -> float:
    """A word's loss."""
    return sum(loss * words for loss, words in losses) / sum(words for _, words in losses)


def check(epochs: Epochs) -> None:
    """Before anything is learned, both find the same loss of all captions.

    Raises:
        AssertionError: they differ.
    """
    model = epochs.model()
    ours, theirs = mean(epochs.ours(model, None)), mean(epochs.usual(model, None))
    if abs(ours - theirs) > 1e-4:
        raise AssertionError(f"epoch: the loss of a word is {ours} by ours and {theirs} by the rival")
