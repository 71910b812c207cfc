"""A classifier of events over the branches of a captioner: which can they distinguish, with no caption in between?"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import graphs
from decoders import sinusoids
from graphs import FlatBatch, GraphData
from stg.data.batches import BatchSource
from stg.models.branches import SceneBranch, pad_scene
from stg.models.statistics import Standardise

LAYERS = 2
"""Of the encoder over frames."""


class EventClassifier(nn.Module):
    """One branch as the captioner has it, then a Transformer encoder over frames, their mean, and a linear layer.

    The branch is that of Pan et al. (2020): Eq. 6 for the scene; Eq. 5, 4 and the average over each frame's objects for
    the graph. Features are standardised.

    Args:
        scene: width of the scene features, for the scene branch; None: the graph branch.
        objects: width of the object features.
        classes: number of events.
        channels: width of the branch and of the encoder.
        layers: graph convolutions.
        heads: attention heads of the encoder.
        dropout: of the encoder.
    """

    def __init__(
        self,
        *,
        scene: int | None,
        objects: int,
        classes: int,
        channels: int = 128,
        layers: int = 3,
        heads: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.scene = SceneBranch(scene, None, channels) if scene else None
        self.graph = None if scene else graphs.STGEncoder(objects, channels, layers)
        self.standardise = Standardise(scene or objects)
        layer = nn.TransformerEncoderLayer(channels, heads, 2 * channels, dropout, batch_first=True)
        self.frames = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.output = nn.Linear(channels, classes)

    def features(self, batch: GraphData) -> Tensor:
        """What the branch reads, before it is standardised."""
        return batch.x if self.scene is None else batch.scene

    def forward(
        self,
        x: GraphData | Float[Tensor, "N D"],
        edge_index: Int[Tensor, "2 E"] | None = None,
        edge_weight: Float[Tensor, " E"] | None = None,
        frame: Int[Tensor, " N"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        num_frames: Int[Tensor, " B"] | int | None = None,
    ) -> Float[Tensor, "B K"]:
        """Scores of the ``K`` events of each video.

        Args:
            x: a graph or a flat batch of graphs, alone; or, for the graph branch, its ``x`` with the other arguments,
                which are named as the fields of the graph. So does :class:`torch_geometric.explain.Explainer` call it.
            edge_index, edge_weight, frame, batch, num_frames: as :meth:`graphs.STGEncoder.forward` takes them.

        Raises:
            ValueError: the scene branch is given the fields of a graph, or the graph branch some without the others.
        """
        if self.graph is not None:
            if not isinstance(x, Tensor):
                data, x = x, x.x
                edge_index, edge_weight, frame = data.edge_index, data.edge_weight, data.frame
                batch, num_frames = data.batch if "batch" in data else None, data.num_frames
            _, frames, mask = self.graph(self.standardise(x), frame, edge_index, edge_weight, batch, num_frames)
        else:
            assert self.scene is not None
            if isinstance(x, Tensor):
                raise ValueError("the scene branch reads no graph, so that there are no edges to explain: give a batch")
            counts = torch.as_tensor(x.num_frames).reshape(-1)
            padded = pad_scene(FlatBatch(scene=self.standardise(x.scene), num_frames=counts))
            frames, mask = self.scene(padded), padded.mask
        # A video without any object keeps its first frame, which is zero, so that attention has a key.
        mask = mask | (~mask.any(1, keepdim=True) & (torch.arange(mask.shape[1], device=mask.device) == 0))
        encoded = self.frames(
            frames + sinusoids(frames.shape[1], frames.shape[2]).to(frames), src_key_padding_mask=~mask
        )
        # The mean over real frames [B C], then scores of the K events [B K].
        return self.output((encoded * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def train_and_test(
    model: EventClassifier,
    source: BatchSource,
    splits: Mapping[str, Sequence[str]],
    label: Mapping[str, int],
    *,
    seed: int,
    epochs: int,
    batch_videos: int = 64,
    lr: float = 1e-3,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[float, dict[str, int]] | None:
    """Learn on ``train``, keep the epoch that is best on ``val``, and give its share right there and its ``test``.

    Args:
        source: the videos' graphs, with the edges to read.
        splits: the videos of each split.
        label: the event of each video.
        stop: asked after each step.

    Returns:
        Share of ``val`` that is right, and the predicted event of each video of ``test``; None if it was stopped.
    """
    train = list(splits["train"])
    read = (model.features(batch) for _, batch in _batches(source, train, batch_videos))
    # Statistics of the training videos alone.
    model.standardise.fit(read)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    best, kept = -1.0, dict[str, int]()
    for epoch in range(epochs):
        model.train()
        # A function of seed and epoch alone, as in the training of captioners.
        order = np.random.default_rng([seed, epoch]).permutation(len(train)).tolist()
        for videos, batch in _batches(source, [train[place] for place in order], batch_videos):
            target = torch.tensor([label[video] for video in videos])
            loss = nn.functional.cross_entropy(model(batch), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if stop():
                return None
        right = [event == label[video] for video, event in predict(model, source, splits["val"], batch_videos).items()]
        # Of equally good epochs the last.
        if sum(right) >= best * len(right):
            # The test videos have no part in the choice of the epoch.
            best, kept = sum(right) / len(right), predict(model, source, splits["test"], batch_videos)
    return best, kept


@torch.no_grad()
def predict(
    model: EventClassifier, source: BatchSource, videos: Sequence[str], batch_videos: int = 64
) -> dict[str, int]:
    """The likeliest event of each video."""
    model.eval()
    found: dict[str, int] = {}
    for chosen, batch in _batches(source, videos, batch_videos):
        found.update(zip(chosen, model(batch).argmax(1).tolist(), strict=True))
    return found


def _batches(source: BatchSource, videos: Sequence[str], size: int) -> Iterator[tuple[Sequence[str], GraphData]]:
    for start in range(0, len(videos), size):
        chosen = videos[start : start + size]
        yield chosen, source.batch(chosen)
