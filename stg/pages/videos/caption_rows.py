"""The article of one video, ready for its template: captions, and attributions of their words in rows of pictures."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from stg.explain import Attribution, Deletion, Explanation
from stg.models.generation import Caption
from stg.pages.videos.boxes_and_edges import Strip
from stg.pages.videos.heatmaps import best_frames, for_script, heat_maps, known, shares_of
from stg.pages.videos.tracks import box_weights, most_attended, track_table
from stg.pages.videos.views import ModelCaption, Node

SHOWN_BOX = 0.35
"""Boxes are marked in the row of words from this share of the word's largest on."""


def caption_for_template(
    caption: ModelCaption, strip: Strip, nodes: Sequence[Node]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The caption of one model, for the template and for the script."""
    explanation = caption.explanation
    attributions, scripts = [], []
    for one in explanation.attributions:
        shown: dict[str, Any] = {"title": one.title, "note": one.note, "whole": one.whole, "row": [], "tracks": None}
        read: dict[str, Any] = {"whole": one.whole}
        # Without frames there is nothing to lay maps on; words and gate are shown all the same.
        if strip.frames:
            shares = shares_of(one, nodes, len(strip.frames))
            maps = heat_maps(one) if one.places is not None else None
            shown["tracks"] = table_of(one, nodes, strip, explanation.words)
            if one.by_track:
                # In words: that they are boxes would be wrong, as tracks were attended to.
                named = most_attended(one, nodes)
                read["tracks"] = [", ".join(f"{name} ({percent(share)})" for name, share in line) for line in named]
            one = replace(one, nodes=box_weights(one, nodes))
            shown["row"] = row(one, shares, maps, strip, explanation.words)
            read |= for_script(one, shares, maps, strip.order)
        attributions.append(shown)
        scripts.append(read)
    prepared = {
        "model": caption.model,
        "text": " ".join(explanation.words),
        "confidence": confidence(caption.confidence)
        + (f", chance of being right {caption.chance[0]:.2f}: {caption.chance[1]}" if caption.chance else ""),
        # In words that need no idea of a probability.
        "level": caption.chance[1] if caption.chance else "",
        "sure": f"about {100 * caption.chance[0]:.0f} of 100 captions like this are right" if caption.chance else "",
        "words": [
            {"text": word, "percent": percent(p), "exact": number(p)}
            for word, p in zip(explanation.words, explanation.probabilities, strict=True)
        ],
        "attributions": attributions,
        "units": explanation.units,
        "gate": gate(explanation),
        "candidates": [candidate(c) for c in caption.candidates],
        "scored": any(c.score is not None for c in caption.candidates),
        "scores": [(name, f"{v:.3f}" if math.isfinite(v) else "no data") for name, v in caption.scores.items()],
    }
    return prepared, {"attributions": scripts}


def table_of(one: Attribution, nodes: Sequence[Node], strip: Strip, words: Sequence[str]) -> dict[str, Any] | None:
    """The share of each track for each word, in percent."""
    table = track_table(one, nodes, strip, words)
    for line in () if table is None else table["rows"]:
        for cell in line["cells"]:
            cell["text"] = percent(cell.pop("share"))
    return table


def row(
    attribution: Attribution,
    shares: Float[np.ndarray, "L T"] | None,
    maps: list[list[str]] | None,
    strip: Strip,
    words: Sequence[str],
) -> list[dict[str, Any]]:
    """The row of pictures under a caption: for each word the frame with the largest share, with its map on it.

    (Cherian et al., 2020, Fig. 6.) An attribution of the whole caption has every frame (Pan et al., 2020, Fig. 3).
    """
    if shares is None:
        return []
    # It belongs to the caption, not to a word: every frame is shown, on one line of numbers.
    if attribution.whole:
        pairs: list[tuple[int | None, int | None]] = [(None, frame) for frame in range(len(strip.frames))]
    else:
        pairs = list(enumerate(best_frames(shares)))
    thumbs = []
    for word, frame in pairs:
        line = 0 if word is None else word
        title = "" if word is None else words[word]
        place = "no data"
        if frame is not None:
            place = f"frame {strip.frames[frame].number} · {percent(float(shares[line, frame]))}"
        thumbs.append(
            {
                "word": word,
                "title": title,
                "frame": frame,
                "place": place,
                "text": f"{title}: {place}" if title else place,
                "heat": "" if maps is None or frame is None else maps[line][frame],
                "boxes": []
                if attribution.nodes is None or frame is None
                else boxes(attribution.nodes[line], frame, strip),
            }
        )
    return thumbs


def boxes(weights: Float[np.ndarray, " N"], frame: int, strip: Strip) -> list[dict[str, Any]]:
    """The boxes of a frame that count for a word, placed within that frame."""
    there = known(weights)
    # Over all frames, so that boxes of a frame that hardly counts stay dark.
    top = float(there.max(initial=0.0))
    return [
        {
            # The strip counts from its own left edge, a picture of the row from that of its frame.
            "x": round(node.x - strip.frames[frame].x, 1),
            "y": node.y,
            "width": node.width,
            "height": node.height,
            "opacity": round(float(there[node.number]) / top, 2),
            "colour": node.colour,
        }
        for node in strip.nodes
        if node.frame == frame and top > 0 and there[node.number] >= SHOWN_BOX * top
    ]


def gate(explanation: Explanation) -> list[dict[str, Any]]:
    """A stacked bar a word: the share of each attention unit."""
    if explanation.gate is None:
        return []
    bars: list[dict[str, Any]] = []
    for word, shares in zip(explanation.words, explanation.gate, strict=True):
        # A word without numbers keeps its bar, or bars and words would be out of step.
        if not np.isfinite(shares).all() or shares.sum() <= 0:
            bars.append({"word": word, "text": "no data", "parts": []})
            continue
        # In percent of the bar: one part begins where the one before it ends.
        ends = np.concatenate([[0.0], np.cumsum(100 * shares / shares.sum())])
        parts = [{"x": round(float(start), 1), "width": round(float(end - start), 1)} for start, end in pairwise(ends)]
        text = " · ".join(
            f"{unit} {percent(float(share))}" for unit, share in zip(explanation.units, shares, strict=True)
        )
        bars.append({"word": word, "text": text, "parts": parts})
    return bars


def candidate(found: Caption) -> dict[str, str]:
    """A row of the table of candidates."""
    return {
        "text": found.text,
        "confidence": confidence(found.confidence),
        "log_prob": number(found.log_prob),
        "score": "" if found.score is None else number(found.score),
    }


def deletion(test: Deletion) -> dict[str, Any]:
    """A row of the table of deletion tests."""
    # No ratio to a fall of 0, nor to a rise: hiding at random then cost the caption nothing.
    ratios = [test.attended / fall for fall in test.random if fall > 0]
    ratio = "hiding at random costs nothing"
    if len(ratios) == len(test.random):
        ratio = spread(ratios)
    elif math.isfinite(test.ratio):
        ratio = f"{number(test.ratio)}, not steady over the seeds"
    return {
        "title": test.title,
        "hides": test.hides if test.count != 1 else test.hides.removesuffix("s"),
        "words": test.words,
        "count": test.count,
        "attended": number(test.attended),
        "random": spread(test.random),
        "ratio": ratio,
    }


def spread(values: Sequence[float]) -> str:
    """Mean and, of several values, standard deviation."""
    mean = number(statistics.fmean(values)) if values else "no data"
    return f"{mean} ± {number(statistics.stdev(values))}" if len(values) > 1 else mean


def number(value: float) -> str:
    """At most three digits that matter, without an exponent; what is not finite is said to be missing."""
    if not math.isfinite(value):
        return "no data"
    if 0 < abs(value) < 1e-6:
        return "about 0"
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def confidence(value: float) -> str:
    """Two decimals, as on the terminal."""
    return f"{value:.2f}" if math.isfinite(value) else "no data"


def percent(share: float) -> str:
    """A share in percent."""
    if not math.isfinite(share):
        return "no data"
    return "< 1\N{NO-BREAK SPACE}%" if 0 < share < 0.005 else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
