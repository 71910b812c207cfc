"""One step, forward and backward, of encoders: 64 videos of 10 frames of 5 boxes, 2048 numbers wide in, 512 inside.

- ``ours``: ``STGEncoder``, the paper's;
- ``typed``: ``RelationalEncoder`` with boxes, geometry, and weights of its own for space and for time;
- ``typed, edge by edge``: the same, messages gathered and summed one by one;
- ``attention``: the same with attention over the edges.

Typed layers multiply every state with two matrices in place of one: by the products alone, a step takes 1.53 times the
paper's. Attention gathers numbers of every channel for every edge.
"""

from collections.abc import Callable

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.timing import bar, measure, write
from graphs import FlatBatch, RelationalEncoder, STGEncoder, spatial_edges, temporal_edges

Run = Callable[[], tuple[Tensor, ...]]


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
    batch.edge_type = torch.arange(2).repeat_interleave(torch.tensor([len(weight) for _, weight in kinds]))
    return batch


def contestants(batch: FlatBatch, channels: int) -> dict[str, Run]:
    """Each encoder as a function that returns the states of its frames and the gradients of its weights."""
    width = batch.x.size(1)
    torch.manual_seed(1)
    typed = RelationalEncoder(width, channels)
    by_edge = FlatBatch(**{**batch.to_dict(), "edge_weight": batch.edge_weight.clone().requires_grad_()})

    def step(encoder: torch.nn.Module, data: FlatBatch) -> Run:
        def run() -> tuple[Tensor, ...]:
            frames = encoder(data).frames
            return (frames, *torch.autograd.grad(frames.square().mean(), list(encoder.parameters())))

        return run

    return {
        "ours": step(STGEncoder(width, channels), batch),
        "typed": step(typed, batch),
        "typed, edge by edge": step(typed, by_edge),
        "attention": step(RelationalEncoder(width, channels, conv="attention"), batch),
    }


def check(runs: dict[str, Run]) -> None:
    """Both paths of the typed encoder must give the same states and gradients."""
    for found, wanted in zip(runs["typed"](), runs["typed, edge by edge"](), strict=True):
        error = float((found - wanted).detach().abs().max() / wanted.detach().abs().max().clamp(min=1e-6))
        if error > 1e-4:
            raise AssertionError(f"the paths of the typed encoder differ: relative error {error:.1e}")


def main(quick: bool = False) -> None:
    """Check that both paths agree; unless ``quick``, time the encoders and write ``results/encoders.json``."""
    console = Console()
    if quick:
        check(contestants(made_batch(3, 4, 3, 8), 16))
        console.print("encoders: both paths agree")
        return
    runs = contestants(made_batch(64, 10, 5, 2048), 512)
    check(runs)
    times = measure(runs, repetitions=9)
    ours = times["ours"]["median"]
    for name, taken in times.items():
        console.print(f"{name}: {taken['median']:.0f} ms, {taken['median'] / ours:.2f} times the paper's encoder")
    bars = [
        bar(f"{name} encoder, 64 x 10 x 5, times the paper's", round(times[name]["median"] / ours, 3), 1.5, "lower")
        for name in ("typed", "attention")
    ]
    write("encoders", {"bars": bars, "cases": [{"videos": 64, "frames": 10, "boxes": 5, "milliseconds": times}]})


if __name__ == "__main__":
    main()
