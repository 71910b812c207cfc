"""What the page of a run shows: plain values, apart from how they are worked out and how they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stg.pages.run.charts import Chart


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command that makes it (empty where none does)."""

    what: str
    command: str = ""


@dataclass(frozen=True)
class Grid:
    """A table; the first cell of a row is its head.

    Args:
        title: of the table.
        heads: one a column.
        rows: cells, as many as heads.
        strong: numbers of the rows that stand out.
        note: below it.
        numeric: from which column on the cells are numbers; 0: none are.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[int, ...] = ()
    note: str = ""
    numeric: int = 1


@dataclass(frozen=True)
class Piece:
    """Some words of a caption: kept from the caption before, new in this one, or gone with that one."""

    text: str
    kind: Literal["kept", "new", "gone"]


@dataclass(frozen=True)
class Stage:
    """A caption, and when it was written."""

    when: str
    pieces: tuple[Piece, ...]
    best: bool = False


@dataclass(frozen=True)
class History:
    """Captions of one video over the epochs; ``left_out`` changes are not shown."""

    video: str
    stages: tuple[Stage, ...]
    references: tuple[str, ...] = ()
    left_out: int = 0


@dataclass(frozen=True)
class Ranked:
    """A video, its caption and scores; ``unseen`` of its references are not shown."""

    video: str
    caption: str
    scores: tuple[tuple[str, str], ...]
    references: tuple[str, ...]
    unseen: int = 0
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """How often something occurs; ``share`` of the longest bar, in 0..100."""

    name: str
    count: int
    share: float
    kind: str = ""


@dataclass(frozen=True)
class Words:
    """The most frequent verbs and nouns of some captions."""

    title: str
    bars: tuple[Bar, ...]
    dropped: str


@dataclass(frozen=True)
class Written:
    """The captions of one evaluation.

    Args:
        title: split and search.
        lead: how many there are, and how many distinct ones.
        frequent: the most frequent ones.
        broken, unbroken: some captions that break off, and how many more there are.
        spread: how many videos have which score.
        best, worst: videos by their score; none where there are no references.
        ranked_by: which score.
        word_shares, words: the word report.
        notes: what a reader must know of the word report.
        missing: what is not shown.
    """

    title: str
    lead: str
    frequent: tuple[Bar, ...]
    broken: tuple[Bar, ...]
    unbroken: int
    spread: tuple[Bar, ...] = ()
    best: tuple[Ranked, ...] = ()
    worst: tuple[Ranked, ...] = ()
    ranked_by: str = ""
    word_shares: Grid | None = None
    words: tuple[Words, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A plot: SVG as base64, and what it shows in words."""

    svg: str
    about: str
    width: int
    height: int


@dataclass(frozen=True)
class Ablation:
    """An ablation table with its plots, one a search."""

    title: str
    lead: str
    missing: tuple[tuple[str, str], ...]
    cells: int
    plots: tuple[Plot, ...]
    tables: tuple[Grid, ...]
    more: tuple[Grid, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RunPage:
    """All that the page of a run shows, from top to bottom."""

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    charts: tuple[Chart, ...]
    numbers: Grid | None
    histories: tuple[History, ...]
    scores: Grid | None
    reliability: tuple[Chart, ...]
    written: Written | None
    ablations: tuple[Ablation, ...]
    settings: tuple[Grid, ...]
    missing: dict[str, Missing | None]
    left_out: dict[str, str]


def bars(counts: Sequence[tuple[str, int]], kinds: Sequence[str] = ()) -> tuple[Bar, ...]:
    """One bar a count, relative to the greatest."""
    most = max((count for _, count in counts), default=0)
    named = kinds or [""] * len(counts)
    return tuple(Bar(name, n, 100 * n / max(most, 1), kind) for (name, n), kind in zip(counts, named, strict=True))
