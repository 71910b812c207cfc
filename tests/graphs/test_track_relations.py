"""The convolution over tracks, against a loop over edges and pairs."""

import pytest
import torch
from torch import Tensor

from decoders import sinusoids
from graphs import EDGE_TYPES, FlatBatch, TrackRelations, contact_geometry, relative_geometry

CHANNELS, FRAMES = 4, 3


def two_videos() -> FlatBatch:
    """A video of three frames with two objects, joined in each frame and along time, and one of a single object."""
    draw = torch.Generator().manual_seed(5)
    corner = 50 * torch.rand(7, 2, generator=draw, dtype=torch.float64)
    boxes = torch.cat([corner, corner + 5 + 20 * torch.rand(7, 2, generator=draw, dtype=torch.float64)], 1)
    index = [[0, 1], [1, 0], [2, 3], [3, 2], [2, 0], [3, 1], [4, 2], [1, 1], [4, 3], [4, 1]]
    kinds = ["spatial"] * 4 + ["temporal"] * 3 + ["spatial"] + ["temporal"] * 2
    return FlatBatch(
        boxes=boxes,
        size=torch.tensor([[90, 80], [60, 120]]),
        frame=torch.tensor([0, 0, 1, 1, 2, 2, 0]),
        batch=torch.tensor([0] * 6 + [1]),
        num_frames=torch.tensor([3, 1]),
        track=torch.tensor([0, 1, 0, 1, 0, 1, 0]),
        edge_index=torch.tensor(index).T.contiguous(),
        edge_weight=torch.rand(10, generator=draw, dtype=torch.float64),
        edge_type=torch.tensor([EDGE_TYPES[kind] for kind in kinds]),
    )


MEMBER = torch.tensor([0, 1, 0, 1, 0, 1, 2])


def made_layer(geometry: str = "relative") -> TrackRelations:
    torch.manual_seed(0)
    layer = TrackRelations(CHANNELS, geometry=geometry).double()
    # It begins at zero, which would hide all that comes before it.
    torch.nn.init.normal_(layer.output.weight)
    return layer


def slow_geometry(layer: TrackRelations, data: FlatBatch) -> Tensor:
    """What the layer reads of each edge; changes from edge to edge of the same two tracks, by a loop."""
    relative = relative_geometry(data.edge_index, data.boxes, data.frame, data.batch, data.track)
    if layer.geometry == "relative":
        return relative
    contact = contact_geometry(data.edge_index, data.boxes, data["size"], data.batch)
    edges = list(enumerate(data.edge_index.T.tolist()))
    same = {
        edge: (int(MEMBER[source]), int(MEMBER[target]), int(data.edge_type[edge])) for edge, (source, target) in edges
    }
    when = {edge: int(data.frame[target]) for edge, (_, target) in edges}
    change = torch.zeros_like(contact)
    for edge in same:
        others = [other for other in same if same[other] == same[edge]]
        earlier = max((other for other in others if when[other] < when[edge]), key=when.__getitem__, default=edge)
        later = min((other for other in others if when[other] > when[edge]), key=when.__getitem__, default=edge)
        if later != earlier:
            change[edge] = (contact[later] - contact[earlier]) / (when[later] - when[earlier])
    return torch.cat([contact, (30 * change).asinh(), relative[:, 5:7]], 1)


def plain(layer: TrackRelations, x: Tensor, positions: Tensor, data: FlatBatch) -> Tensor:
    """Edge by edge, pair by pair, track by track."""
    geometry = slow_geometry(layer, data)
    felt: dict[tuple[int, int], list[Tensor]] = {}
    for edge, (source, target) in enumerate(data.edge_index.T.tolist()):
        known = torch.cat([geometry[edge], data.edge_weight[edge : edge + 1]])
        kind = {0: 0, 1: 1}[int(data.edge_type[edge])]
        inner = layer.edge.weight @ known + layer.time.weight @ positions[int(data.frame[target])]
        inner = inner + layer.kind.weight[kind]
        felt.setdefault((int(MEMBER[source]), int(MEMBER[target])), []).append(inner.clamp(min=0))
    out = []
    for b in range(len(x)):
        messages = []
        for (a, other), parts in felt.items():
            if other == b:
                stacked = torch.stack(parts)
                frames = int(data.num_frames[0 if b < 2 else 1])
                pooled = torch.cat([stacked.sum(0) / frames, stacked.max(0).values])
                relation = layer.relation.weight @ pooled + layer.relation.bias
                messages.append((layer.target.weight @ x[b] + layer.source.weight @ x[a] + relation).clamp(min=0))
        summed = x[b]
        if messages:
            stacked = torch.stack(messages)
            summed = summed + layer.output.weight @ torch.cat([stacked.mean(0), stacked.max(0).values])
        scaled = (summed - summed.mean()) / (summed.var(unbiased=False) + layer.norm.eps).sqrt()
        out.append(scaled * layer.norm.weight + layer.norm.bias)
    return torch.stack(out)


