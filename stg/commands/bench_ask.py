"""Ask a model the questions of a bench, or write what it is to be asked."""

import os
from pathlib import Path

from rich.console import Console

from stg.benchmark.asking import Asked, ask
from stg.benchmark.endpoint import Endpoint, collect, write_requests
from stg.benchmark.prompts import write_prompts
from stg.benchmark.questions import Bench, read_bench
from stg.config.bench import BenchConfig
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter
from stg.runtime.signals import stop_on_signal
from stg.vision.model_folders import find_saved_model


def ask_model(config: BenchConfig, reporter: Reporter) -> None:
    """Ask, or write the requests, or read the replies.

    Raises:
        UserError: no such model, or a file that does not fit.
        StgError: an endpoint that does not answer, a file that cannot be written.
        Preempted: stopped; what was answered is kept.
    """
    bench = read_bench(config.folder)
    out = Path(config.out or bench.folder / "answers.jsonl")
    if config.requests:
        count = write_requests(config.requests, bench, config.model or "", frames=config.frames, reporter=reporter)
        reporter.say(f"{config.requests}: {count} requests; of the replies stg bench ask --replies FILE makes answers")
        return
    if config.replies:
        count = collect(config.replies, bench, out)
    else:
        model = _opened(config)
        with stop_on_signal() as stop:
            count = ask(
                bench, model, out, frames=config.frames, reporter=ConsoleReporter(Console(soft_wrap=True), stop)
            )
    reporter.say(f"{out}: {count} new answers, of {len(bench.questions)} questions")


def _opened(config: BenchConfig) -> Asked:
    model = config.model or ""
    if config.endpoint:
        key = os.environ.get(config.key_variable) if config.key_variable else None
        if config.key_variable and not key:
            raise UserError(f"the environment has no variable {config.key_variable}, which --key_variable names")
        return Endpoint(config.endpoint, model, key=key)
    folder = find_saved_model(model, "model", config.download)
    # An extra, and slow to import.
    from stg.benchmark.language_models import open_model

    return open_model(folder, method=config.method, batch=config.batch, device=str(pick_device(config.device)))


def prompt(config: BenchConfig, reporter: Reporter) -> None:
    """Write the graph of each clip as text.

    Raises:
        UserError: a store that lacks clips, or a bench of another version.
        StgError: the file cannot be written.
    """
    bench: Bench = read_bench(config.folder)
    out = Path(config.out or bench.folder / "graphs.jsonl")
    count = write_prompts(bench, out, store=config.store, frames=config.frames)
    reporter.say(f"{out}: {count} graphs as text")
