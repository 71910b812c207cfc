"""What a page shows of a video: plain values, so that what is worked out and how it is drawn stay apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Picture:
    """A sampled frame.

    Args:
        number: its number in the video, from 0.
        jpeg: the picture; None where the video file is not at hand.
        seconds: when it is shown; None where the frame rate is not known.
    """

    number: int
    jpeg: bytes | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Node:
    """An object of the graph.

    Args:
        frame: which of the pictures it is in.
        box: corners x1, y1, x2, y2 in pixels of the frame.
        score: of the detector, in 0..1; None where that is not known.
        name: class that the detector gave it; empty where that is not known. The graph never uses it.
    """

    frame: int
    box: tuple[float, float, float, float]
    score: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Edge:
    """An edge along which ``target`` gathers from ``source`` (numbers of nodes); ``weight`` as in the graph."""

    source: int
    target: int
    kind: Literal["spatial", "temporal", "dense"]
    weight: float


@dataclass(frozen=True, eq=False)
class Look:
    """Where each word of a caption looked, in one way of telling.

    Rows are words, in the order of the caption. Weights are not negative; what is not finite is shown as missing.
    Several of the arrays may be there: a decoder that first takes a frame and then places in it has both.

    Args:
        name: short and unique among the looks of a caption: ``frames``, ``ts``, ``gradcam``, ...
        title: what it is called on the page.
        note: a sentence or two: what this picture is, and what it is not.
        frames: ``[L T]`` share of each picture.
        nodes: ``[L N]`` share of each object.
        places: ``[L T h w]`` share of each place of a grid over each picture, row by row.
        edges: ``[L E]`` importance of each edge.
        whole: one single row holds for the caption as a whole.
    """

    name: str
    title: str
    note: str
    frames: Float[np.ndarray, "L T"] | None = None
    nodes: Float[np.ndarray, "L N"] | None = None
    places: Float[np.ndarray, "L T h w"] | None = None
    edges: Float[np.ndarray, "L E"] | None = None
    whole: bool = False


def as_shares(weights: Float[np.ndarray, "L *items"]) -> Float[np.ndarray, "L *items"]:
    """Weights that are not negative, as shares of their row; a row of zeros stays, and so does what is NaN."""
    total = np.nansum(weights, axis=tuple(range(1, weights.ndim)), keepdims=True)
    return weights / np.where(total > 0, total, 1)


@dataclass(frozen=True)
class Candidate:
    """A caption that the search found; ``confidence`` is the geometric mean of its words' probabilities."""

    text: str
    log_prob: float
    confidence: float
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Told:
    """What one model said of a video.

    Args:
        model: what the model is called on the page.
        words: of its caption.
        probabilities: of each word, given those before it.
        confidence: geometric mean of the words' probabilities, the end of the sentence included.
        candidates: of the search, best first; the first is the caption.
        looks: where the words looked; the first is shown at first.
        gate: ``[L U]`` share that each way of looking (``units``) had in each word; None where there is no gate.
        units: the names of those ways.
        scores: of the caption against the references, by metric.
    """

    model: str
    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    confidence: float
    candidates: tuple[Candidate, ...] = ()
    looks: tuple[Look, ...] = ()
    gate: Float[np.ndarray, "L U"] | None = None
    units: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class VideoView:
    """All that a page shows of one video.

    Args:
        video: its name.
        size: height and width of its pictures in pixels.
        pictures: its sampled frames, in the order of time.
        nodes, edges: its graph; none where no objects were looked for, or found.
        told: what was said of it: by the model, and by those that it is put beside.
        references: what people said of it.
        notes: what is not shown, and why.
        error: why nothing is shown; None where something is.
    """

    video: str
    size: tuple[int, int] = (1, 1)
    pictures: tuple[Picture, ...] = ()
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    told: tuple[Told, ...] = ()
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Deletion:
    """How much a word's probability falls when what it attended to most is hidden, and when as much else is.

    Args:
        look: title of the `Look` that was tested.
        hides: what is hidden: "frames", "regions", "steps" of a grid, or "places" of the image network's last map.
        words: how many words it is a mean over.
        count: how many items were hidden of each word's video: the mean over words, rounded.
        attended: mean fall of the word's log-probability with the most attended hidden.
        random: the same with random items hidden, one mean a seed.
    """

    look: str
    hides: str
    words: int
    count: int
    attended: float
    random: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """``attended`` by the mean of ``random``; NaN where hiding random items costs nothing."""
        mean = sum(self.random) / len(self.random)
        return self.attended / mean if mean > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class VideosPage:
    """A page of videos.

    Args:
        title: of the page.
        lead: a sentence below it: which run, which split, which search.
        videos: what is shown, in order.
        deletions: the deletion test over these videos, one a look.
        facts: name and value of what the reader may need to know: the model, its features, versions.
        others: name and file name of the other pages of the same report, this one included, in order.
        place: which of ``others`` this is.
    """

    title: str
    lead: str
    videos: tuple[VideoView, ...]
    deletions: tuple[Deletion, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    place: int = 0
