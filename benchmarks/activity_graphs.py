"""The clips of CAD-120 as graphs of boxes, all in one flat batch, and the statistics that the forest reads of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs import (
    CAD120_ACTIONS,
    CAD120_CLASSES,
    Cad120Clip,
    Cad120Labels,
    FlatBatch,
    VideoFeatures,
    box_features,
    contact_geometry,
    relative_geometry,
    spatial_edges,
    track_edges,
)

FRAMES = 6
"""Frames of a clip that become part of its graph, evenly spread from first to last: a stride of 4 to 40 frames."""
CLASSES = 1 + len(CAD120_CLASSES)
MOTION_SCALE = 10.0
"""Most boxes move by less than a tenth of their size, which a network cannot see next to numbers around 1."""
EDGE_DIMS = {"spatial": 10, "temporal": 7}


class Clips(NamedTuple):
    """Several views of ``B`` clips, of ``N`` objects in all: view v of clip b is graph ``v * B + b``.

    Args:
        nodes: ``x``, ``boxes``, ``frame``, ``track``, ``label`` by name, ``[N ...]``, ordered by graph, then by frame.
        counts: ``[G]`` objects of each graph.
        edges: "spatial" and "temporal" -> ``edge_index [2 E]``, ordered by target.
        attributes: the same -> ``edge_attr [E F]``, of width ``EDGE_DIMS``.
        sizes: ``[G 2]`` height and width of the pictures.
        y: ``[B]`` action.
        subject: ``[B]`` who acts.
    """

    nodes: dict[str, Tensor]
    counts: Tensor
    edges: dict[str, Tensor]
    attributes: dict[str, Tensor]
    sizes: Tensor
    y: Tensor
    subject: np.ndarray

    def batch(self, graphs: Tensor) -> FlatBatch:
        """Some of the graphs as one batch, with ``KIND_index`` and ``KIND_attr`` for each kind of edges."""
        begins = self.counts.cumsum(0) - self.counts
        counts = self.counts[graphs]
        nodes = ranges(begins[graphs], counts)
        made = FlatBatch(**{name: value[nodes] for name, value in self.nodes.items()})
        made.batch = torch.arange(len(graphs)).repeat_interleave(counts)
        made.num_frames = torch.full((len(graphs),), FRAMES)
        made["size"] = self.sizes[graphs]
        shift = counts.cumsum(0) - counts - begins[graphs]
        for kind, index in self.edges.items():
            # Edges are ordered by target, so that those of a graph lie together.
            low, high = (
                torch.searchsorted(index[1].contiguous(), at) for at in (begins[graphs], begins[graphs] + counts)
            )
            chosen = ranges(low, high - low)
            made[f"{kind}_index"] = index[:, chosen] + shift.repeat_interleave(high - low)
            made[f"{kind}_attr"] = self.attributes[kind][chosen]
        return made


def ranges(begins: Tensor, counts: Tensor) -> Tensor:
    """The numbers ``begin .. begin + count - 1`` of each, end to end."""
    before = counts.cumsum(0) - counts
    return (begins - before).repeat_interleave(counts) + torch.arange(int(counts.sum()))


def make_clips(clips: Sequence[Cad120Clip], views: int = 1, seed: int = 0) -> Clips:
    """The clips as graphs: first as they are, then ``views - 1`` times by another camera (see `one_view`).

    Args:
        clips: with at least one frame each.
        views: how many graphs of each clip.
        seed: of these.
    """
    random = np.random.default_rng(seed)
    parts = [one_view(clip, random, view) for view in range(views) for clip in clips]
    counts = torch.tensor([len(part["frame"]) for part in parts])
    nodes = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    batch = torch.arange(len(parts)).repeat_interleave(counts)
    boxes, frame, track = nodes["boxes"], nodes["frame"], nodes["track"]
    pairs, _ = spatial_edges(boxes, frame, batch)
    along, _ = track_edges(frame, track, batch, span=FRAMES)
    edges = {"spatial": pairs[:, pairs[0] != pairs[1]], "temporal": along}
    sizes = torch.tensor([clip.features.size for clip in clips] * views)
    return Clips(
        nodes,
        counts,
        edges,
        {kind: edge_attributes(kind, index, boxes, frame, batch, sizes) for kind, index in edges.items()},
        sizes,
        torch.tensor([clip.labels.y for clip in clips]),
        np.array([clip.labels.subject for clip in clips]),
    )


def edge_attributes(kind: str, index: Tensor, boxes: Tensor, frame: Tensor, batch: Tensor, sizes: Tensor) -> Tensor:
    """Geometry in space; geometry and time along tracks, larger."""
    relative = relative_geometry(index, boxes, frame, batch)
    if kind == "temporal":
        return MOTION_SCALE * relative[:, :7]
    # Ratio of sizes and IoU, which the geometry of contacts lacks.
    return torch.cat([relative[:, 2:5], contact_geometry(index, boxes, sizes, batch)], dim=1)


def one_view(clip: Cad120Clip, random: np.random.Generator, view: int) -> dict[str, Tensor]:
    """The objects in some frames of a clip.

    View 0 is the clip as it is. In the others the clip begins and ends up to 8 % later and earlier, each frame is moved
    by up to a quarter of the stride, the picture is scaled and shifted by up to a tenth, and odd views are mirrored.
    """
    features = clip.features
    at = np.linspace(0, 1, FRAMES)
    if view:
        low, high = 0.08 * random.random(2)
        at = low + at * (1 - low - high) + (random.random(FRAMES) - 0.5) / 2 / FRAMES
    chosen = torch.from_numpy((at.clip(0, 1) * (features.num_frames - 1)).round().astype(np.int64))
    # A clip of few frames shows some of them twice.
    place, row = (features.frame == chosen.unsqueeze(1)).nonzero(as_tuple=True)
    boxes, label = features.boxes[row], features.label[row]
    height, width = features.size
    if view:
        scale, right, down = 0.1 * (2 * random.random(3) - 1)
        boxes = (1 + scale) * boxes + boxes.new_tensor([right * width, down * height] * 2)
    if view % 2:
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    x = box_features(boxes, features.size, None, label, CLASSES)
    return {"x": x, "boxes": boxes, "frame": place, "track": features.track[row], "label": label}


STATISTICS = {
    "classes": "which classes there are, and how many of each",
    "distances": "the nearest two of each pair of classes, averaged over time",
    "motion": "of each class, the object that moves most: net motion (x, y, length) and path",
    "ends": "the nearest two of each pair of classes, at the start and at the end",
}
"""Groups of statistics of a clip, over all its frames and in shares of the picture."""


def statistics(clip: Cad120Clip) -> dict[str, np.ndarray]:
    """The hand-made description of a clip: for each of `STATISTICS` a vector."""
    features = clip.features
    boxes, frame = features.boxes.double().numpy(), features.frame.numpy()
    label, track = features.label.numpy(), features.track.numpy()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array(features.size[::-1])
    path = {
        number: (int(label[rows][0]), dict(zip(frame[rows].tolist(), centres[rows], strict=True)))
        for number in np.unique(track)
        if len(rows := np.flatnonzero(track == number))
    }
    count, motion = np.zeros(CLASSES), np.zeros((CLASSES, 4))
    # Farther than any two objects: a pair that is not there.
    apart = np.full((3, CLASSES, CLASSES), 2.0)
    for number, (kind, way) in path.items():
        count[kind] += 1
        points = np.array(list(way.values()))
        length, net = np.linalg.norm(np.diff(points, axis=0), axis=1).sum(), points[-1] - points[0]
        if length >= motion[kind, 3]:
            motion[kind] = [*net, np.linalg.norm(net), length]
        for other in (other for other in path if other > number):
            second, its = path[other]
            shared = sorted(way.keys() & its.keys())
            if shared:
                far = np.array([np.linalg.norm(way[t] - its[t]) for t in shared])
                low, high = sorted((kind, second))
                apart[:, low, high] = np.minimum(apart[:, low, high], [far.mean(), far[0], far[-1]])
    upper = np.triu_indices(CLASSES)
    return {
        "classes": count,
        "distances": apart[0][upper],
        "motion": motion.ravel(),
        "ends": np.concatenate([apart[1][upper], apart[2][upper]]),
    }


def made_clips(people: int = 3, clips: int = 6) -> list[Cad120Clip]:
    """Clips of a hand that picks a cup or places it, and does nothing but that: a few for each of some people."""
    made = []
    for number in range(people * clips):
        random = np.random.default_rng(number)
        place, length = number % 2, 12
        way = np.linspace(0, 150, length)[:: -1 if place else 1]
        start = 100 + 100 * random.random(2)
        hand = np.stack([np.full(length, start[0]), start[1] + way], 1)
        # The cup is held for half of the way.
        cup = hand.copy()
        cup[length // 2 :] = cup[length // 2]
        frames = [{"boxes": np.stack([hand[t], cup[t]]), "labels": [1, 9], "tracks": [0, 1]} for t in range(length)]
        for frame in frames:
            frame["boxes"] = np.concatenate([frame["boxes"], frame["boxes"] + 30], 1)
        features = VideoFeatures.from_detections(
            frames, num_frames=length, size=(480, 640), video=f"made{number}", num_classes=CLASSES
        )
        action = ("pick", "place")[place]
        labels = Cad120Labels(
            CAD120_ACTIONS.index(action), action, f"person{number // clips}", "made", ("hand", "cup"), {}
        )
        made.append(Cad120Clip(features.video, features, labels))
    return made