@pytest.mark.parametrize("geometry", ["relative", "contact"])
def test_it_is_the_loop_over_edges_and_pairs(geometry: str) -> None:
    layer, data = made_layer(geometry), two_videos()
    draw = torch.Generator().manual_seed(1)
    x, seed = torch.randn(2, 3, CHANNELS, generator=draw, dtype=torch.float64)
    positions = sinusoids(FRAMES, CHANNELS).double()
    wanted = (x.requires_grad_(), data.edge_weight.requires_grad_(), *layer.parameters())
    found, expected = layer(x, MEMBER, positions, data), plain(layer, x, positions, data)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    have, want = (torch.autograd.grad((out * seed).sum(), wanted) for out in (found, expected))
    for one, other in zip(have, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_the_order_of_edges_does_not_matter_and_their_frames_do() -> None:
    layer, data = made_layer(), two_videos()
    x, positions = torch.randn(3, CHANNELS, dtype=torch.float64), sinusoids(FRAMES, CHANNELS).double()
    found = layer(x, MEMBER, positions, data)
    order = torch.tensor([5, 3, 7, 9, 1, 0, 2, 8, 6, 4])
    for name in ("edge_weight", "edge_type"):
        data[name] = data[name][order]
    data.edge_index = data.edge_index[:, order]
    torch.testing.assert_close(layer(x, MEMBER, positions, data), found)
    data.frame = torch.tensor([1, 1, 2, 2, 0, 0, 0])
    assert not torch.allclose(layer(x, MEMBER, positions, data)[:2], found[:2])


def test_without_edges_and_at_the_start_a_track_stays_what_it_is() -> None:
    data, x = two_videos(), torch.randn(3, CHANNELS, dtype=torch.float64)
    positions = sinusoids(FRAMES, CHANNELS).double()
    fresh = TrackRelations(CHANNELS).double()
    torch.testing.assert_close(fresh(x, MEMBER, positions, data), fresh.norm(x))
    layer = made_layer()
    for name in ("edge_weight", "edge_type"):
        data[name] = data[name][:0]
    data.edge_index = data.edge_index[:, :0]
    torch.testing.assert_close(layer(x, MEMBER, positions, data), layer.norm(x))


def test_words_for_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="geometry must be one of relative, contact, got 'near'"):
        TrackRelations(CHANNELS, geometry="near")


def test_without_the_size_of_the_picture_its_largest_corner_serves() -> None:
    data, layer = two_videos(), made_layer("contact")
    x, positions = torch.randn(3, CHANNELS, dtype=torch.float64), sinusoids(FRAMES, CHANNELS).double()
    data.boxes = data.boxes.round()
    corner = [data.boxes[data.batch == video, 2:].max(0).values for video in (0, 1)]
    data.size = torch.stack(corner).flip(1).long()
    found = layer(x, MEMBER, positions, data)
    del data.size
    torch.testing.assert_close(layer(x, MEMBER, positions, data), found)


def test_edges_of_a_kind_of_ones_own_are_a_kind() -> None:
    layer, data = made_layer(), two_videos()
    x, positions = torch.randn(3, CHANNELS, dtype=torch.float64), sinusoids(FRAMES, CHANNELS).double()
    found = layer(x, MEMBER, positions, data)
    data.edge_type = torch.full_like(data.edge_type, 7)
    assert not torch.allclose(layer(x, MEMBER, positions, data), found)


@pytest.mark.parametrize("name", ["edge", "time", "kind", "relation", "target", "source", "output"])
def test_every_weight_learns(name: str) -> None:
    layer, data = made_layer(), two_videos()
    x, positions = torch.randn(3, CHANNELS, dtype=torch.float64), sinusoids(FRAMES, CHANNELS).double()
    layer(x, MEMBER, positions, data).square().sum().backward()
    gradient = getattr(layer, name).weight.grad
    assert gradient is not None
    assert bool((gradient != 0).any())
