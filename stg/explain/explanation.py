"""What explains a caption: attributions of its words, and their deletion test."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each part of a video counts for each word of a caption, by one method.

    Rows are words, in the order of the caption. Weights are not negative; what is not finite is missing.
    Several of the arrays may be there: a decoder that first takes a frame and then places in it has both.

    Args:
        name: short and unique among the attributions of a caption: ``frames``, ``ts``, ``gradcam``, ...
        title: its name in plain words.
        note: a sentence or two: what the numbers are, and what they are not.
        frames: ``[L T]`` share of each picture.
        nodes: ``[L N]`` share of each object.
        places: ``[L T h w]`` share of each place of a grid over each picture, row by row.
        edges: ``[L E]`` importance of each edge.
        whole: one single row holds for the caption as a whole.
        by_track: what was attended to are tracks: ``nodes`` gives the objects of each equal parts of its share.
    """

    name: str
    title: str
    note: str
    frames: Float[np.ndarray, "L T"] | None = None
    nodes: Float[np.ndarray, "L N"] | None = None
    places: Float[np.ndarray, "L T h w"] | None = None
    edges: Float[np.ndarray, "L E"] | None = None
    whole: bool = False
    by_track: bool = False


def as_shares(weights: Float[np.ndarray, "L *items"]) -> Float[np.ndarray, "L *items"]:
    """Weights that are not negative, as shares of their row; a row of zeros stays, and so does what is NaN."""
    total = np.nansum(weights, axis=tuple(range(1, weights.ndim)), keepdims=True)
    return weights / np.where(total > 0, total, 1)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model's words of a video depend on.

    Args:
        words: of the caption.
        probabilities: of each word, given those before it.
        attributions: of the words to parts of the video; the first says most.
        gate: ``[L U]`` share that each attention unit (``units``) had in each word; None where there is no gate.
        units: the names of those units.
    """

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    attributions: tuple[Attribution, ...] = ()
    gate: Float[np.ndarray, "L U"] | None = None
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deletion:
    """How much a word's probability falls when what it attended to most is hidden, and when as much else is.

    Args:
        title: of the `Attribution` that was tested.
        hides: what is hidden: "frames", "regions", "steps" of a grid, or "places" of the image network's last map.
        words: how many words it is a mean over.
        count: how many items were hidden of each word's video: the mean over words, rounded.
        attended: mean fall of the word's log-probability with the most attended hidden.
        random: the same with random items hidden, one mean a seed.
    """

    title: str
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
