"""Evaluations on a terminal."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from stg.config.evaluation import EvaluateConfig
from stg.evaluation.loaded_run import LoadedRun, load_run
from stg.evaluation.scoring import SearchResult, caption_and_score, videos_of
from stg.metrics.columns import CAPTIONS
from stg.metrics.measures import METRICS
from stg.metrics.scorer import Scores
from stg.runtime.progress import ConsoleReporter


def evaluate_and_print(
    config: EvaluateConfig, *, console: Console, stop: Callable[[], bool] = lambda: False
) -> dict[str, Scores]:
    """Evaluate a run as ``stg.evaluate`` does, and print what it prints; returns the scores of each search by name.

    Raises:
        Preempted, UserError: as :func:`stg.evaluation.evaluate`.
    """
    reporter = ConsoleReporter(console, stop)
    run = load_run(config.run, store=config.store, root=config.root, device=config.device, reporter=reporter)
    found = caption_and_score(
        run,
        config.split,
        config.searches(),
        metrics=tuple(metric for metric in METRICS if metric != "meteor" or config.meteor),
        reference=config.reference,
        spice=config.spice,
        reporter=reporter,
    )
    scores = {name: result.scores for name, result in found.items() if result.scores is not None}
    _print(run, config, found, scores, console)
    return scores


def _print(
    run: LoadedRun,
    config: EvaluateConfig,
    found: Mapping[str, SearchResult],
    scores: Mapping[str, Scores],
    console: Console,
) -> None:
    say, split, dataset = ConsoleReporter(console).say, config.split, run.dataset
    videos, out = videos_of(run, split), run.folder / "evaluation"
    if scores:
        console.print(score_table(scores, title=f"{dataset.name} {split}, {len(videos)} videos: {run.folder}"))
        for metric, reason in next(iter(scores.values())).unavailable.items():
            say(f"{metric}: {reason}")
    broken = ", ".join(f"{name} {result.broken}" for name, result in found.items())
    say(f"captions that end in a word such as a, the, with: {broken} of {len(videos)}")
    # The captions shown are those of the last search; with the classes of videos, where they were read.
    named = [name for name in found if not name.endswith(", no class")] or list(found)
    withheld = split in dataset.unlabelled
    for video in videos[: config.show]:
        reference = "" if withheld else f"   (a reference: {dataset.captions[video][0]})"
        say(f"  {video}: {found[named[-1]].captions[video]}{reference}")
    if withheld:
        say(f"the captions of {split} are withheld: nothing is scored, and captions alone are in {out}")
    else:
        say(f"captions and scores are in {out}")


def score_table(scores: Mapping[str, Scores], *, title: str) -> Table:
    """One row a search, in the order in which papers print the scores."""
    there = dict.fromkeys(name for found in scores.values() for name in found.values)
    usual = [name for name in CAPTIONS if name != "spice" or "spice" in there]
    columns = [*usual, *(name for name in there if name not in CAPTIONS)]
    table = Table("search", *(name.upper() for name in columns), title=title)
    for name, found in scores.items():
        table.add_row(name, *(f"{found.values[key]:.3f}" if key in found.values else "-" for key in columns))
    return table
