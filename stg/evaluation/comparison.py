"""Paired comparison of scores, and of runs over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stg.config.results import CompareConfig
from stg.evaluation.results import (
    RunResult,
    SeedGroup,
    distinct,
    find_row,
    group,
    load_result,
    references,
    require_same_videos,
)
from stg.metrics.bootstrap import bleu_statistics, corpus_bleu, difference, resampled_scores
from stg.metrics.columns import HEADINGS, PUBLISHED
from stg.metrics.scorer import Scorer, Scores
from stg.runtime.errors import UserError
from stg.text.tokenizer import tokenize_captions

PAIRED = {**{name: HEADINGS[name] for name in PUBLISHED}, "meteor": "METEOR (mean of videos)"}
"""What the differences are of: METEOR's corpus score is no mean of its videos', which are what is resampled."""


def compare(config: CompareConfig) -> dict[str, Any]:
    """Compare evaluated runs on the same videos, paired; returns what ``stg.compare --json`` prints.

    Raises:
        UserError: a run is no run, given twice, or not evaluated so; a file is damaged; the runs are of different data
            sets or videos; no row has the baseline's name; the annotation cannot be read.
    """
    runs = [load_result(folder, config.split, config.search, config.dataset) for folder in distinct(config.runs)]
    require_same_videos(runs)
    rows = group(runs, names=config.names)
    baseline = find_row(rows, config.baseline)
    videos = list(runs[0].captions)
    known = references(runs, config.root)
    if lacking := [video for video in videos if not known.get(video)]:
        raise UserError(
            f"{len(lacking)} of {len(videos)} videos, such as {lacking[0]!r}, have no caption in the annotation: give "
            "the one that the runs were trained with (--root)"
        )
    # In the order of the captions, which all arrays below share.
    known = {video: known[video] for video in videos}
    metrics = ("bleu", "meteor", "rouge", "cider") if config.meteor else ("bleu", "rouge", "cider")
    with Scorer(known) as scorer:
        scores = {run.folder: scorer.score(run.captions, metrics=metrics) for run in runs}
    unavailable = {metric: reason for found in scores.values() for metric, reason in found.unavailable.items()}
    # A score that one run lacks compares nothing.
    found = [metric for metric in PUBLISHED if all(metric in scores[run.folder].values for run in runs)]

    record: dict[str, Any] = {
        "dataset": " + ".join(each.dataset for each in runs[0].data.sets.values()),
        "split": config.split,
        "search": config.search,
        "videos": len(videos),
        "rows": [summary(row, scores, found) for row in rows],
        "unavailable": unavailable,
        "notes": notes(rows, scores),
    }
    others = [row for row in rows if row is not baseline]
    if others:
        record |= {"baseline": baseline.name, "samples": config.samples, "seed": config.seed}
        record["differences_of"] = {metric: PAIRED[metric] for metric in found}
        record["differences"] = paired(baseline, others, scores, known, found, config)
        if "cider" in found:
            # Of the row that is given last: on a command line the newest attempt usually is.
            record |= changes(baseline, others[-1], scores, known, config.show)
    return record


_CONTROLS = {
    "shuffle": "its model never saw the video that it captions",
    "edges": "its model saw edges between objects that have nothing to do with each other",
}


def notes(rows: Sequence[SeedGroup], scores: Mapping[str, Scores]) -> list[str]:
    """What a reader of the table should know."""
    found = []
    for row in rows:
        # Runs of a row differ in their seed alone, so that the first speaks for all.
        control = row.runs[0].settings.run.control
        if control != "none":
            found.append(f"{row.name} is a control run ({control}): {_CONTROLS[control]}")
        seeds = [run.seed for run in row.runs]
        if len(set(seeds)) < len(seeds):
            found.append(f"{row.name} has a seed twice ({', '.join(map(str, seeds))}): its deviation says too little")
        for run in row.runs:
            now = scores[run.folder].values
            # Beyond what other versions of the libraries change in the last digits.
            differing = [
                key for key in PUBLISHED if key in now and abs(run.recorded.get(key, now[key]) - now[key]) > 1e-6
            ]
            if differing:
                was, is_now = run.recorded[differing[0]], now[differing[0]]
                found.append(
                    f"{run.folder} was recorded with {HEADINGS[differing[0]]} {was:.3f}, and has {is_now:.3f} on these "
                    "references: they changed since; evaluate it again"
                )
            if run.features is None:
                found.append(f"{run.folder} holds no model any more: its features are taken for those of the others")
    return found


def summary(row: SeedGroup, scores: Mapping[str, Scores], metrics: Sequence[str]) -> dict[str, Any]:
    """Mean of each corpus score over the seeds, and its deviation (that of a sample, n - 1; None for one seed)."""

    made = {}
    for metric in metrics:
        values = [scores[run.folder].values[metric] for run in row.runs]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        made[metric] = {"mean": float(np.mean(values)), "deviation": deviation}
    runs, seeds = [run.folder for run in row.runs], [run.seed for run in row.runs]
    control = row.runs[0].settings.run.control
    return {"name": row.name, "runs": runs, "seeds": seeds, "control": control, "scores": made}


def paired(
    baseline: SeedGroup,
    others: Sequence[SeedGroup],
    scores: Mapping[str, Scores],
    known: Mapping[str, Sequence[str]],
    metrics: Sequence[str],
    config: CompareConfig,
) -> list[dict[str, Any]]:
    """The difference of each row to the baseline, over the same resamples of the videos (:mod:`stg.metrics.bootstrap`).

    BLEU-4 is that of each resampled corpus, averaged over the seeds. The others are means over videos of scores that
    are averaged over the seeds; of METEOR this is not the corpus score.
    """

    texts = list(tokenize_captions(known).values())
    # BLEU-4 of a corpus is no mean over videos: its counts are resampled, and the score computed of each draw.
    averaged = [metric for metric in metrics if metric != "bleu4"]
    drawn, whole = {}, {}
    for row in (baseline, *others):
        captions = [[texts_of[0] for texts_of in tokenize_captions(_listed(run, known)).values()] for run in row.runs]
        statistics = bleu_statistics(captions, texts)
        means = np.array([over_seeds(row, scores, metric) for metric in averaged]).reshape(len(averaged), -1).T
        # One seed for all rows, so that a draw holds the same videos for each: this is what pairs them.
        drawn[row.name] = resampled_scores(statistics, means, config.samples, config.seed)
        whole[row.name] = np.array([corpus_bleu(statistics.sum(1)).mean(), *means.mean(0)])
    order = ["bleu4", *averaged]
    made = []
    for row in others:
        values = whole[row.name] - whole[baseline.name]
        found = {
            metric: asdict(difference(values[place], drawn[row.name][:, place], drawn[baseline.name][:, place]))
            for place, metric in enumerate(order)
        }
        made.append({"name": row.name, "scores": {metric: found[metric] for metric in metrics}})
    return made


def changes(
    baseline: SeedGroup, row: SeedGroup, scores: Mapping[str, Scores], known: Mapping[str, Sequence[str]], count: int
) -> dict[str, Any]:
    """The videos on which a row gains and loses most CIDEr, averaged over the seeds, at most ``count`` of each.

    Each comes with the caption of the run whose own score is nearest to that average, and the references.
    """

    videos = list(known)
    before, after = (np.array(over_seeds(found, scores, "cider")) for found in (baseline, row))
    change = after - before

    def change_of(place: int) -> dict[str, Any]:
        video = videos[place]
        sides = {
            name: {"cider": float(values[place]), "caption": _typical(found, scores, video, values[place])}
            for name, found, values in (("baseline", baseline, before), ("row", row, after))
        }
        people = {"reference": known[video][0], "references": list(known[video])}
        return {"video": video, "change": float(change[place]), **sides, **people}

    # Stable: among equal changes the videos keep their order, and a second call lists the same ones.
    order = np.argsort(change, kind="stable").tolist()
    gains = [change_of(place) for place in order[::-1][:count] if change[place] > 0]
    losses = [change_of(place) for place in order[:count] if change[place] < 0]
    return {"shown": row.name, "gains": gains, "losses": losses}


def over_seeds(row: SeedGroup, scores: Mapping[str, Scores], metric: str) -> list[float]:
    """Score of each video, averaged over the row's runs."""
    each = [scores[run.folder].per_video for run in row.runs]
    return [sum(found[video][metric] for found in each) / len(each) for video in each[0]]


def _typical(row: SeedGroup, scores: Mapping[str, Scores], video: str, average: float) -> str:
    nearest = min(row.runs, key=lambda run: abs(scores[run.folder].per_video[video]["cider"] - average))
    return nearest.captions[video]


def _listed(run: RunResult, known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {video: [run.captions[video]] for video in known}
