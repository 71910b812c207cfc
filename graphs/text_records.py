"""What :func:`graphs.to_text` says of a video graph, as plain values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from graphs.edges import EDGE_TYPES
from graphs.flat import GraphData, known_fields, require_fields
from graphs.tracks import link_tracks
from graphs.variants import DENSE_TYPE

Names = Mapping[int, str]

INSIDE, OVERLAP = 0.8, 0.2
"""Shares of the smaller box that the other covers."""
TOUCH, NEAR = 0.01, 0.1
"""Gaps between borders, in widths of the picture."""
CHANGE, MOTION = 0.02, 0.03
"""Least change of a distance, and least way of what is not still, in widths of the picture: above jitter."""

CONTACTS = ("apart", "near", "touching", "overlapping", "around", "inside")
_CHANGES = ("approaching", "steady", "moving away")
_FIELDS = ("x", "boxes", "frame", "track", "label", "scores", "num_frames", "size", "frame_time", "frame_number", "fps")


class _Tracks(NamedTuple):
    """The tracks that are described, frame by frame; lengths in widths of the picture.

    Args:
        boxes: ``[K T 4]`` corners, NaN where a track is not seen.
        member: ``[N]`` the place of each object's track among them, -1 for those that are not described.
        number: of each in the graph, -1 for an object without.
        total: tracks in the graph.
    """

    boxes: Float[np.ndarray, "K T 4"]
    member: Int[np.ndarray, " N"]
    number: Int[np.ndarray, " K"]
    total: int


def text_records(
    data: GraphData, *, frames: int, tracks: int, precision: int, names: Names, weights: bool, link: bool
) -> list[dict[str, Any]]:
    """One record of the video, then one a track, then one a pair; see :func:`graphs.to_text`."""
    read = _read(data)
    length = read["num_frames"]
    origin = "graph" if "track" in read else "linked" if link else "objects"
    if origin == "linked":
        x = read["x"] if "x" in read else np.zeros((len(read["frame"]), 1))
        read["track"] = link_tracks(*(torch.from_numpy(part) for part in (read["boxes"], x, read["frame"]))).numpy()
    elif origin == "objects":
        read["track"] = np.full(len(read["frame"]), -1)
    size, known = _size(read)
    shown = _tracks(read, tracks, size)
    chosen = np.unique(np.linspace(0, length - 1, min(frames, length)).round().astype(np.int64))
    clock, seconds = _clock(read)
    write = _Rounded(clock, chosen, size[0] / size[1], precision, seconds)
    video = {
        "type": "video",
        "video": str(data["video"]) if "video" in data else "",
        "frames": length,
        "time": "seconds" if seconds else "frames",
        "times": write.times(chosen),
        "size": size,
        "size_known": known,
        "tracks": shown.total,
        "tracks_from": origin,
        "shown": len(shown.boxes),
    }
    edges = _edges(data, shown) if weights else {}
    listed = [_track(read, shown, place, names, write) for place in range(len(shown.boxes))]
    paired = list(_pairs(shown, write))
    for record in (*listed, *paired):
        there, back = record["places"], record.pop("places")[::-1]
        if weights and record["type"] == "pair":
            record["edges"] = {
                kind: [write.weight(mean[there]), write.weight(mean[back])] for kind, mean in edges.items()
            }
        elif weights:
            record["edges"] = {kind: write.weight(mean[there]) for kind, mean in edges.items()}
    return [video, *listed, *paired]


class _Rounded:
    """Numbers as they are written."""

    def __init__(self, clock: np.ndarray, chosen: np.ndarray, aspect: float, precision: int, seconds: bool) -> None:
        self.clock, self.chosen, self.aspect = clock, chosen, aspect
        self.precision, self.seconds = precision, seconds

    def number(self, value: float) -> float:
        # Added to zero, so that none is written as -0.
        return round(float(value), self.precision) + 0.0

    def weight(self, value: float) -> float | None:
        return None if np.isnan(value) else self.number(value)

    def time(self, frame: int) -> int | float:
        return self.number(self.clock[frame]) if self.seconds else frame

    def times(self, frames: Int[np.ndarray, " F"]) -> list[int | float]:
        return [self.time(frame) for frame in frames.tolist()]


def _read(data: GraphData) -> dict[str, Any]:
    """The fields of one video as arrays, checked."""
    known = known_fields(data, _FIELDS)
    require_fields(known, "boxes", "frame")
    lengths = np.atleast_1d(np.asarray(torch.as_tensor(known.get("num_frames", 0)).cpu()))
    if len(lengths) > 1 or len(data.to_dict().get("ptr", ())) > 2:
        raise ValueError("to_text writes the graph of one video, got a batch of several: call it on each (batch[i])")
    read = {name: torch.as_tensor(value).detach().cpu().numpy() for name, value in known.items()}
    count = len(read["frame"])
    if read["boxes"].shape != (count, 4):
        raise ValueError(f"boxes must have shape [{count}, 4], a row a frame number, got {list(read['boxes'].shape)}")
    for name in ("track", "label", "scores", "x"):
        if name in read and len(read[name]) != count:
            raise ValueError(f"{name} must have {count} rows, one a box, got {len(read[name])}")
    seen = int(read["frame"].max()) + 1 if count else 1
    length = int(lengths[0]) if "num_frames" in known else seen
    if length < seen or (count and int(read["frame"].min()) < 0):
        came = f"{read['frame'].min()}..{read['frame'].max()}" if count else f"a video of {length} frames"
        raise ValueError(f"frame must lie in 0..{length - 1} (num_frames - 1), got {came}")
    if not np.isfinite(read["boxes"]).all():
        raise ValueError("boxes must be finite")
    return {**read, "num_frames": length}


def _size(read: Mapping[str, Any]) -> tuple[list[int], bool]:
    """Height and width in pixels, and whether the graph says them."""
    if "size" in read:
        return read["size"].reshape(-1)[:2].astype(int).tolist(), True
    # As in the other layers: what is known is how far the boxes reach.
    reach = read["boxes"][:, [3, 2]].max(axis=0, initial=1) if len(read["boxes"]) else np.ones(2)
    return np.ceil(reach).clip(1).astype(int).tolist(), False


def _clock(read: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    """The time of each frame in seconds, if the graph knows it, else its number."""
    length = read["num_frames"]
    if "frame_time" in read and len(read["frame_time"]) == length:
        return read["frame_time"], True
    fps = float(read["fps"].reshape(-1)[0]) if "fps" in read else 0.0
    if fps > 0 and "frame_number" in read and len(read["frame_number"]) == length:
        return read["frame_number"] / fps, True
    return np.arange(length), False


def _tracks(read: Mapping[str, Any], most: int, size: Sequence[int]) -> _Tracks:
    track, frame = read["track"], read["frame"]
    # An object without a track gets a number that no track has.
    key = np.where(track >= 0, track, -2 - np.arange(len(track)))
    number, member = np.unique(key, return_inverse=True)
    boxes = read["boxes"].astype(np.float64) / size[1]
    seen = np.bincount(member, minlength=len(number))
    area = np.bincount(member, (boxes[:, 2:] - boxes[:, :2]).prod(1), len(number)) / seen.clip(1)
    first = np.full(len(number), len(frame))
    np.minimum.at(first, member, np.arange(len(frame)))
    best = np.lexsort((first, -area.round(9), -seen))[:most]
    place = np.full(len(number), -1)
    place[best] = np.arange(len(best))
    member = place[member]
    cell = member * read["num_frames"] + frame
    twice = np.flatnonzero(np.bincount(cell[member >= 0], minlength=1) > 1)
    if len(twice):
        which, at = divmod(int(twice[0]), read["num_frames"])
        raise ValueError(
            f"track {number[best][which]} is more than once in frame {at}: a track is one object over time"
        )
    grid = np.full((len(best), read["num_frames"], 4), np.nan)
    grid[member[member >= 0], frame[member >= 0]] = boxes[member >= 0]
    return _Tracks(grid, member, number[best], len(number))


def _track(read: Mapping[str, Any], shown: _Tracks, place: int, names: Names, write: _Rounded) -> dict[str, Any]:
    rows = np.flatnonzero(shown.member == place)
    label = 0
    if "label" in read and (known := read["label"][rows][read["label"][rows] > 0]).size:
        label = int(np.bincount(known).argmax())
    boxes = shown.boxes[place, write.chosen]
    centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    # As shares of the picture: so far both are in widths.
    shares = np.concatenate([centre, extent], 1) / np.array([1, write.aspect] * 2)
    seen = np.isfinite(boxes[:, 0])
    return {
        "type": "track",
        "id": _letters(place),
        "places": (place, place),
        "track": int(max(shown.number[place], -1)),
        "class": (names.get(label, f"class {label}") if label else None),
        "score": write.number(read["scores"][rows].mean()) if "scores" in read else None,
        "seen": f"{len(rows)} of {read['num_frames']}",
        "motion": _motion(centre, seen, write),
        "times": write.times(write.chosen),
        "where": [_region(row[:2]) if there else None for row, there in zip(shares, seen, strict=True)],
        "boxes": [[write.number(v) for v in row] if there else None for row, there in zip(shares, seen, strict=True)],
    }


def _motion(centre: Float[np.ndarray, "F 2"], seen: Bool[np.ndarray, " F"], write: _Rounded) -> dict[str, Any]:
    """How a track moves between the times at which it is seen."""
    points, times = centre[seen], write.chosen[seen]
    points = points if len(points) else np.zeros((1, 2))
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    farthest = float(np.linalg.norm(points - points[0], axis=1).max())
    right, down = points[-1] - points[0]
    moving = np.flatnonzero(steps >= CHANGE)
    if not len(moving) and len(steps):
        moving = np.array([0, len(steps) - 1])  # slowly, all the time
    moves = None if farthest < MOTION else write.times(times[[moving[0], moving[-1] + 1]])
    return {
        "right": write.number(right),
        "down": write.number(down),
        "way": write.number(steps.sum()),
        "farthest": write.number(farthest),
        "moves": moves,
        "least": MOTION,
    }


def _pairs(shown: _Tracks, write: _Rounded) -> Iterator[dict[str, Any]]:
    """What two tracks are to each other, for each pair that shares one of the chosen frames."""
    first, second = np.triu_indices(len(shown.boxes), 1)
    a, b = shown.boxes[first], shown.boxes[second]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    gap = np.linalg.norm((-sides).clip(0), axis=-1)
    way = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = np.linalg.norm(way, axis=-1)
    shared = sides.clip(0).prod(-1)
    # Boxes without area have no share that is covered.
    covered = [shared / (box[..., 2:] - box[..., :2]).prod(-1).clip(1e-12) for box in (a, b)]
    contact = np.select(
        [covered[0] >= INSIDE, covered[1] >= INSIDE, np.maximum(*covered) >= OVERLAP, gap <= TOUCH, gap <= NEAR],
        [5, 4, 3, 2, 1],
        0,
    )
    side = _sides(way)
    both = np.isfinite(gap)
    for pair in np.flatnonzero(both[:, write.chosen].any(1)):
        at, ends_of = write.chosen[both[pair, write.chosen]], (int(first[pair]), int(second[pair]))
        step = np.diff(distance[pair, at])
        step = np.append(step, step[-1:]) if len(step) else np.zeros(1)
        change = np.select([step <= -CHANGE, step >= CHANGE], [0, 2], 1)
        key = np.stack([contact[pair, at], side[pair, at], change])
        begins = np.flatnonzero(np.append(True, (np.diff(key) != 0).any(0)))
        ends = np.append(begins[1:], len(at)) - 1
        nearest = int(np.where(both[pair], gap[pair], np.inf).argmin())
        yield {
            "type": "pair",
            "of": _letters(ends_of[0]),
            "to": _letters(ends_of[1]),
            "places": ends_of,
            "runs": [
                {
                    "from": write.time(int(at[begin])),
                    "to": write.time(int(at[end])),
                    "side": SIDES[key[1, begin]],
                    "contact": CONTACTS[key[0, begin]],
                    "change": _CHANGES[key[2, begin]],
                    "gap": [write.number(gap[pair, at[begin]]), write.number(gap[pair, at[end]])],
                }
                for begin, end in zip(begins, ends, strict=True)
            ],
            "nearest": {"gap": write.number(gap[pair, nearest]), "at": write.time(nearest)},
        }


SIDES = (
    "at the place of", "left of", "right of",
    "above", "above and left of", "above and right of",
    "below", "below and left of", "below and right of",
)  # fmt: skip
"""Where the first of a pair is, seen from the second."""


def _sides(way: Float[np.ndarray, "P T 2"]) -> Int[np.ndarray, "P T"]:
    """Places in `SIDES`: a direction counts from half of the other one on, and from `TOUCH` on."""
    size = np.abs(np.nan_to_num(way))
    counts = (size >= TOUCH) & (2 * size >= size[..., ::-1])
    code = np.where(counts, np.where(way < 0, 1, 2), 0)
    return code[..., 0] + 3 * code[..., 1]


def _region(place: Float[np.ndarray, " 2"]) -> str:
    """The third of the picture, in words."""
    across, down = ("left", "", "right"), ("top", "", "bottom")
    column, row = (int(min(max(3 * v, 0), 2)) for v in place)
    return f"{down[row]} {across[column]}".strip() or "centre"


def _letters(place: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    found = ""
    while place >= 0:
        place, letter = divmod(place, 26)
        found, place = chr(65 + letter) + found, place - 1
    return found


def _edges(data: GraphData, shown: _Tracks) -> dict[str, Float[np.ndarray, "K K"]]:
    """Type -> the mean weight with which one track gathers from another; NaN where no edge does."""
    for name in ("edge_index", "edge_weight"):
        if name not in data:
            raise ValueError(f"weights=True reads {name}, which the graph has not: build edges, or leave weights out")
    source, target = (shown.member[end] for end in data["edge_index"].detach().cpu().numpy())
    weight = data["edge_weight"].detach().double().cpu().numpy().reshape(-1)
    kind = data["edge_type"].cpu().numpy() if "edge_type" in data else np.zeros_like(source)
    described, count = (source >= 0) & (target >= 0), len(shown.boxes)
    cell = (target * count + source)[described]
    found = {}
    for number in np.unique(kind).tolist():
        rows = kind[described] == number
        edges = np.bincount(cell[rows], minlength=count**2)
        total = np.bincount(cell[rows], weight[described][rows], count**2)
        mean = np.divide(total, edges, out=np.full(count**2, np.nan), where=edges > 0).reshape(count, count)
        found[_TYPES.get(number, f"type {number}") if "edge_type" in data else "all"] = mean
    return found


_TYPES = {number: name for name, number in EDGE_TYPES.items()} | {DENSE_TYPE: "dense"}
