"""The captions of a run: how those of some videos changed over the epochs, and what one evaluation wrote."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import groupby, pairwise

import numpy as np

from stg.evaluation.predictions import read_captions
from stg.metrics.columns import HEADINGS, heading
from stg.metrics.scorer import Scorer
from stg.pages.run.curves import Clock
from stg.pages.run.record import RunRecord
from stg.pages.run.views import Bar, Grid, History, Missing, Piece, Ranked, Stage, Words, Written, bars
from stg.runs.evaluations import Evaluation
from stg.runtime.errors import UserError
from stg.runtime.reading import counted
from stg.text.tagging import TAGS, LexiconTagger, Tagger
from stg.text.words import WordReport, broken_endings, count_words

VIDEOS, STAGES, LISTED, REFERENCES = 12, 16, 12, 3
"""How many videos, captions of one, captions of a list, and references of a video are shown at most."""
GONE = 6
"""Words that are gone in one place, as many as are shown."""
LONGEST = 400
"""Characters of a text that are shown."""

Pictures = Callable[[str], Sequence[str]]
"""Video -> a few of its frames, as ``data:`` addresses; none where it is not at hand."""


def histories(run: RunRecord, references: Mapping[str, Sequence[str]] | None = None) -> tuple[tuple[History, ...], str]:
    """Captions of the sample videos over the epochs, equal ones in a row as one; and what is left out, in words."""
    found: dict[str, list[tuple[Mapping[str, object], str]]] = {}
    for row in run.validations:
        samples = row.get("samples")
        # A run with ``run.samples`` 0 logs none, and a log may have been edited.
        for video, text in (samples if isinstance(samples, dict) else {}).items():
            found.setdefault(video, []).append((row, str(text)))
    made = []
    for video, written in list(found.items())[:VIDEOS]:
        stages, hidden = _stages(written, run.best)
        people = tuple(clip(text) for text in (references or {}).get(video, ())[:REFERENCES])
        made.append(History(clip(video), stages, people, hidden))
    left_out = f"{VIDEOS} of {len(found)} sample videos are shown." if len(found) > VIDEOS else ""
    return tuple(made), left_out


def changes(before: str, after: str) -> tuple[Piece, ...]:
    """What became of a caption's words, in the order of the new caption; words that are gone stand where they were.

    Of many words that are gone in one place the first few are shown.
    """
    old, new = before.split(), after.split()
    pieces = []
    # Without autojunk, which takes words that are frequent in a long text for noise.
    for name, start, end, new_start, new_end in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if name == "equal":
            pieces.append(Piece(" ".join(new[new_start:new_end]), "kept"))
            continue
        if start < end:
            # A long passage that is gone would bury the words that are there.
            gone = old[start : min(end, start + GONE)] + ["…"] * (end > start + GONE)
            pieces.append(Piece(" ".join(gone), "gone"))
        if new_start < new_end:
            pieces.append(Piece(" ".join(new[new_start:new_end]), "new"))
    return tuple(pieces)


def clip(text: str) -> str:
    """A text that is not endless."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _stages(
    written: Sequence[tuple[Mapping[str, object], str]], best: Mapping[str, object] | None
) -> tuple[tuple[Stage, ...], int]:
    """The first and the last captions, as many as are shown, and how many lie between."""
    # Grouped by what is shown: captions that differ only behind the cut of `clip` are one stage.
    kept = [(text, [row for row, _ in group]) for text, group in groupby(written, key=lambda pair: clip(pair[1]))]
    whole = len(kept) <= STAGES
    # From both ends: how it began, and what it came to.
    places = [*range(len(kept))] if whole else [*range(STAGES // 2), *range(len(kept) - STAGES // 2, len(kept))]
    stages = []
    for place in places:
        text, rows = kept[place]
        first, last = Clock.named(rows[0], short=True), Clock.named(rows[-1], short=True)
        # Against the caption just before, also where that one is not shown.
        pieces = changes(kept[place - 1][0], text) if place else (Piece(text, "kept"),)
        stages.append(Stage(first if first == last else f"{first} to {last}", pieces, any(row is best for row in rows)))
    return tuple(stages), len(kept) - len(places)


def choose(evaluations: Sequence[Evaluation], split: str, search: str | None) -> Evaluation | None:
    """The evaluation that is asked for; with no search named, one that is not greedy where there is one.

    Raises:
        UserError: that split was not searched so, but otherwise.
    """
    there = [one for one in evaluations if one.split == split]
    if search is None:
        return next((one for one in there if not one.search.startswith("greedy")), there[0] if there else None)
    # By its name, or by the stem of its files, which is what the folder shows.
    named = next((one for one in there if search in (one.search, one.captions.stem)), None)
    if named is None and there:
        raise UserError(
            f"{split} was not captioned by {search!r}: choose one of {', '.join(repr(one.search) for one in there)}"
        )
    return named


def written(
    evaluation: Evaluation,
    *,
    references: Mapping[str, Sequence[str]] | None,
    tagger: Tagger,
    pictures: Pictures | None = None,
    shown: int = 8,
) -> Written:
    """The captions of one evaluation, and what they are like.

    Args:
        references: video -> its captions by people; videos without any are not scored. None: they are not at hand.
        tagger: for the word report.
        pictures: of the best and the worst videos.
        shown: how many best and how many worst videos.

    Raises:
        UserError: the file of captions is damaged.
    """
    # The best candidate of each video alone: it is the one that was scored.
    texts = {video: found[0] for video, found in read_captions(evaluation.captions).items() if found}
    people = {video: list(references[video]) for video in texts if references and references.get(video)}
    distinct = Counter(texts.values())
    # Each distinct caption is judged once, however many videos share it.
    open_ends = [(clip(text), count) for text, count in distinct.most_common() if broken_endings([text])]
    shares, words, notes = _word_report(texts, people, tagger)
    missing = []
    if not people:
        missing.append(Missing("Best and worst videos: the captions by people are not at hand."))
    if shares is None:
        missing.append(Missing("Word report: the captions hold no word."))
    made = Written(
        title=evaluation.title,
        lead=_sentence(distinct, sum(count for _, count in open_ends), people),
        frequent=bars([(clip(text) or "(empty)", n) for text, n in distinct.most_common(LISTED) if n > 1]),
        broken=bars(open_ends[:LISTED]),
        unbroken=max(0, len(open_ends) - LISTED),
        word_shares=shares,
        words=words,
        notes=notes,
        missing=tuple(missing),
    )
    return _with_ranking(made, texts, people, pictures, shown) if people else made


def _sentence(texts: Counter[str], broken: int, people: Mapping[str, Sequence[str]]) -> str:
    """How many captions there are, how many differ, and how many break off."""
    total = texts.total()
    sentence = (
        f"{counted(total, 'caption')}, {len(texts)} of them distinct ({_percent(len(texts), total)}); "
        f"{broken} break off in a word such as a, the, with ({_percent(broken, total)})."
    )
    if people:
        firsts = {found[0] for found in people.values()}
        sentence += f" The first captions by people of the same videos: {len(firsts)} distinct of {len(people)}."
    return sentence


def _with_ranking(
    made: Written,
    texts: Mapping[str, str],
    people: Mapping[str, Sequence[str]],
    pictures: Pictures | None,
    shown: int,
) -> Written:
    """The same with the best and the worst videos, and how their scores are spread."""
    with Scorer(people) as scorer:
        # METEOR is left out: a page must not need Java.
        found = scorer.score(texts, metrics=("bleu", "rouge", "cider"), partial=True)
    # A single video has no CIDEr, whose idf needs several.
    by, scores = "cider" if "cider" in found.values else "bleu4", found.per_video
    # By name among equals, so that the same captions give the same page.
    ranked = sorted(scores, key=lambda video: (-scores[video][by], video))
    # No video is both among the best and among the worst.
    half = min(shown, (len(ranked) + 1) // 2)

    def rows(videos: Sequence[str]) -> tuple[Ranked, ...]:
        return tuple(_ranked(video, texts[video], scores[video], people[video], pictures) for video in videos)

    return replace(
        made,
        best=rows(ranked[:half]),
        # Turned, so that the very worst comes first.
        worst=rows(ranked[half:][-shown:][::-1]),
        spread=_spread([scores[video][by] for video in ranked]),
        ranked_by=heading(by),
    )


def _ranked(
    video: str, caption: str, scores: Mapping[str, float], people: Sequence[str], pictures: Pictures | None
) -> Ranked:
    shown = {name: f"{scores[name]:.2f}" for name in ("cider", "bleu4", "rouge") if name in scores}
    # Annotators repeat each other; a caption shown twice would take the place of another.
    distinct = list(dict.fromkeys(people))
    return Ranked(
        video=clip(video),
        caption=clip(caption),
        scores=tuple((HEADINGS[name], value) for name, value in shown.items()),
        references=tuple(clip(text) for text in distinct[:REFERENCES]),
        unseen=max(0, len(distinct) - REFERENCES),
        pictures=tuple(pictures(video)) if pictures else (),
    )


def _spread(values: Sequence[float]) -> tuple[Bar, ...]:
    """How many values are nothing, and how many lie in each of some stretches above."""

    # Exact zeros are a bar of their own: BLEU-4 is 0 for many captions, which would hide the rest of the first bin.
    above = np.array([value for value in values if value > 0])
    counts = [("exactly 0", len(values) - len(above))]
    if len(above):
        edges = np.linspace(0.0, max(float(above.max()), 1e-3), 9)
        numbers, _ = np.histogram(above, edges)
        names = [f"up to {edges[1]:.2g}", *(f"{low:.2g} to {high:.2g}" for low, high in pairwise(edges[1:]))]
        counts += list(zip(names, numbers.tolist(), strict=True))
    return bars(counts)


def _word_report(
    texts: Mapping[str, str], people: Mapping[str, Sequence[str]], tagger: Tagger
) -> tuple[Grid | None, tuple[Words, ...], tuple[str, ...]]:
    sets = {"the model": list(texts.values())}
    if people:
        # One a video: as many sentences as the model wrote, and of the same videos.
        sets["people"] = [found[0] for found in people.values()]
    reports: dict[str, WordReport] = {}
    for name, sentences in sets.items():
        try:
            reports[name] = count_words(sentences, tagger)
        # Captions without any word: people lose their column, the model the whole report.
        except UserError:
            if name == "the model":
                return None, (), ()
    named = {"noun": "nouns", "verb": "verbs", "adjective": "adjectives", "other": "other words"}
    rows = [
        ("captions", *(str(report.captions) for report in reports.values())),
        ("words", *(str(report.words) for report in reports.values())),
        *((f"{named[tag]}, of all words", *(f"{r.share[tag]:.1f} %" for r in reports.values())) for tag in TAGS),
        ("distinct words", *(str(report.distinct) for report in reports.values())),
        *(
            (f"{named[tag]}, of distinct words", *(f"{r.share_of_distinct[tag]:.1f} %" for r in reports.values()))
            for tag in TAGS
        ),
    ]
    words = tuple(
        Words(
            title=name,
            bars=bars([(clip(item.word), item.count) for item in report.top], [item.kind for item in report.top]),
            dropped=", ".join(f"{clip(item.word)} {item.count}" for item in report.dropped),
        )
        for name, report in reports.items()
    )
    notes = [f"Tagged by {tagger.name}."]
    if "people" in reports:
        notes.append("People: the first caption of each of the same videos.")
    if isinstance(tagger, LexiconTagger):
        notes.append("spaCy with an English pipeline tags better; without it a small lexicon does.")
    return Grid("Parts of speech", ("", *reports), tuple(rows)), words, tuple(notes)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.0f} %"
