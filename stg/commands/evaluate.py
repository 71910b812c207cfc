"""Caption and score a split of a run's data set."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.evaluation import EvaluateConfig
from stg.evaluation.scoring import evaluate_as, report_lines, scores_of, videos_of
from stg.metrics.columns import CAPTIONS, heading
from stg.metrics.scorer import Scores
from stg.runtime.files import printable
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted


def main(config: EvaluateConfig) -> int:
    """The command."""
    evaluate_and_print(config, console=Console())
    return 0


def evaluate_and_print(config: EvaluateConfig, *, console: Console) -> dict[str, Scores]:
    """Evaluate a run, and print what was found; returns the scores of each search by name.

    Raises:
        UserError: as :func:`stg.evaluation.evaluate`.
    """
    reporter = ConsoleReporter(console)
    run, found = evaluate_as(config, reporter=reporter)
    if scores := scores_of(found):
        videos = counted(len(videos_of(run, config.split)), "video")
        title = f"{run.dataset.name} {config.split}, {videos}: {run.folder}"
        console.print(score_table(scores, title=title, all_usual=config.metrics is None))
    for line in report_lines(run, config.split, found, config.show):
        reporter.say(line)
    return scores


def score_table(scores: Mapping[str, Scores], *, title: str, all_usual: bool = True) -> Table:
    """One row a search, in the order in which papers print the scores.

    Args:
        all_usual: also columns of usual scores that there are none of; only SPICE is left out then.
    """
    there = dict.fromkeys(name for found in scores.values() for name in found.values)
    usual = [name for name in CAPTIONS if name in there or (all_usual and name != "spice")]
    columns = [*usual, *(name for name in there if name not in CAPTIONS)]
    table = Table("search", title=Text(printable(title)))
    for name in columns:
        table.add_column(Text(printable(heading(name))))
    for name, found in scores.items():
        table.add_row(
            Text(printable(name)), *(f"{found.values[key]:.3f}" if key in found.values else "-" for key in columns)
        )
    return table
