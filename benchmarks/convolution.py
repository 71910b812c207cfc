"""One graph convolution, forward and backward, at the papers' width of 512.

Rivals, all with the same weights and the same edges, normalised beforehand where their interface allows it:

- ``ours``: ``STGConv`` with an operator that is built once per batch and shared by the layers: CSR, or windows where
  frames are large;
- ``ours + build``: the same, and the operator is built for this one layer alone;
- ``dense``: one block matrix a video and ``torch.bmm``, padded to the longest video for that product alone;
- ``dense, padded``: the same with all states padded, ``[B, T * boxes, C]``, as most published code has it;
- ``gather-scatter``: ``STGConv`` without an operator, PyG's default way;
- ``GCNConv``: PyG's own layer without its normalisation and self-loops, and the residual;
- ``floor``: the three matrix products that no implementation can do without.
"""

from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.nn import GCNConv

from benchmarks.timing import bar, growth, measure, write
from graphs import STGConv, sparse_operator, spatial_edges, symmetric_norm, temporal_edges

CHANNELS = 512
CASES = (
    # videos, frames, boxes, ragged, name of the rivals that would not fit into memory
    (64, 10, 5, False, ()),
    (64, 10, 5, True, ()),
    (4, 200, 5, False, ()),
    (1, 400, 5, False, ()),
    (1, 1000, 5, False, ()),
    (1, 200, 50, False, ("gather-scatter", "GCNConv")),
    (1, 1000, 50, False, ("gather-scatter", "GCNConv", "dense", "dense, padded")),
)
Run = Callable[[], tuple[Tensor, Tensor, Tensor]]


class Batch:
    """Made videos: with ``ragged``, a box is missing with 23% chance, all boxes of a frame with 5%."""

    def __init__(self, videos: int, frames: int, boxes: int, ragged: bool) -> None:
        torch.manual_seed(0)
        per_frame = torch.full((videos * frames,), boxes)
        if ragged:
            per_frame = torch.binomial(per_frame.float(), torch.tensor(0.77)).long()
            per_frame[torch.rand(len(per_frame)) < 0.05] = 0
        slot = torch.arange(videos * frames).repeat_interleave(per_frame)
        self.slots = frames * boxes
        self.video, self.frame, self.size = slot // frames, slot % frames, len(slot)
        self.count = torch.bincount(self.video, minlength=videos)
        self.place = torch.arange(self.size) - (self.count.cumsum(0) - self.count)[self.video]
        corner = 200 * torch.rand(self.size, 2)
        spatial = spatial_edges(torch.cat([corner, corner + 80], dim=1), self.frame, self.video)
        temporal = temporal_edges(torch.randn(self.size, 16), self.frame, self.video)
        self.edge_index, self.edge_weight = (torch.cat(parts, dim=-1) for parts in zip(spatial, temporal, strict=True))
        self.x = torch.randn(self.size, CHANNELS, requires_grad=True)
        self.grad = torch.randn(self.size, CHANNELS)


def contestants(batch: Batch, without: tuple[str, ...] = ()) -> dict[str, Run]:
    """Each rival as a function that returns its output and the gradients of states and weights."""
    x, index, weight, n = batch.x, batch.edge_index, batch.edge_weight, batch.size
    layer = STGConv(CHANNELS)
    operator = sparse_operator(index, weight, n)
    norm = symmetric_norm(index, weight, n)
    theirs = GCNConv(CHANNELS, CHANNELS, bias=False, normalize=False, add_self_loops=False)
    with torch.no_grad():
        theirs.lin.weight.copy_(layer.linear.weight)

    videos = len(batch.count)
    longest = int(batch.count.max())
    place = batch.place

    def block_matrices(size: int) -> Tensor:
        blocks = torch.zeros(videos, size, size)
        blocks[batch.video[index[1]], place[index[1]], place[index[0]]] = norm
        return blocks

    blocks = block_matrices(longest) if "dense" not in without else None

    def block_matrix() -> Tensor:
        hidden = layer.linear(x)
        padded = hidden.new_zeros(videos, longest, CHANNELS).index_put((batch.video, place), hidden)
        return torch.relu(x + torch.bmm(blocks, padded)[batch.video, place])

    def step(forward: Callable[[], Tensor], parameter: Tensor) -> Run:
        def run() -> tuple[Tensor, Tensor, Tensor]:
            out = forward()
            x_grad, weight_grad = torch.autograd.grad(out, (x, parameter), batch.grad)
            return out, x_grad, weight_grad

        return run

    def padded_step() -> Run:
        size = batch.slots
        matrices = block_matrices(size)
        states, grad = (torch.zeros(videos, size, CHANNELS) for _ in range(2))
        states[batch.video, place], grad[batch.video, place] = x.detach(), batch.grad
        states.requires_grad_()

        def run() -> tuple[Tensor, Tensor, Tensor]:
            out = torch.relu(states + torch.bmm(matrices, layer.linear(states)))
            x_grad, weight_grad = torch.autograd.grad(out, (states, layer.linear.weight), grad)
            return out, x_grad, weight_grad

        return run

    def floor() -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            w = layer.linear.weight
            return x @ w.T, batch.grad @ w, batch.grad.T @ x

    weights = layer.linear.weight
    runs = {
        "ours": step(lambda: layer(x, operator), weights),
        "ours + build": step(lambda: layer(x, sparse_operator(index, weight, n)), weights),
        "dense": step(block_matrix, weights),
        "dense, padded": padded_step() if "dense, padded" not in without else floor,
        "gather-scatter": step(lambda: layer(x, index, weight), weights),
        "GCNConv": step(lambda: torch.relu(x + theirs(x, index, norm)), theirs.lin.weight),
        "floor": floor,
    }
    return {name: run for name, run in runs.items() if name not in without}


