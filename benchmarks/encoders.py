"""One step, forward and backward, of encoders: 64 videos of 10 frames of 5 boxes, 2048 numbers wide in, 512 inside.

- ``ours``: ``STGEncoder``, the paper's;
- ``typed``: ``RelationalEncoder`` with boxes, geometry, and weights of its own for space and for time;
- ``typed, edge by edge``: the same, messages gathered and summed one by one;
- ``attention``: the same with attention over the edges;
- ``attention, edge by edge``: the same, likewise;
- ``tracks``: one ``TrackRelations`` over five tracks a video, along the same edges, alone, without an encoder.

Typed layers multiply every state with two matrices in place of one, attention with three: by these products alone a
step takes 1.53 and 2.06 times the paper's (:func:`floors` counts them), and no implementation with the same results
takes fewer. Relations of tracks alone are 0.46 times the paper's products, most of them between pairs of tracks.

Memory is what the forward pass keeps for the backward pass, with 1, 4 and 16 times the edges between the same objects.
Linear means that an edge takes as much among many as among few.
"""

from collections.abc import Callable

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.timing import bar, measure, write
from graphs import (
    RELATIVE_GEOMETRY,
    FlatBatch,
    RelationalEncoder,
    STGEncoder,
    TrackRelations,
    spatial_edges,
    temporal_edges,
)

Run = Callable[[], tuple[Tensor, ...]]
TIMES = (1, 4, 16)
"""So many times the edges, for memory."""


