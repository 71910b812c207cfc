"""The rungs from a training step as it is usually written to ours, all with one loss; and the floor below them.

Every rung learns the same captions of the same videos with the same weights:

- ``baseline``: captions padded to 30 words, graphs as dense block matrices, words predicted and compared at pads too,
  Adam as torch has it by default;
- ``batch maximum``: captions padded to the longest of their batch;
- ``real words``: the vocabulary and the losses at real words only, sparse graphs, fused Adam;
- ``ours``: the decoder's layers at real words only (packed), and each softmax once for both branches' losses;
- ``length buckets``: ours with captions of like length in a batch, here 4 batches of 256 captions;
- ``grouped``: ours with 16 videos of 4 captions each in the place of 64 with one;
- ``floor``: the matrix products of all linear layers of our step, forward and backward, and nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from graphs import STGEncoder, VideoStates, spatial_edges, symmetric_norm, temporal_edges
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import LossConfig
from stg.data.batches import CaptionBatch, pad_words
from stg.models.build import build_captioner
from stg.models.captioner import Branch, Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.text.vocabulary import BOS, EOS, PAD
from stg.training.distillation import distillation_loss, language_loss
from stg.training.losses import captioning_losses

WIDTHS = FeatureWidths(scene=2048, motion=1024, objects=2048)
FRAMES, BOXES, PADDED, BUCKETS = 10, 5, 30, 4
DISTILL = 4.0


@dataclass(frozen=True)
class Size:
    """How large model and batch are."""

    captions: int = 64
    group: int = 4
    vocabulary: int = 10_000
    channels: int = 512
    layers: int = 2
    double: bool = False


SMALL = Size(captions=8, group=2, vocabulary=40, channels=16, layers=1, double=True)


def lengths(captions: int) -> list[int]:
    """Words of each caption, evenly over a log-normal distribution: 9 in the mean, 20 at most among 64 captions."""
    normal = NormalDist(2.1, 0.36)
    return [round(2.718281828 ** normal.inv_cdf((n + 0.5) / captions)) for n in range(captions)]


def model_of(size: Size) -> Captioner:
    """Both branches and their Transformers: 45.5 million weights at the full size."""
    torch.manual_seed(0)
    settings = ModelConfig(
        channels=size.channels, hidden=2 * size.channels, layers=size.layers, heads=8 if size.channels > 16 else 4
    )
    model = build_captioner(settings, GraphConfig(), widths=WIDTHS, vocabulary=size.vocabulary, max_words=PADDED)
    return model.double().eval() if size.double else model


def videos_of(count: int, kind: torch.dtype) -> Data:
    """The batch of graphs: ten frames of five boxes each, spatial and temporal edges."""
    video = torch.arange(count).repeat_interleave(FRAMES * BOXES)
    frame = torch.arange(FRAMES).repeat_interleave(BOXES).repeat(count)
    corner = 200 * torch.rand(len(frame), 2)
    parts = zip(
        spatial_edges(torch.cat([corner, corner + 80], 1), frame, video),
        temporal_edges(torch.randn(len(frame), 16), frame, video),
        strict=True,
    )
    edge_index, edge_weight = (torch.cat(part, -1) for part in parts)
    graphs = Batch(
        x=torch.randn(len(frame), WIDTHS.objects, dtype=kind),
        frame=frame,
        edge_index=edge_index,
        edge_weight=edge_weight.to(kind),
        batch=video,
        num_frames=torch.full((count,), FRAMES),
        scene=torch.randn(count * FRAMES, WIDTHS.scene, dtype=kind),
        motion=torch.randn(count * FRAMES, WIDTHS.motion, dtype=kind),
        motion_row=torch.arange(FRAMES).repeat(count),
        motion_ptr=FRAMES * torch.arange(count + 1),
    )
    return graphs


def captions_of(size: Size) -> list[list[int]]:
    """Made captions, of mixed lengths in any stretch."""
    order = torch.randperm(size.captions).tolist()
    spread = lengths(size.captions)
    return [[BOS, *torch.randint(4, size.vocabulary, (spread[n],)).tolist(), EOS] for n in order]


def batch_of(captions: list[list[int]], graphs: Data, group: int = 1) -> CaptionBatch:
    """Captions padded to the longest, ``group`` of each video."""
    words, targets, real = pad_words(captions)
    return CaptionBatch(graphs, words, targets, real, torch.arange(len(captions)) // group)


class DenseEncoder(nn.Module):
    """`STGEncoder` as it is often written: one dense matrix of all objects a video, built beforehand."""

    def __init__(self, encoder: STGEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.blocks: Tensor | None = None

    def build(self, graphs: Data) -> Tensor:
        """The normalised matrices ``[B N N]``; at the sizes here each video has as many objects."""
        videos, nodes = len(graphs.num_frames), FRAMES * BOXES
        source, target = graphs.edge_index
        norm = symmetric_norm(graphs.edge_index, graphs.edge_weight, len(graphs.x))
        blocks = norm.new_zeros(videos, nodes, nodes)
        return blocks.index_put((target // nodes, target % nodes, source % nodes), norm, accumulate=True)

    def forward(self, graphs: Data) -> VideoStates:
        """As the encoder's own."""
        assert self.blocks is not None
        videos = len(graphs.num_frames)
        hidden = self.encoder.project(graphs.x).unflatten(0, (videos, -1))
        for conv in self.encoder.convs:
            hidden = torch.relu(hidden + torch.bmm(self.blocks, conv.linear(hidden)))
        means = hidden.unflatten(1, (FRAMES, BOXES)).mean(2)
        return VideoStates(hidden.flatten(0, 1), means, torch.ones(videos, FRAMES, dtype=torch.bool))


