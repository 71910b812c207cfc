"""Building the edges of many videos, spatial and temporal, with their weights, at the papers' sizes.

- ``at once``: ours, every frame of every video at once;
- ``frame by frame``: what most published code does: for each frame ``torchvision.ops.box_iou`` and a softmax, for each
  two neighbouring frames the product of normalised copies and a softmax;
- ``edge by edge``: the features of both ends gathered for every edge, multiplied and summed, PyG's way;
- ``padded copies``: frames padded to one size, normalised, one batched product;
- ``numba``: a compiled loop (:mod:`benchmarks.edge_kernel`), not part of the package;
- ``floor``: reading the features once, into a copy.

Then one video at a time, as ``stg.extract`` and ``stg.ingest`` build graphs.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.utils import softmax

from benchmarks.timing import bar, growth, measure, write
from graphs import VideoFeatures, build_graph, spatial_edges, temporal_edges

WIDTH = 2048
Edges = tuple[Tensor, Tensor]
SLOW = ("frame by frame", "edge by edge", "padded copies")
CASES = (  # videos, frames, boxes, ragged, rivals left out because they would take minutes or much memory
    (64, 10, 5, True, ()),
    (64, 10, 5, False, ()),
    (16, 10, 5, True, SLOW[1:]),
    (256, 10, 5, True, SLOW[1:]),
    (1024, 10, 5, True, SLOW),
    (1, 160, 5, True, SLOW[1:]),
    (1, 640, 5, True, SLOW[1:]),
    (1, 2560, 5, True, SLOW),
    (1, 10000, 5, True, SLOW),
    (1, 100, 5, False, SLOW[1:]),
    (1, 100, 10, False, SLOW[1:]),
    (1, 100, 20, False, SLOW[1:]),
    (1, 100, 50, False, SLOW[1:]),
    (1, 1000, 50, False, SLOW),
)


class Videos:
    """Made videos: with ``ragged``, a box is missing with 23% chance, all boxes of a frame with 5%."""

    def __init__(self, videos: int, frames: int, boxes: int, ragged: bool, width: int = WIDTH) -> None:
        torch.manual_seed(0)
        self.per_frame = torch.full((videos * frames,), boxes)
        if ragged:
            self.per_frame = torch.binomial(self.per_frame.float(), torch.tensor(0.77)).long()
            self.per_frame[torch.rand(len(self.per_frame)) < 0.05] = 0
        slot = torch.arange(videos * frames).repeat_interleave(self.per_frame)
        self.videos, self.frames, self.slot = videos, frames, slot
        self.video, self.frame = slot // frames, slot % frames
        self.start = torch.cat([torch.zeros(1, dtype=torch.int64), self.per_frame.cumsum(0)])
        corner = 200 * torch.rand(len(slot), 2)
        self.boxes = torch.cat([corner, corner + 80], dim=1)
        self.objects = torch.randn(len(slot), width)

    def each(self) -> list[VideoFeatures]:
        """The videos one by one."""
        sizes = torch.bincount(self.video, minlength=self.videos).tolist()
        parts = (self.boxes.split(sizes), self.objects.split(sizes), self.frame.split(sizes))
        return [VideoFeatures(*part, num_frames=self.frames) for part in zip(*parts, strict=True)]


def at_once(videos: Videos) -> Edges:
    """Ours."""
    parts = (
        spatial_edges(videos.boxes, videos.frame, videos.video),
        temporal_edges(videos.objects, videos.frame, videos.video),
    )
    return torch.cat([index for index, _ in parts], dim=1), torch.cat([weight for _, weight in parts])


def frame_by_frame(videos: Videos) -> Edges:
    """The loop."""
    from torchvision.ops import box_iou

    counts, starts = videos.per_frame.tolist(), videos.start.tolist()
    boxes, objects = videos.boxes.split(counts), videos.objects.split(counts)
    index, weight = [], []
    for offset in (0, 1):
        for t, count in enumerate(counts):
            if count == 0 or (offset and ((t + 1) % videos.frames == 0 or counts[t + 1] == 0)):
                continue
            if offset:
                here = torch.nn.functional.normalize(objects[t], dim=1)
                after = torch.nn.functional.normalize(objects[t + 1], dim=1)
                rows = (here @ after.T).softmax(1)
            else:
                rows = box_iou(boxes[t], boxes[t]).softmax(1)
            target = torch.arange(count).repeat_interleave(rows.size(1)) + starts[t]
            source = torch.arange(rows.size(1)).repeat(count) + starts[t + offset]
            index.append(torch.stack([source, target]))
            weight.append(rows.flatten())
    return torch.cat(index, dim=1), torch.cat(weight)


def edge_by_edge(videos: Videos) -> Edges:
    """Every pair of neighbours gathered; which ones they are is found without a loop."""
    pairs = []
    for offset in (0, 1):
        here = videos.slot
        fits = (videos.frame + offset < videos.frames).long()
        after = (here + offset).clamp(max=len(videos.per_frame) - 1)
        degree = videos.per_frame[after] * fits
        target = torch.arange(len(here)).repeat_interleave(degree)
        place = torch.arange(len(target)) - (degree.cumsum(0) - degree).repeat_interleave(degree)
        pairs.append((videos.start[after].repeat_interleave(degree) + place, target))
    (near, to), (following, ahead) = pairs
    a, b = videos.boxes[to], videos.boxes[near]
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    overlap = sides.prod(1)
    iou = overlap / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap)
    unit = torch.nn.functional.normalize(videos.objects, dim=1)
    cosine = (unit[ahead] * unit[following]).sum(1)
    weights = (softmax(iou, to, num_nodes=len(unit)), softmax(cosine, ahead, num_nodes=len(unit)))
    return torch.stack([torch.cat([near, following]), torch.cat([to, ahead])]), torch.cat(weights)


def padded_copies(videos: Videos) -> Edges:
    """Frames padded with zeros to one size; all of them multiplied in one batched product of normalised copies."""
    from torchvision.ops.boxes import box_area

    slots, size = len(videos.per_frame), int(videos.per_frame.max())
    place = torch.arange(len(videos.slot)) - videos.start[videos.slot]
    node = torch.zeros(slots, size, dtype=torch.int64).index_put((videos.slot, place), torch.arange(len(place)))
    real = torch.arange(size) < videos.per_frame.unsqueeze(1)
    unit = torch.zeros(slots, size, videos.objects.size(1))
    unit[videos.slot, place] = torch.nn.functional.normalize(videos.objects, dim=1)
    boxes = torch.zeros(slots, size, 4).index_put((videos.slot, place), videos.boxes)
    a, b = boxes.unsqueeze(2), boxes.unsqueeze(1)
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area = box_area(boxes.view(-1, 4)).view(slots, size)
    iou = overlap / (area.unsqueeze(2) + area.unsqueeze(1) - overlap).clamp(min=1e-9)
    linked = torch.arange(1, slots) % videos.frames != 0
    index, weight = [], []
    for score, rows, columns, valid in (
        (iou, node, node, real.unsqueeze(2) & real.unsqueeze(1)),
        (
            torch.bmm(unit[:-1], unit[1:].transpose(1, 2)),
            node[:-1],
            node[1:],
            linked.view(-1, 1, 1) & real[:-1].unsqueeze(2) & real[1:].unsqueeze(1),
        ),
    ):
        chosen = score.masked_fill(~valid, -torch.inf).softmax(2)[valid]
        index.append(
            torch.stack([columns.unsqueeze(1).expand_as(valid)[valid], rows.unsqueeze(2).expand_as(valid)[valid]])
        )
        weight.append(chosen)
    return torch.cat(index, dim=1), torch.cat(weight)


def compiled(videos: Videos) -> Edges:
    """The kernel."""
    from benchmarks.edge_kernel import edges_of

    source, target, weight = edges_of(
        videos.objects.numpy(), videos.boxes.double().numpy(), videos.start.numpy(), videos.frames
    )
    return torch.stack([torch.from_numpy(source), torch.from_numpy(target)]), torch.from_numpy(weight)


RIVALS: dict[str, Callable[[Videos], Edges]] = {
    "at once": at_once,
    "frame by frame": frame_by_frame,
    "edge by edge": edge_by_edge,
    "padded copies": padded_copies,
    "numba": compiled,
}


def check(videos: Videos, without: tuple[str, ...] = ()) -> None:
    """All must give the same edges in the same order, or comparing their times means nothing."""
    expected, wanted = at_once(videos)
    for name, build in RIVALS.items():
        if name in without:
            continue
        index, weight = build(videos)
        if not torch.equal(index, expected) or not torch.allclose(weight, wanted, rtol=0, atol=1e-5):
            raise AssertionError(f"{name} and graphs give different edges")


def case(number: int, frames: int, boxes: int, ragged: bool, without: tuple[str, ...]) -> dict[str, Any]:
    """Measure one size."""
    videos = Videos(number, frames, boxes, ragged)
    check(videos, without)
    copy = torch.empty_like(videos.objects)
    runs = {name: partial(build, videos) for name, build in RIVALS.items() if name not in without}
    times = measure({**runs, "floor": partial(copy.copy_, videos.objects)}, repetitions=9 if number > 1 else 7)
    ours = times["at once"]["median"]
    return {
        "videos": number,
        "frames": frames,
        "boxes": boxes,
        "ragged": ragged,
        "nodes": len(videos.frame),
        "milliseconds": times,
        "times_floor": round(ours / times["floor"]["median"], 3),
        "speedup_over": {name: round(times[name]["median"] / ours, 3) for name in runs if name != "at once"},
    }


def ingest() -> dict[str, Any]:
    """``build_graph`` for one video after the other, and how long the kernel takes to be there at all."""
    each = Videos(64, 10, 5, True).each()
    build = measure({"build_graph": lambda: [build_graph(video) for video in each]})["build_graph"]
    import benchmarks.edge_kernel as kernel

    start = time.process_time()
    kernel.edges_of.recompile()
    return {
        "build_graph_ms_a_video": {name: round(value / len(each), 4) for name, value in build.items()},
        "numba_compilation_s": round(time.process_time() - start, 2),
    }


def main(quick: bool = False) -> None:
    """Check that the rivals agree; unless ``quick``, time them and write ``results/edges.json``."""
    console = Console()
    console.width = max(console.width, 120)
    if quick:
        check(Videos(4, 5, 3, True, width=16), without=("numba",))  # whose compilation takes longer than all the rest
        console.print("edges: all rivals agree")
        return
    rows = [case(*size) for size in CASES]
    exponents = {}
    for name, several in (
        ("videos", [row for row in rows if row["frames"] == 10 and row["ragged"]]),
        ("frames", [row for row in rows if row["videos"] == 1 and row["boxes"] == 5 and row["ragged"]]),
        ("boxes", [row for row in rows if row["frames"] == 100]),
    ):
        sizes = [row[name] for row in several]
        exponents[name] = growth(sizes, [row["milliseconds"]["at once"]["median"] for row in several])
    alone = ingest()
    console.print(table(rows))
    console.print("cost grows with the number of videos, frames and boxes to the power of:", exponents)
    console.print("one video at a time:", alone)
    first, loop = rows[0], "frame by frame"
    bars = [
        bar("building edges, 64 x 10 x 5 ragged, against a loop over frames", first["speedup_over"][loop], 10),
        bar("building edges, 64 x 10 x 5 full, against a loop over frames", rows[1]["speedup_over"][loop], 10),
        bar("building edges, growth exponent in videos", exponents["videos"], 1.1, "lower"),
        bar("building edges, growth exponent in frames", exponents["frames"], 1.1, "lower"),
    ]
    results = {"bars": bars, "width": WIDTH, "growth": exponents, "ingest": alone, "cases": rows}
    console.print(f"written: {write('edges', results).name}")


def table(rows: list[dict[str, Any]]) -> Table:
    """Medians in milliseconds, and how many times ours that is."""
    shown = Table(title="Spatial and temporal edges, CPU ms (times ours)")
    for heading in ("videos x frames x boxes", *RIVALS, "floor"):
        shown.add_column(heading, justify="right")
    for row in rows:
        ours = row["milliseconds"]["at once"]["median"]
        cells = []
        for name in (*RIVALS, "floor"):
            taken = row["milliseconds"].get(name)
            cells.append("-" if taken is None else f"{taken['median']:.1f} ({taken['median'] / ours:.2f})")
        size = f"{row['videos']} x {row['frames']} x {row['boxes']}{' ragged' if row['ragged'] else ''}"
        shown.add_row(size, *cells)
    return shown
