"""A video graph as text or JSON lines, for a reader of words: tracks, where they go, what they are to each other."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from graphs.flat import GraphData
from graphs.text_records import Names, text_records

FORMATS = ("text", "jsonl")
"""What :func:`to_text` writes."""


def to_text(
    data: GraphData,
    *,
    format: str = "text",
    frames: int = 10,
    tracks: int = 8,
    precision: int = 2,
    names: Names | None = None,
    weights: bool = False,
    link: bool = True,
) -> str:
    """The graph of one video in words and numbers, as a language model reads it; the same graph gives the same text.

    There is one entry a track (class, score, how it moves, its places) and one a pair of tracks that share a frame: how
    they lie to each other over time, one part a stretch in which that does not change. Places are shares of the
    picture; distances are shares of its width in both directions, so that its form does not count. Two boxes are

    - ``inside`` or ``around`` each other, where the other one covers 0.8 of the smaller;
    - ``overlapping``, where 0.2 of one is covered; else ``touching``, with a gap of at most 0.01 between borders;
    - ``near``, with a gap of at most 0.1, or ``apart``;

    and, as centres go, ``approaching`` or ``moving away`` by at least 0.02 until the next time that is described, else
    ``steady``. What a graph does not hold (colours, turning on the spot) is in no line.

    Args:
        data: the graph of one video, a PyG ``Data`` or :class:`graphs.FlatBatch`: ``boxes [N 4]`` in pixels and
            ``frame [N]``; read where they are there: ``track``, ``label``, ``scores``, ``num_frames``, ``size``,
            ``frame_time``, ``frame_number`` with ``fps``, ``video``, and for ``link`` ``x``.
        format: ``text``, at most ``4 + 2 K + K (K - 1) / 2`` lines for K tracks; or ``jsonl``: one JSON object a line
            with the same numbers, of ``type`` ``video``, ``track`` or ``pair``.
        frames: most times at which places and relations are described, spread evenly from the first frame to the last.
        tracks: most tracks K: those seen in most frames, of equals the larger.
        precision: digits after the decimal point.
        names: class number -> its name; without, a class is called by its number. Class 0 is not known.
        weights: say the mean weight of the edges of each type between two tracks, and along one.
        link: join the objects of a graph without ``track`` by :func:`graphs.link_tracks`, with its defaults (apply
            :class:`graphs.LinkTracks` first for others), which the text says; False: each object is a track of its own,
            as objects of track -1 are.

    Returns:
        Lines that end in a line feed. Times are in seconds where the graph knows them, else in frames, from 0.

    Raises:
        ValueError: a batch of several videos, a field that is missing or of another length, a track that is twice in
            a frame, an option out of its range.
    """
    _check(format, frames, tracks, precision)
    records = text_records(
        data, frames=frames, tracks=tracks, precision=precision, names=names or {}, weights=weights, link=link
    )
    if format == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    shown = _Writer(precision, "s" if records[0]["time"] == "seconds" else "")
    lines = {"video": shown.video, "track": shown.track, "pair": shown.pair}
    return "".join(f"{line}\n" for record in records for line in lines[record["type"]](record))


def _check(format: str, frames: int, tracks: int, precision: int) -> None:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    for name, value, low, high in (
        ("frames", frames, 1, None),
        ("tracks", tracks, 1, None),
        ("precision", precision, 0, 9),
    ):
        if value < low or (high is not None and value > high):
            raise ValueError(f"{name} must be at least {low}{f', at most {high}' if high else ''}, got {value}")


class _Writer:
    """Sentences from the records of `text_records`."""

    def __init__(self, precision: int, unit: str) -> None:
        self.precision, self.unit = precision, unit

    def video(self, record: Mapping[str, Any]) -> list[str]:
        first, last = record["times"][0], record["times"][-1]
        name = f" {record['video']}" if record["video"] else ""
        height, width = record["size"]
        size = f"{width} x {height} pixels" if record["size_known"] else f"{width} x {height} (as far as boxes reach)"
        lines = [
            f"Video{name}: {_count(record['frames'], 'frame')} from {self.time(first)} to {self.time(last)}, picture "
            f"(width x height) {size}, {_count(record['tracks'], 'track')}{_ORIGINS[record['tracks_from']]}.",
            "Places are (x, y; width x height) of a box, x and y of its centre from the left and from the top, as "
            "shares of the picture. Distances are shares of its width; a gap is the distance between borders.",
        ]
        if record["shown"] < record["tracks"]:
            lines.append(f"Described are the {record['shown']} tracks that are seen in most frames.")
        if not record["tracks"]:
            lines.append("No object is seen.")
        return lines

    def track(self, record: Mapping[str, Any]) -> list[str]:
        score = f", score {self.number(record['score'])}" if record["score"] is not None else ""
        places = ", ".join(
            f"{self.time(at)} {where} ({self.box(box)})"
            for at, where, box in zip(record["times"], record["where"], record["boxes"], strict=True)
            if box
        )
        edges = "".join(
            f"; {kind} edges along it {self.number(value)}"
            for kind, value in record.get("edges", {}).items()
            if value is not None
        )
        return [
            f"{record['id']}: {record['class'] or 'object'}{score}, seen in {record['seen']} frames; "
            f"{self.motion(record['motion'])}{edges}",
            f"{record['id']} places: {places or 'unseen at these times'}",
        ]

    def motion(self, motion: Mapping[str, Any]) -> str:
        if motion["moves"] is None:
            return "still"
        right, down = motion["right"], motion["down"]
        parts = [
            f"{word} {self.number(abs(value))}"
            for value, word in ((right, "right" if right > 0 else "left"), (down, "down" if down > 0 else "up"))
            if abs(value) >= motion["least"]
        ]
        start, end = motion["moves"]
        way = " and ".join(parts) or "and comes back"
        return (
            f"moves {way} from {self.time(start)} to {self.time(end)}, on a way of {self.number(motion['way'])}, at "
            f"most {self.number(motion['farthest'])} from its start"
        )

    def pair(self, record: Mapping[str, Any]) -> list[str]:
        first, second, nearest = record["of"], record["to"], record["nearest"]
        stretches = "; ".join(self.stretch(run) for run in record["runs"])
        edges = "".join(
            f"; {kind} edges {self.number(value)} from {source} to {target}"
            for kind, both in record.get("edges", {}).items()
            for value, source, target in zip(both, (second, first), (first, second), strict=True)
            if value is not None
        )
        least = f"least gap {self.number(nearest['gap'])} at {self.time(nearest['at'])}"
        return [f"{first} to {second}: {stretches}; {least}{edges}"]

    def stretch(self, run: Mapping[str, Any]) -> str:
        times, gaps = (
            [form(value) for value in ends]
            for form, ends in ((self.time, (run["from"], run["to"])), (self.number, run["gap"]))
        )
        gap = f" (gap {' to '.join(dict.fromkeys(gaps))})" if run["contact"] in _WITH_GAP else ""
        return f"{' to '.join(dict.fromkeys(times))} {run['side']}, {run['contact']}{gap}, {run['change']}"

    def box(self, box: Sequence[float]) -> str:
        x, y, width, height = (self.number(value) for value in box)
        return f"{x}, {y}; {width} x {height}"

    def number(self, value: float) -> str:
        return f"{value:.{self.precision}f}"

    def time(self, value: int | float) -> str:
        return f"{self.number(value)} {self.unit}" if self.unit else f"frame {value}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


_WITH_GAP = ("near", "apart")
_ORIGINS = {
    "graph": "",
    "linked": ", joined from frame to frame by overlap and appearance",
    "objects": ", each a single object in one frame",
}
