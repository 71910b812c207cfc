"""Fuse the captions of several runs."""

from rich.console import Console

from stg.commands.evaluate import score_table
from stg.config.retrieval import FuseConfig
from stg.metrics.columns import reason_lines
from stg.retrieval.fusion import Fused, fuse, record_file
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted


def main(config: FuseConfig) -> int:
    """The command."""
    fuse_and_print(config, console=Console())
    return 0


def fuse_and_print(config: FuseConfig, *, console: Console) -> Fused:
    """Fuse, and print the scores and where the captions are."""
    reporter = ConsoleReporter(console)
    fused = fuse(config, reporter=reporter)
    # All methods are scored on the same videos, so the first says how many; a split without references has none.
    for scores in list(fused.scores.values())[:1]:
        title = f"{fused.dataset} {config.split}, {counted(scores.videos, 'video')} that all runs have"
        console.print(score_table(fused.scores, title=title))
        for line in reason_lines(scores.unavailable):
            reporter.say(line)
    where = f"are in {config.out}, with how they came about in {record_file(config.out)}"
    reporter.say(f"{counted(len(fused.captions), 'caption')} {where}")
    return fused
