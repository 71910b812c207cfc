"""What is known of a caption: attributions of its words, and their deletion test."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float


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