def made_batch(videos: int, frames: int, boxes: int, width: int) -> FlatBatch:
    """Videos whose boxes overlap here and there, with the paper's edges."""
    torch.manual_seed(0)
    slot = torch.arange(videos * frames).repeat_interleave(boxes)
    batch = FlatBatch(batch=slot // frames, frame=slot % frames, num_frames=torch.full((videos,), frames))
    corner = 200 * torch.rand(len(slot), 2)
    batch.x, batch.boxes = torch.randn(len(slot), width), torch.cat([corner, corner + 80], dim=1)
    batch["size"] = torch.full((videos, 2), 280)
    kinds = (
        spatial_edges(batch.boxes, batch.frame, batch.batch),
        temporal_edges(batch.x[:, :16], batch.frame, batch.batch),
    )
    batch.edge_index, batch.edge_weight = (torch.cat(parts, dim=-1) for parts in zip(*kinds, strict=True))
    batch.track = torch.arange(boxes).repeat(videos * frames)
    batch.edge_type = torch.arange(2).repeat_interleave(torch.tensor([len(weight) for _, weight in kinds]))
    return batch


def with_edges(batch: FlatBatch, times: int) -> FlatBatch:
    """The same objects with so many times the edges, each of them so many times."""
    more = {name: batch.to_dict()[name].repeat_interleave(times, -1) for name in ("edge_index", "edge_type")}
    return FlatBatch(**{**batch.to_dict(), **more, "edge_weight": batch.edge_weight.repeat_interleave(times) / times})


def relations(batch: FlatBatch, channels: int) -> tuple[TrackRelations, Callable[[FlatBatch], Tensor]]:
    """A convolution over the tracks of a batch, and what it makes of them with some edges."""
    torch.manual_seed(1)
    layer = TrackRelations(channels)
    # Drawn, as without it nothing would flow back to the edges.
    torch.nn.init.normal_(layer.output.weight, std=channels**-0.5)
    count = int(batch.track.max()) + 1
    states, positions = (torch.randn(rows, channels) for rows in (len(batch.num_frames) * count, 64))
    return layer, lambda data: layer(states, data.batch * count + data.track, positions, data)


def kept_bytes(run: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no other storage gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(kept.values())


def memory(batch: FlatBatch, channels: int) -> dict[str, dict[str, int]]:
    """Bytes kept by each mechanism, by how many times the edges there are."""
    _, related = relations(batch, channels)
    width = batch.x.size(1)
    models: dict[str, Callable[[FlatBatch], object]] = {
        "typed": RelationalEncoder(width, channels),
        "attention": RelationalEncoder(width, channels, conv="attention"),
        "tracks": related,
    }
    graphs = {times: with_edges(batch, times) for times in TIMES}
    return {
        name: {f"{times}x": kept_bytes(lambda: model(graphs[times])) for times in TIMES}  # noqa: B023 (called at once)
        for name, model in models.items()
    }


def per_edge(kept: dict[str, int]) -> float:
    """Bytes of an edge between 4 and 16 times the edges, by those of an edge between 1 and 4 times: 1 where linear.

    0 where nothing of an edge is kept: typed layers keep the states of nodes, and their edges as one sparse matrix.
    """
    few, some, many = (kept[f"{times}x"] for times in TIMES)
    first, then = (some - few) / (TIMES[1] - TIMES[0]), (many - some) / (TIMES[2] - TIMES[1])
    return then / first if first > 0 else 0.0 if then <= 0 else float("inf")


def floors(batch: FlatBatch, channels: int, layers: int = 3) -> dict[str, float]:
    """Multiplications in the products of matrices that a step cannot do without, by those of the paper's encoder.

    A linear layer takes as many forth, back to its weights, and back to what it reads where that has a gradient.
    """
    nodes, width = batch.x.shape
    square = channels * channels
    project, layer = 2 * nodes * width * channels, layers * 3 * nodes * square
    count, hidden = int(batch.track.max()) + 1, 2 * channels
    tracks = len(batch.num_frames) * count
    source, target = batch.batch[batch.edge_index] * count + batch.track[batch.edge_index]
    pairs = len(torch.unique(source * tracks + target))
    edges = 2 * batch.edge_index.size(1) * (len(RELATIVE_GEOMETRY) + 1) * hidden
    related = edges + 3 * pairs * 2 * hidden * channels + 2 * 2 * tracks * square + 3 * tracks * 2 * square
    paper = project + layer
    return {
        "typed": round((project + 2 * layer) / paper, 3),
        "attention": round((project + 3 * layer) / paper, 3),
        "tracks": round(related / paper, 3),
    }


def contestants(batch: FlatBatch, channels: int) -> dict[str, Run]:
    """Each encoder as a function that returns the states of its frames and the gradients of its weights."""
    width = batch.x.size(1)
    torch.manual_seed(1)
    typed = RelationalEncoder(width, channels)
    by_edge = FlatBatch(**{**batch.to_dict(), "edge_weight": batch.edge_weight.clone().requires_grad_()})

    def step(encoder: torch.nn.Module, data: FlatBatch) -> Run:
        encoder.to(batch.x.dtype)

        def run() -> tuple[Tensor, ...]:
            frames = encoder(data).frames
            return (frames, *torch.autograd.grad(frames.square().mean(), list(encoder.parameters())))

        return run

    attention = RelationalEncoder(width, channels, conv="attention")
    layer, related = relations(batch, channels)
    layer.to(batch.x.dtype)

    def relate() -> tuple[Tensor, ...]:
        tracks = related(batch)
        return (tracks, *torch.autograd.grad(tracks.square().mean(), list(layer.parameters())))

    return {
        "ours": step(STGEncoder(width, channels), batch),
        "typed": step(typed, batch),
        "typed, edge by edge": step(typed, by_edge),
        "attention": step(attention, batch),
        "attention, edge by edge": step(attention, by_edge),
        "tracks": relate,
    }


def in_double(batch: FlatBatch) -> FlatBatch:
    """The same batch with all fractions in double precision."""
    fields = batch.to_dict().items()
    return FlatBatch(**{name: value.double() if _fractions(value) else value for name, value in fields})


def _fractions(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def check(runs: dict[str, Run]) -> None:
    """Both paths of an encoder must give the same states and gradients."""
    for name in ("typed", "attention"):
        for found, wanted in zip(runs[name](), runs[f"{name}, edge by edge"](), strict=True):
            error = float((found - wanted).detach().abs().max() / wanted.detach().abs().max().clamp(min=1e-6))
            if error > (1e-4 if wanted.dtype == torch.float32 else 1e-10):
                raise AssertionError(f"the paths of the {name} encoder differ: relative error {error:.1e}")


def check_memory(kept: dict[str, dict[str, int]]) -> None:
    """No mechanism may keep more of an edge where there are more of them."""
    for name, found in kept.items():
        if not 0 <= per_edge(found) < 1.1:
            raise AssertionError(f"the memory of {name} is not linear in the edges: {found}")


def main(quick: bool = False) -> None:
    """Check that both paths agree; unless ``quick``, time the encoders and write ``results/encoders.json``."""
    console = Console()
    if quick:
        batch = made_batch(3, 4, 3, 8)
        check(contestants(batch, 16))
        check_memory(memory(batch, 16))
        console.print("encoders: both paths agree")
        return
    batch = made_batch(64, 10, 5, 2048)
    runs = contestants(batch, 512)
    # In double precision: in single, a unit near 0 may be on in one path and off in the other.
    check(contestants(in_double(made_batch(16, 10, 5, 2048)), 512))
    kept = memory(made_batch(8, 10, 5, 2048), 512)
    check_memory(kept)
    times = measure(runs, repetitions=9)
    ours = times["ours"]["median"]
    least = floors(batch, 512)
    for name, taken in times.items():
        floor = f" (by matrix products alone {least[name]:.2f})" if name in least else ""
        console.print(
            f"{name}: {taken['median']:.0f} ms, {taken['median'] / ours:.2f} times the paper's encoder{floor}"
        )
    bars = [
        bar(f"{name} encoder, 64 x 10 x 5, times the paper's", round(times[name]["median"] / ours, 3), 1.5, "lower")
        for name in ("typed", "attention")
    ]
    what = "relations of tracks alone, 64 x 10 x 5, times the paper's encoder"
    bars.append(bar(what, round(times["tracks"]["median"] / ours, 3), 1.5, "lower"))
    for name, found in kept.items():
        grown = per_edge(found)
        console.print(f"{name}: {found} bytes kept for the backward pass, {grown:.2f} times as much an edge")
        bars.append(bar(f"{name}, bytes an edge at 16 times the edges by those at 4", round(grown, 3), 1.1, "lower"))
    cases = [
        {"videos": 64, "frames": 10, "boxes": 5, "milliseconds": times, "floors": least},
        {"videos": 8, "frames": 10, "boxes": 5, "bytes": kept},
    ]
    write("encoders", {"bars": bars, "cases": cases})


if __name__ == "__main__":
    main()
