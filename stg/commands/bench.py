"""Export a bench, answer its questions, score answers."""

from collections.abc import Callable, Mapping

from rich.console import Console

from stg.benchmark.export import export
from stg.config.bench import BenchConfig
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter


def main(config: BenchConfig) -> int:
    """The command."""
    ACTIONS[config.action](config, ConsoleReporter(Console(soft_wrap=True)))
    return 0


def make(config: BenchConfig, reporter: Reporter) -> None:
    """Write a new bench.

    Raises:
        UserError: the folder is not empty, or the number of clips cannot be.
        StgError: a file cannot be written.
    """
    bench = export(config.folder, clips=config.clips, size=config.size, seed=config.seed, reporter=reporter)
    count = ", ".join(f"{found} {name}" for name, found in bench.settings["questions"].items())
    reporter.say(f"{bench.folder}: {len(bench.videos)} clips, {len(bench.questions)} questions ({count})")


ACTIONS: Mapping[str, Callable[[BenchConfig, Reporter], None]] = {"export": make}
"""What the command does, by the first word after its name."""