def check(batch: Batch, runs: dict[str, Run]) -> None:
    """All rivals must give the same output and the same gradients, or comparing their times means nothing."""
    expected = runs["ours"]()
    for name, run in runs.items():
        if name == "floor":
            continue
        results = run()
        if name == "dense, padded":  # the padding of the states is left out
            results = (*(value[batch.video, batch.place] for value in results[:2]), results[2])
        for what, found, wanted in zip(("output", "x gradient", "weight gradient"), results, expected, strict=True):
            found, wanted = found.detach(), wanted.detach()
            error = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
            if error > 1e-4:
                raise AssertionError(f"{name} and ours differ in the {what}: relative error {error:.1e}")


def main(quick: bool = False) -> None:
    """Check that the rivals agree; unless ``quick``, time them and write ``results/convolution.json``."""
    console = Console()
    console.width = max(console.width, 132)
    if quick:
        for ragged in (False, True):
            batch = Batch(4, 5, 3, ragged)
            check(batch, contestants(batch))
        crowded = Batch(2, 4, 30, True)  # laid out in windows
        check(crowded, contestants(crowded))
        console.print("convolution: all rivals agree")
        return
    rows: list[dict[str, Any]] = []
    for videos, frames, boxes, ragged, without in CASES:
        batch = Batch(videos, frames, boxes, ragged)
        runs = contestants(batch, without)
        check(batch, runs)
        times = measure(runs, repetitions=7 if batch.size > 20000 else 9, warm_up=1 if batch.size > 20000 else 2)
        ours = times["ours"]["median"]
        rows.append(
            {
                "videos": videos,
                "frames": frames,
                "boxes": boxes,
                "ragged": ragged,
                "nodes": batch.size,
                "edges": batch.edge_index.size(1),
                "milliseconds": times,
                "times_floor": round(ours / times["floor"]["median"], 3),
                "speedup_over": {
                    name: round(taken["median"] / ours, 3)
                    for name, taken in times.items()
                    if name not in ("ours", "ours + build", "floor")
                },
            }
        )
        console.print(f"{videos} x {frames} x {boxes}{' ragged' if ragged else ''}: done")
    console.print(table(rows))
    longer = [row for row in rows if row["videos"] == 1 and row["boxes"] == 5]
    nodes = [row["nodes"] for row in longer]
    exponents = {
        name: growth(nodes, [row["milliseconds"][name]["median"] for row in longer]) for name in rows[0]["milliseconds"]
    }
    console.print("cost grows with the length of one video to the power of:", exponents)
    memory = {f"{frames} frames": peak_of_operator(frames) for frames in (250, 1000, 4000)}
    console.print("bytes an edge that building and holding an operator takes at most:", memory)
    results = {"bars": bars(rows), "channels": CHANNELS, "growth_with_length": exponents, "bytes_an_edge": memory}
    path = write("convolution", {**results, "cases": rows})
    console.print(f"written: {path.name}")


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What performance asks of the convolution, and what was reached."""
    found = {(row["videos"], row["frames"], row["boxes"], row["ragged"]): row for row in rows}
    small, ragged, crowd = (64, 10, 5, False), (64, 10, 5, True), (1, 1000, 50, False)
    made = [
        bar("convolution, 64 x 10 x 5, times the matrix products", found[small]["times_floor"], 1.25, "lower"),
        bar("convolution, 64 x 10 x 5 ragged, times the matrix products", found[ragged]["times_floor"], 1.25, "lower"),
        bar("convolution, 1 x 1000 x 50, times the matrix products", found[crowd]["times_floor"], 1.6, "lower"),
        bar("convolution, 64 x 10 x 5, against gather-scatter", found[small]["speedup_over"]["gather-scatter"], 3),
    ]
    for size, asked in (
        (small, 1.0),
        (ragged, 1.3),
        ((4, 200, 5, False), 1.8),
        ((1, 400, 5, False), 3),
        ((1, 1000, 5, False), 5.5),
        ((1, 200, 50, False), 9),
    ):
        name = f"{' x '.join(map(str, size[:3]))}{' ragged' if size[3] else ''}"
        for rival in ("dense", "dense, padded"):
            made.append(bar(f"convolution, {name}, against {rival}", found[size]["speedup_over"][rival], asked))
    return made


def peak_of_operator(frames: int) -> float:
    """Most bytes held at once, for each edge, to make the operator of a video with 5 boxes a frame and apply it."""
    batch = Batch(1, frames, 5, False)
    layer = STGConv(1)  # of one channel, so that the states hardly count
    held = peak = 0
    with torch.profiler.profile(profile_memory=True) as profiler:
        layer(batch.x[:, :1], sparse_operator(batch.edge_index, batch.edge_weight, batch.size))
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return round(peak / batch.edge_index.size(1), 1)


def table(rows: list[dict[str, Any]]) -> Table:
    """Medians in milliseconds, and ours against each rival."""
    shown = Table(title="STGConv, forward + backward, CPU ms (times slower than ours)")
    names = list(rows[0]["milliseconds"])
    for heading in ("videos x frames x boxes", *names, "ours / floor"):
        shown.add_column(heading, justify="right")
    for row in rows:
        ours = row["milliseconds"]["ours"]["median"]
        cells = []
        for name in names:
            taken = row["milliseconds"].get(name)
            cells.append("-" if taken is None else f"{taken['median']:.1f} ({taken['median'] / ours:.2f})")
        size = f"{row['videos']} x {row['frames']} x {row['boxes']}{' ragged' if row['ragged'] else ''}"
        shown.add_row(size, *cells, f"{row['times_floor']:.2f}")
    return shown
