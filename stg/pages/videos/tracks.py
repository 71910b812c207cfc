"""Tracks of objects on a page: how much each word attends to each."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from stg.explain import Attribution
from stg.pages.videos.boxes_and_edges import Strip, track_css
from stg.pages.videos.heatmaps import finite, known
from stg.pages.videos.views import Node

LISTED = 12
"""Tracks of an attribution that have a row of their own: those with the largest share for any word."""

SMALLEST = 8.0
"""Least side of a track's picture in the units of the drawing."""

NAMED = 3
"""Tracks that are named in words when a word is chosen."""


def numbers_of(nodes: Sequence[Node]) -> list[int]:
    """The tracks of a video, in order."""
    return sorted({node.track for node in nodes if node.track >= 0})


def box_weights(attribution: Attribution, nodes: Sequence[Node]) -> Float[np.ndarray, "L N"] | None:
    """By what the boxes are shaded: the share of each object, or that of its whole track if tracks were attended to.

    An object of a long track has but a small part of its track's share: by those parts an object that is seen once
    would seem to count most.
    """
    if attribution.nodes is None or not attribution.by_track:
        return attribution.nodes
    tracks = numbers_of(nodes)
    column = {track: place for place, track in enumerate(tracks)}
    shares, weights = _track_shares(attribution.nodes, nodes, tracks), finite(attribution.nodes)
    for number, node in enumerate(nodes):
        if node.track >= 0:
            weights[:, number] = shares[:, column[node.track]]
    return weights


def track_table(
    attribution: Attribution, nodes: Sequence[Node], strip: Strip, words: Sequence[str]
) -> dict[str, Any] | None:
    """What an attribution says of each track: a row for each with its share for each word, for the template.

    Further rows make the columns whole: tracks that are not listed, objects without a track, and what was attended to
    in whole pictures. None where there is no track, or nothing is said of objects.
    """
    tracks = numbers_of(nodes)
    if attribution.nodes is None or not tracks or not len(attribution.nodes):
        return None
    shares = _track_shares(attribution.nodes, nodes, tracks)
    order = np.argsort(-known(shares).max(axis=0), kind="stable")
    listed = sorted(order[:LISTED].tolist())
    rows = [{**_picture(tracks[k], nodes, strip), "shares": shares[:, k]} for k in listed]
    single = [number for number, node in enumerate(nodes) if node.track < 0]
    left = order[LISTED:].tolist()
    others = {
        f"{len(left)} other {'track' if len(left) == 1 else 'tracks'}": shares[:, left].sum(axis=1) if left else None,
        "objects without a track": known(attribution.nodes)[:, single].sum(axis=1) if single else None,
        "whole pictures": _of_pictures(attribution),
    }
    rows += [{"name": name, "shares": values} for name, values in others.items() if values is not None]
    top = np.fmax.reduce([row["shares"] for row in rows])
    for row in rows:
        row["cells"] = [
            {"share": float(share), "part": round(100 * float(share / most), 1) if most > 0 else 0.0}
            for share, most in zip(row.pop("shares"), top, strict=True)
        ]
    return {"heads": ["the caption"] if attribution.whole else list(words), "rows": rows}


def most_attended(attribution: Attribution, nodes: Sequence[Node]) -> list[list[tuple[str, float]]]:
    """For each word the tracks with the largest shares, best first: what they are called, and their share."""
    tracks = numbers_of(nodes)
    if attribution.nodes is None or not tracks:
        return []
    names = [f"#{track} {_name(track, nodes)}".strip() for track in tracks]
    shares = _track_shares(attribution.nodes, nodes, tracks)
    best = [np.argsort(-row, kind="stable")[:NAMED].tolist() if np.isfinite(row).all() else [] for row in shares]
    return [[(names[k], float(row[k])) for k in places if row[k] > 0] for row, places in zip(shares, best, strict=True)]


def _track_shares(weights: Float[np.ndarray, "L N"], nodes: Sequence[Node], tracks: Sequence[int]) -> np.ndarray:
    """``[L K]`` share of each track, of all its frames; NaN for a word without numbers."""
    member = np.array([[node.track == track for track in tracks] for node in nodes], float)
    shares = known(weights) @ member
    shares[~np.isfinite(weights).any(axis=1)] = np.nan
    return shares


def _of_pictures(attribution: Attribution) -> Float[np.ndarray, " L"] | None:
    """The share of the pictures themselves, without that of the objects in them; None where there is none."""
    if attribution.frames is None or attribution.nodes is None:
        return None
    rest = (known(attribution.frames).sum(axis=1) - known(attribution.nodes).sum(axis=1)).clip(0)
    return rest if (rest > 1e-4).any() else None


def _picture(track: int, nodes: Sequence[Node], strip: Strip) -> dict[str, Any]:
    """A track's number, colour, name, and its largest box of a frame with a picture, placed within that frame."""
    boxes = [strip.nodes[number] for number, node in enumerate(nodes) if node.track == track]
    seen = [box for box in boxes if strip.frames[box.frame].jpeg]
    found = {"track": track, "colour": track_css(track), "name": _name(track, nodes), "frames": len(boxes)}
    if not seen:
        return found
    box = max(seen, key=lambda one: one.width * one.height)
    x, wide, high = box.x - strip.frames[box.frame].x, max(box.width, SMALLEST), max(box.height, SMALLEST)
    return {**found, "frame": box.frame, "view": f"{x:.1f} {box.y:.1f} {wide:.1f} {high:.1f}"}


def _name(track: int, nodes: Sequence[Node]) -> str:
    """The class that most objects of a track have."""
    return Counter(node.name for node in nodes if node.track == track).most_common(1)[0][0]
