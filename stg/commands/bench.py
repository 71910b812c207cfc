"""Export a bench, answer its questions, score answers."""

from collections.abc import Callable, Mapping

from rich.console import Console

from stg.benchmark.balance import proof, proof_table
from stg.benchmark.export import export
from stg.benchmark.levels import level_of
from stg.benchmark.making import made_again
from stg.benchmark.questions import read_bench
from stg.benchmark.scoring import markdown, score_file
from stg.commands.bench_ask import ask_model, prompt
from stg.commands.bench_run import run_model
from stg.config.bench import BenchConfig
from stg.pages.bench import write_bench_page
from stg.runtime.errors import UserError
from stg.runtime.output import json_line
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
    try:
        level = level_of(config.level)
    except ValueError as error:
        raise UserError(str(error)) from error
    bench = export(
        config.folder, clips=config.clips, size=config.size, seed=config.seed, level=level, reporter=reporter
    )
    count = ", ".join(f"{found} {name}" for name, found in bench.settings["questions"].items())
    reporter.say(f"{bench.folder}: {len(bench.videos)} clips, {len(bench.questions)} questions ({count})")


def score(config: BenchConfig, reporter: Reporter) -> None:
    """Print the scores of a file of answers or captions, and write their page.

    Raises:
        UserError: no bench, a file that cannot be read or is of another bench, a page that cannot be written.
    """
    assert config.source is not None
    record = score_file(read_bench(config.folder), config.source, name=config.name, samples=config.samples)
    page = write_bench_page(config.report, record) if config.report else None
    if config.json:
        print(json_line({name: value for name, value in record.items() if name not in ("examples", "right")}))
        return
    for line in [*markdown(record), *(f"note: {note}" for note in record["notes"])]:
        reporter.say(line)
    if page:
        reporter.say(f"written: {page}")


def balance(config: BenchConfig, reporter: Reporter) -> None:
    """Print how well the text alone, and the best single frame, answer the questions.

    Raises:
        UserError: no bench, or one of another version.
    """
    found = proof(made_again(read_bench(config.folder)))
    if config.json:
        print(json_line(found))
        return
    for line in proof_table(found):
        reporter.say(line)


ACTIONS: Mapping[str, Callable[[BenchConfig, Reporter], None]] = {
    "export": make,
    "score": score,
    "ask": ask_model,
    "prompt": prompt,
    "balance": balance,
    "run": run_model,
}
"""What the command does, by the first word after its name."""
