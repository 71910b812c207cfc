"""Building the edges of many videos: all frames at once against a loop over frames, at the papers' sizes.

The loop is what most published code does: for each frame ``torchvision.ops.box_iou`` and a softmax, for each two
neighbouring frames the product of normalised copies and a softmax. Both give edges and weights. The floor is reading
the features once, into a copy.
"""

from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import growth, measure, write
from graphs import spatial_edges, temporal_edges

WIDTH = 2048
CASES = (  # videos, frames, boxes, ragged
    (64, 10, 5, True),
    (64, 10, 5, False),
    (16, 10, 5, True),
    (256, 10, 5, True),
    (1, 160, 5, True),
    (1, 640, 5, True),
    (1, 2560, 5, True),
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
        self.frames, self.video, self.frame = frames, slot // frames, slot % frames
        corner = 200 * torch.rand(len(slot), 2)
        self.boxes = torch.cat([corner, corner + 80], dim=1)
        self.objects = torch.randn(len(slot), width)


def at_once(videos: Videos) -> tuple[Tensor, Tensor]:
    """Ours."""
    parts = (
        spatial_edges(videos.boxes, videos.frame, videos.video),
        temporal_edges(videos.objects, videos.frame, videos.video),
    )
    return torch.cat([index for index, _ in parts], dim=1), torch.cat([weight for _, weight in parts])


def frame_by_frame(videos: Videos) -> tuple[Tensor, Tensor]:
    """The loop."""
    from torchvision.ops import box_iou

    counts = videos.per_frame.tolist()
    starts = (videos.per_frame.cumsum(0) - videos.per_frame).tolist()
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


def check(videos: Videos) -> None:
    """Both must give the same edges, or comparing their times means nothing."""
    (index, weight), (expected, wanted) = at_once(videos), frame_by_frame(videos)
    if not torch.equal(index, expected) or not torch.allclose(weight, wanted, atol=1e-5):
        raise AssertionError("the loop and graphs give different edges")


def main(quick: bool = False) -> None:
    """Check that the rivals agree; unless ``quick``, time them and write ``results/edges.json``."""
    console = Console()
    console.width = max(console.width, 100)
    if quick:
        check(Videos(4, 5, 3, True, width=16))
        console.print("edges: all rivals agree")
        return
    rows: list[dict[str, Any]] = []
    for number, frames, boxes, ragged in CASES:
        videos = Videos(number, frames, boxes, ragged)
        check(videos)
        copy = torch.empty_like(videos.objects)
        times = measure(
            {
                "at once": partial(at_once, videos),
                "frame by frame": partial(frame_by_frame, videos),
                "floor": partial(copy.copy_, videos.objects),
            }
        )
        ours = times["at once"]["median"]
        rows.append(
            {
                "videos": number,
                "frames": frames,
                "boxes": boxes,
                "ragged": ragged,
                "nodes": len(videos.frame),
                "milliseconds": times,
                "times_floor": round(ours / times["floor"]["median"], 3),
                "speedup_over": {"frame by frame": round(times["frame by frame"]["median"] / ours, 3)},
            }
        )
    exponents = {}
    for name, several in (
        ("videos", [row for row in rows if row["frames"] == 10 and row["ragged"]]),
        ("frames", [row for row in rows if row["videos"] == 1]),
    ):
        exponents[name] = growth(
            [r["nodes"] for r in several], [r["milliseconds"]["at once"]["median"] for r in several]
        )
    console.print(table(rows))
    console.print("cost grows with the number of videos and of frames to the power of:", exponents)
    console.print(f"written: {write('edges', {'width': WIDTH, 'growth': exponents, 'cases': rows}).name}")


def table(rows: list[dict[str, Any]]) -> Table:
    """Medians in milliseconds, and ours against the loop."""
    shown = Table(title="Spatial and temporal edges, CPU ms")
    for heading in ("videos x frames x boxes", "at once", "frame by frame", "floor", "speed-up", "ours / floor"):
        shown.add_column(heading, justify="right")
    for row in rows:
        size = f"{row['videos']} x {row['frames']} x {row['boxes']}{' ragged' if row['ragged'] else ''}"
        medians = [f"{row['milliseconds'][name]['median']:.1f}" for name in ("at once", "frame by frame", "floor")]
        shown.add_row(size, *medians, f"{row['speedup_over']['frame by frame']:.1f}", f"{row['times_floor']:.2f}")
    return shown
