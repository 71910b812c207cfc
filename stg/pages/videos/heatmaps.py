"""An attribution on the page: shares of the frames, heat maps, and the numbers that the page's script reads."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from stg.explain.explanation import Attribution, as_shares
from stg.pages.videos.boxes_and_edges import data_uri
from stg.pages.videos.views import Node

LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+*"
"""One character a weight, in 64 steps up to the largest of its row; ``-`` where there is no number."""

# From little (a dark veil) to much (bright), even in lightness so that it reads in grey too: violet, red, yellow.
_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLOURS = np.array(
    [[8, 5, 29, 120], [87, 16, 110, 85], [200, 50, 80, 105], [249, 142, 9, 135], [252, 235, 110, 155]], dtype=float
)


def shares_of(attribution: Attribution, nodes: Sequence[Node], count: int) -> Float[np.ndarray, "L T"] | None:
    """Share of each of ``count`` frames for each word; summed over places or objects if the attribution has no frames.

    NaN where the attribution has no finite number; None if it says nothing of frames.
    """
    if attribution.frames is not None:
        return finite(attribution.frames)
    if attribution.places is not None:
        return as_shares(known_sum(finite(attribution.places).reshape(*attribution.places.shape[:2], -1)))
    if attribution.nodes is not None and len(nodes):
        weights = finite(attribution.nodes)
        by_frame = np.zeros((len(weights), count))
        frame = np.array([node.frame for node in nodes])
        # Not ``+=``, which counts one of several objects of a frame.
        np.add.at(by_frame.T, frame, known(weights).T)
        # A word without any number stays unknown: zeros would claim that nothing counted.
        by_frame[~np.isfinite(weights).any(axis=1)] = np.nan
        return as_shares(by_frame)
    return None


def finite(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The same with every number that is not finite as NaN."""
    return np.where(np.isfinite(values), values, np.nan).astype(float)


def known_sum(values: Float[np.ndarray, "... K"]) -> Float[np.ndarray, "..."]:
    """Sum of the last axis over what is known; NaN where nothing is."""
    return np.where(np.isfinite(values).any(axis=-1), np.nansum(values, axis=-1), np.nan)


def known(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The same with 0 where there is no number, for sums and scales; what is missing is marked apart from it."""
    return np.where(np.isfinite(values), values, 0.0).astype(float)


def levels(row: Float[np.ndarray, " N"]) -> str:
    """A row of weights as text in :data:`LEVELS`."""
    there = np.isfinite(row)
    top = float(row[there].max()) if there.any() else 0.0
    steps = np.rint(63 * known(row) / (top if top > 0 else 1.0)).astype(int).clip(0, 63)
    return "".join(LEVELS[step] if real else "-" for step, real in zip(steps, there, strict=True))


def heat_maps(attribution: Attribution) -> list[list[str]]:
    """For each word and frame a heat map as a data URI; empty where there is nothing to show.

    The frames of an attribution, if it has them, show how much each frame counts: each map has its own scale. Otherwise
    the maps of a word have one scale, and a frame that counts little is dark.
    """
    assert attribution.places is not None
    places = finite(attribution.places)
    # Where there are shares of frames, they say how much each counts, and a map only says where in its frame. Without
    # them all maps of a word have one scale, so that frames can be compared.
    per_word = tuple(range(1, places.ndim)) if attribution.frames is None else (2, 3)
    top = known(places).max(axis=per_word, keepdims=True, initial=0.0)
    scaled = known(places) / np.where(top > 0, top, 1.0)
    shown = np.isfinite(places).any(axis=(2, 3))
    return [
        [png(heat) if there else "" for heat, there in zip(row, present, strict=True)]
        for row, present in zip(scaled, shown, strict=True)
    ]


def png(heat: Float[np.ndarray, "h w"]) -> str:
    """A heat map of numbers in 0..1 as a PNG of one pixel a place, which the browser draws smoothly."""
    stream = io.BytesIO()
    Image.fromarray(coloured(heat), "RGBA").save(stream, "PNG", optimize=True)
    return data_uri("image/png", stream.getvalue())


def coloured(heat: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 4"]:
    """Red, green, blue and opacity of each place, in sixteen steps so that the picture packs well."""
    steps = np.rint(15 * heat.clip(0, 1)) / 15
    channels = [np.interp(steps, _STOPS, _COLOURS[:, c]) for c in range(4)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def for_script(
    attribution: Attribution,
    shares: Float[np.ndarray, "L T"] | None,
    maps: list[list[str]] | None,
    order: Sequence[tuple[int, ...]],
) -> dict[str, Any]:
    """An attribution as the script reads it; ``order`` names the edges of each line that is drawn."""
    data: dict[str, Any] = {}
    if shares is not None:
        data["frames"] = [[round(float(s), 3) if np.isfinite(s) else None for s in row] for row in shares]
    if attribution.nodes is not None:
        nodes = finite(attribution.nodes)
        data["nodes"] = [levels(row) for row in nodes]
        data["top"] = [round(float(row[np.isfinite(row)].max()), 3) if np.isfinite(row).any() else 0 for row in nodes]
    if attribution.edges is not None:
        # One character a weight: with thousands of edges a word, numbers would make most of the page.
        # Of several edges in one line the largest; fmax takes the number where the other is missing.
        data["edges"] = [
            levels(np.array([np.fmax.reduce(row[list(numbers)]) for numbers in order]))
            for row in finite(attribution.edges)
        ]
    if maps is not None:
        # The script puts the prefix back, which is longer than many a map.
        data["maps"] = [[uri.removeprefix("data:image/png;base64,") for uri in row] for row in maps]
    return data


def best_frames(shares: Float[np.ndarray, "L T"] | None) -> list[int | None]:
    """The frame with the largest share for each word; None where none is known."""
    if shares is None:
        return []
    return [int(np.nanargmax(row)) if np.isfinite(row).any() else None for row in shares]