def with_dense_graphs(model: Captioner, graphs: Data) -> Captioner:
    """The same weights behind dense matrices."""
    assert model.objects is not None
    dense = DenseEncoder(model.objects)
    dense.blocks = dense.build(graphs)
    return Captioner(
        scene=Branch(model.scene, model.scene_decoder),
        objects=Branch(dense, model.object_decoder),
        standardise=model.standardise,
    ).train(model.training)


def padded_to(batch: CaptionBatch, longest: int) -> CaptionBatch:
    """More padding at the end of each caption."""
    more = longest - batch.words.shape[1]
    fields = {name: F.pad(getattr(batch, name), (0, more), value=PAD) for name in ("words", "targets")}
    return replace(batch, **fields, real=F.pad(batch.real, (0, more), value=False))


def loss_everywhere(model: Captioner, batch: CaptionBatch) -> Tensor:
    """Words predicted at every position, and what was predicted at pads left out at the end."""
    encoded = model.encode(batch.graphs)
    scene = model.scene_decoder(batch.words, encoded.scene, batch.video)
    objects = model.object_decoder(batch.words, encoded.objects, batch.video)
    language = sum(
        F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD) for logits in (scene, objects)
    )
    divergence = F.kl_div(objects.log_softmax(-1), scene.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    return language + DISTILL * (divergence * batch.real).sum() / batch.real.sum()


def loss_at_real_words(model: Captioner, batch: CaptionBatch) -> Tensor:
    """The vocabulary at real words, after layers that work on pads too."""
    encoded, targets = model.encode(batch.graphs), batch.targets[batch.real]
    decoders = ((model.scene_decoder, encoded.scene), (model.object_decoder, encoded.objects))
    scene, objects = (
        decoder.output(decoder.features(batch.words, memory, batch.video)[batch.real]) for decoder, memory in decoders
    )
    language = language_loss(scene, targets) + language_loss(objects, targets)
    return language + DISTILL * distillation_loss(scene, objects)


def our_loss(model: Captioner, batch: CaptionBatch) -> Tensor:
    """Ours."""
    return captioning_losses(model, batch, LossConfig(distill_weight=DISTILL))["loss"]


Loss = Callable[[], Tensor]


def rungs(model: Captioner, captions: list[list[int]], graphs: Data) -> dict[str, Loss]:
    """The loss of one batch of captions, one a video, on every rung that has batches of its own."""
    batch = batch_of(captions, graphs)
    dense = with_dense_graphs(model, graphs)
    return {
        "baseline": partial(loss_everywhere, dense, padded_to(batch, PADDED)),
        "batch maximum": partial(loss_everywhere, dense, batch),
        "real words": partial(loss_at_real_words, model, batch),
        "ours": partial(our_loss, model, batch),
    }


def bucketed(captions: list[list[int]], graphs: Data) -> Iterator[tuple[CaptionBatch, int]]:
    """The batches of a window that holds every caption `BUCKETS` times, with the number of words of each.

    A caption keeps its video; the batch encodes as many videos as it has captions.
    """
    rows = sorted([row for row in range(len(captions)) for _ in range(BUCKETS)], key=lambda row: len(captions[row]))
    for start in range(0, len(rows), len(captions)):
        chosen = rows[start : start + len(captions)]
        batch = replace(batch_of([captions[row] for row in chosen], graphs), video=torch.tensor(chosen))
        yield batch, int(batch.real.sum())


def check(size: Size = SMALL) -> None:
    """Hold the rungs to one loss and to the same gradients.

    Raises:
        AssertionError: naming the rung that differs.
    """
    model = model_of(size)
    captions, graphs = captions_of(size), videos_of(size.captions, torch.float64)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = {name: loss() for name, loss in rungs(model, captions, graphs).items()}
    expected = {name: torch.autograd.grad(loss, weights) for name, loss in found.items()}
    for name, loss in found.items():
        _same(f"the loss of {name!r}", loss, found["baseline"])
        for ours, theirs in zip(expected[name], expected["baseline"], strict=True):
            _same(f"a gradient of {name!r}", ours, theirs)
    shares = [(our_loss(model, batch), words) for batch, words in bucketed(captions, graphs)]
    mean = sum(loss * words for loss, words in shares) / sum(words for _, words in shares)
    _same("the loss of 'length buckets'", mean, found["baseline"])
    few = videos_of(size.captions // size.group, torch.float64)
    _same("the loss of 'grouped'", *_grouped_and_single(model, captions, few, size.group))


def _grouped_and_single(model: Captioner, captions: list[list[int]], few: Data, group: int) -> tuple[Tensor, Tensor]:
    """The loss with each video once for ``group`` captions, and the mean over batches of one caption a video."""
    together = our_loss(model, batch_of(captions, few, group))
    total, count = torch.zeros((), dtype=torch.float64), 0
    for part in range(group):
        batch = batch_of(captions[part::group], few)
        words = int(batch.real.sum())
        total, count = total + our_loss(model, batch) * words, count + words
    return together, total / count


def _same(what: str, found: Tensor, expected: Tensor) -> None:
    if not torch.allclose(found, expected, rtol=0, atol=1e-6):
        raise AssertionError(f"{what} differs by {(found - expected).abs().max().item():.2e}")


def floor_of(model: Captioner, loss: Loss) -> Callable[[], None]:
    """The matrix products of all linear layers of a step, on matrices of their shapes.

    Where nothing before a layer is learned, the gradient of its inputs is not needed and not counted.
    """
    shapes: list[tuple[int, int, int, bool]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        rows = inputs[0].shape[:-1].numel()
        shapes.append((rows, layer.in_features, layer.out_features, inputs[0].requires_grad))

    hooks = [part.register_forward_hook(note) for part in model.modules() if isinstance(part, nn.Linear)]
    loss()
    for hook in hooks:
        hook.remove()
    made = {(r, i): torch.randn(r, i) for r, i, _, _ in shapes} | {(r, o): torch.randn(r, o) for r, _, o, _ in shapes}
    weights = {(o, i): torch.randn(o, i) for _, i, o, _ in shapes}

    def run() -> None:
        for rows, inner, outer, needs_input in shapes:
            x, grad, weight = made[rows, inner], made[rows, outer], weights[outer, inner]
            x @ weight.T
            grad.T @ x
            if needs_input:
                grad @ weight

    return run
