"""What a page shows of a video: plain values, apart from how they are computed and how they are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stg.explain import Deletion, Explanation
from stg.models.generation import Caption
from stg.video.clip import Film


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
        name: class that the detector gave it; empty where that is not known.
        track: number of its track, the same in all frames; -1 where that is not known.
    """

    frame: int
    box: tuple[float, float, float, float]
    score: float | None = None
    name: str = ""
    track: int = -1


@dataclass(frozen=True)
class Edge:
    """An edge along which ``target`` gathers from ``source`` (numbers of nodes); ``weight`` as in the graph.

    Its ``kind`` is a name in :data:`graphs.EDGE_TYPES`, or ``dense``.
    """

    source: int
    target: int
    kind: str
    weight: float


@dataclass(frozen=True, eq=False)
class ModelCaption:
    """The caption that one model gave a video.

    Args:
        model: its name on the page.
        explanation: of the caption.
        candidates: of the search, best first; the first is the caption.
        scores: of the caption against the references, by metric.
        chance: calibrated chance that the caption is right, and the same in a word; None: not calibrated.
    """

    model: str
    explanation: Explanation
    candidates: tuple[Caption, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    chance: tuple[float, str] | None = None

    @property
    def confidence(self) -> float:
        """Geometric mean of the words' probabilities, the end of the sentence included; NaN if it is not known."""
        return self.candidates[0].confidence if self.candidates else float("nan")


@dataclass(frozen=True, eq=False)
class VideoView:
    """All that a page shows of one video.

    Args:
        video: its name.
        size: height and width of its pictures in pixels.
        pictures: its sampled frames, in the order of time.
        nodes, edges: its graph; none if no objects were searched for, or found.
        captions: by the model, and by those that are shown alongside.
        references: captions by people.
        notes: what is not shown, and why.
        error: why nothing is shown; None where something is.
        film: the clip; None where its file is not at hand.
        folded: the clip, its captions and candidates come first, and all that explains them is folded below.
    """

    video: str
    size: tuple[int, int] = (1, 1)
    pictures: tuple[Picture, ...] = ()
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    captions: tuple[ModelCaption, ...] = ()
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    film: Film | None = None
    folded: bool = False


@dataclass(frozen=True, eq=False)
class VideosPage:
    """A page of videos.

    Args:
        title: of the page.
        lead: a sentence below it: which run, which split, which search.
        videos: what is shown, in order.
        deletions: the deletion test over these videos, one an attribution.
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
