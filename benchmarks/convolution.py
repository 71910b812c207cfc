"""One graph convolution, forward and backward, at the papers' width of 512.

Rivals, all with the same weights and the same edges, normalised beforehand where their interface allows it:

- ``csr``: ours, ``STGConv`` with an operator that is built once per batch and shared by the layers;
- ``csr + build``: the same, and the operator is built for this one layer alone;
- ``dense``: one padded block matrix a video, ``torch.bmm``, as most published code does;
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

from benchmarks.timing import growth, measure, write
from graphs import STGConv, sparse_operator, spatial_edges, symmetric_norm, temporal_edges

CHANNELS = 512
CASES = (
    # videos, frames, boxes, ragged, name of the rivals that would not fit into memory
    (64, 10, 5, False, ()),
    (64, 10, 5, True, ()),
    (4, 200, 5, False, ()),
    (1, 250, 5, False, ()),
    (1, 500, 5, False, ()),
    (1, 1000, 5, False, ()),
    (1, 200, 50, False, ("gather-scatter", "GCNConv")),
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
        self.video, self.frame, self.size = slot // frames, slot % frames, len(slot)
        self.count = torch.bincount(self.video, minlength=videos)
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

    videos, longest = len(batch.count), int(batch.count.max())
    place = torch.arange(n) - (batch.count.cumsum(0) - batch.count)[batch.video]
    blocks = torch.zeros(videos, longest, longest)
    if "dense" not in without:
        blocks[batch.video[index[1]], place[index[1]], place[index[0]]] = norm

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

    def floor() -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            w = layer.linear.weight
            return x @ w.T, batch.grad @ w, batch.grad.T @ x

    weights = layer.linear.weight
    runs = {
        "csr": step(lambda: layer(x, operator), weights),
        "csr + build": step(lambda: layer(x, sparse_operator(index, weight, n)), weights),
        "dense": step(block_matrix, weights),
        "gather-scatter": step(lambda: layer(x, index, weight), weights),
        "GCNConv": step(lambda: torch.relu(x + theirs(x, index, norm)), theirs.lin.weight),
        "floor": floor,
    }
    return {name: run for name, run in runs.items() if name not in without}


def check(runs: dict[str, Run]) -> None:
    """All rivals must give the same output and the same gradients, or comparing their times means nothing."""
    expected = runs["csr"]()
    for name, run in runs.items():
        if name == "floor":
            continue
        for what, found, wanted in zip(("output", "x gradient", "weight gradient"), run(), expected, strict=True):
            error = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
            if error > 1e-4:
                raise AssertionError(f"{name} and csr differ in the {what}: relative error {error:.1e}")


def main(quick: bool = False) -> None:
    """Check that the rivals agree; unless ``quick``, time them and write ``results/convolution.json``."""
    console = Console()
    console.width = max(console.width, 132)
    if quick:
        for ragged in (False, True):
            check(contestants(Batch(4, 5, 3, ragged)))
        console.print("convolution: all rivals agree")
        return
    rows: list[dict[str, Any]] = []
    for videos, frames, boxes, ragged, without in CASES:
        batch = Batch(videos, frames, boxes, ragged)
        runs = contestants(batch, without)
        check(runs)
        times = measure(runs)
        ours = times["csr"]["median"]
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
                    if name not in ("csr", "csr + build", "floor")
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
    path = write("convolution", {"channels": CHANNELS, "growth_with_length": exponents, "cases": rows})
    console.print(f"written: {path.name}")


def table(rows: list[dict[str, Any]]) -> Table:
    """Medians in milliseconds, and ours against each rival."""
    shown = Table(title="STGConv, forward + backward, CPU ms (times slower than ours)")
    names = list(rows[0]["milliseconds"])
    for heading in ("videos x frames x boxes", *names, "ours / floor"):
        shown.add_column(heading, justify="right")
    for row in rows:
        ours = row["milliseconds"]["csr"]["median"]
        cells = []
        for name in names:
            taken = row["milliseconds"].get(name)
            cells.append("-" if taken is None else f"{taken['median']:.1f} ({taken['median'] / ours:.2f})")
        size = f"{row['videos']} x {row['frames']} x {row['boxes']}{' ragged' if row['ragged'] else ''}"
        shown.add_row(size, *cells, f"{row['times_floor']:.2f}")
    return shown
