"""Caption a split, score it, write both down."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stg.config.evaluation import EvaluateConfig
from stg.data.batches import shuffle_features
from stg.evaluation.loaded_run import batch_source, load_run
from stg.evaluation.predictions import write_predictions
from stg.metrics.scorer import METRICS, Scorer, Scores
from stg.models.generation import Caption, generate
from stg.runs.evaluations import file_stem
from stg.runtime.errors import Preempted
from stg.runtime.files import write_atomic
from stg.runtime.progress import advance_by, progress_bar
from stg.text.words import broken_endings

COLUMNS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge", "cider")


def evaluate(
    config: EvaluateConfig, *, console: Console, stop: Callable[[], bool] = lambda: False
) -> dict[str, Scores]:
    """Caption and score; returns the scores of each search by name: ``greedy``, ``beam 5``, ``greedy, no class``, ...;
    none where the captions of the split are withheld.

    Args:
        stop: asked after each batch of videos.

    Raises:
        Preempted: ``stop`` said so.
        UserError: no such run or split, features made otherwise than in training, or classes that the model does not
            know.
    """

    folder = Path(config.run)

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with progress_bar(console, "making the videos' graphs") as progress:
        run = load_run(folder, store=config.store, root=config.root, device=config.device, progress=progress, tell=tell)
    run.require_split(config.split)
    settings, trained, dataset, store, device = run.settings, run.trained, run.dataset, run.store, run.device
    source = batch_source(trained, store, dataset)
    told = {"": source}
    if "category" in trained.captioner.decoder.reads:
        told = {", no class": replace(source, category=None)}
        if dataset.category:
            told = {"": source, **told}
        else:
            tell(f"{dataset.name} has no classes, which this model reads: it is scored as for clips without one")
    withheld = config.split in dataset.unlabelled
    videos = [video for video in dataset.splits[config.split] if withheld or dataset.captions.get(video)]
    if settings.run.control == "shuffle":
        shuffled = shuffle_features(videos, settings.run.seed)
        told = {suffix: replace(source, shuffled=shuffled) for suffix, source in told.items()}
    scorer = None
    if not withheld:
        scorer = Scorer(
            {video: dataset.captions[video] for video in videos},
            tokenizer="java" if config.reference else "python",
            reference=config.reference,
            spice=config.spice,
        )
    metrics = tuple(metric for metric in METRICS if metric != "meteor" or config.meteor)

    out = folder / "evaluation"
    out.mkdir(exist_ok=True)
    scores: dict[str, Scores] = {}
    shown: dict[str, str] = {}
    broken: dict[str, int] = {}
    for search, suffix in product(config.searches(), told):
        name, known = search.name + suffix, told[suffix]
        with progress_bar(console, f"captioning, {name}") as progress:

            def go_on(done: int, total: int, progress: Callable[[int, int], None] = progress) -> None:
                progress(done, total)
                if stop():
                    raise Preempted(f"stopped while {folder} was evaluated: the same command does that anew")

            found = generate(
                trained.captioner,
                known,
                videos,
                trained.vocabulary,
                search=search,
                device=device,
                advance=advance_by(go_on, len(videos)),
            )
        captions = {video: candidates[0].text for video, candidates in found.items()}
        broken[name] = broken_endings(captions.values())
        shown = captions if suffix == next(iter(told)) else shown
        stem = file_stem(config.split, name)
        write_predictions(out / f"{stem}.json", captions)
        if search.n_best > 1:
            _write_candidates(out / f"{stem}-nbest.json", found)
        if scorer is None:
            continue
        with console.status(f"scoring, {name}"):
            scores[name] = scorer.score(captions, metrics=metrics)
        about = {
            "split": config.split,
            "beam": 1 if search.greedy else search.beam,
            "search": asdict(search),
            "control": settings.run.control,
            "category": known.category is not None,
            "broken_endings": broken[name],
        }
        _write_scores(out / f"{stem}-scores.json", scores[name], **about)
    if scores:
        console.print(score_table(scores, title=f"{dataset.name} {config.split}, {len(videos)} videos: {folder}"))
        for metric, reason in next(iter(scores.values())).unavailable.items():
            tell(f"{metric}: {reason}")
    tell("captions that end in a word such as a, the, with: " + broken_line(broken, len(videos)))
    for video in videos[: config.show]:
        reference = "" if withheld else f"   (a reference: {dataset.captions[video][0]})"
        tell(f"  {video}: {shown[video]}{reference}")
    if withheld:
        tell(f"the captions of {config.split} are withheld: nothing is scored, and captions alone are in {out}")
    else:
        tell(f"captions and scores are in {out}")
    return scores


def score_table(scores: Mapping[str, Scores], *, title: str) -> Any:
    """A rich table, one row a search, in the order in which papers print the scores."""

    columns = [*COLUMNS, *(["spice"] if any("spice" in found.values for found in scores.values()) else [])]
    table = Table("search", *(name.upper() for name in columns), title=title)
    for name, found in scores.items():
        table.add_row(name, *(f"{found.values[key]:.3f}" if key in found.values else "-" for key in columns))
    return table


def broken_line(broken: Mapping[str, int], total: int) -> str:
    """How many captions of each search are left open, as one line."""
    return ", ".join(f"{name} {count}" for name, count in broken.items()) + f" of {total}"


def _write_candidates(path: Path, found: Mapping[str, Sequence[Caption]]) -> None:

    record = {
        video: {
            "captions": [caption.text for caption in candidates],
            "log_probs": [caption.log_prob for caption in candidates],
            "scores": [caption.score for caption in candidates],
        }
        for video, candidates in found.items()
    }
    write_atomic(path, json.dumps(record, ensure_ascii=False, indent=1))


def _write_scores(path: Path, scores: Scores, **about: Any) -> None:

    record = {**about, "videos": scores.videos, "scores": scores.values, "unavailable": scores.unavailable}
    write_atomic(path, json.dumps(record, indent=1))
