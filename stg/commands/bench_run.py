"""Let a run of stg.fit, or a captioner made of one, answer a bench."""

import os
from pathlib import Path

from rich.console import Console

from stg.benchmark.own_runs import OwnRun, answer_bench, bench_builders
from stg.benchmark.questions import Bench, read_bench
from stg.captioning.pipeline import VideoCaptioner, load
from stg.config.bench import BenchConfig
from stg.features.rebuild import WeightSearch, features_read, plan_features
from stg.runs.model_file import model_header
from stg.runs.pretrained import find_model
from stg.runs.shipped import model_and_places
from stg.runtime.files import sha256_file
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted
from stg.runtime.reporter import Reporter
from stg.runtime.signals import stop_on_signal


def run_model(config: BenchConfig, reporter: Reporter) -> None:
    """Answer the questions, and caption the clips.

    Raises:
        UserError: no such model, networks that are missing, or a file that does not fit.
        StgError: a file cannot be written.
        Preempted: stopped; what was answered is kept.
    """
    bench = read_bench(config.folder)
    captioner, file = _opened(config, bench)
    own = OwnRun(captioner, bench, config.control)
    # Resolved: of "." the name is empty.
    run = file.parent.resolve().name
    name = run + ("" if config.control == "none" else f"-{config.control}")
    answers = Path(config.out or bench.folder / f"answers-{name}.jsonl")
    captions = Path(config.captions or bench.folder / f"captions-{name}.jsonl")
    # Two runs of one name are two models.
    made = f"{run} ({sha256_file(file)[:12]}), control {config.control}, beam {config.beam}"
    for note in captioner.notes:
        reporter.say(f"note: {note}")
    with stop_on_signal() as stop:
        count = answer_bench(own, answers, captions, made=made, reporter=ConsoleReporter(Console(soft_wrap=True), stop))
    reporter.say(f"{answers}: {count} new answers, of {len(bench.questions)} questions")
    reporter.say(f"{captions}: captions")
    if own.unknown:
        words = ", ".join(sorted(own.unknown))
        most = max(own.unknown.values())
        reporter.say(
            f"note: the model has never read {words} (up to {counted(most, 'question')} a word), which it takes for "
            "one unknown word: choices that differ in nothing else score alike, and are no answer"
        )


def _opened(config: BenchConfig, bench: Bench) -> tuple[VideoCaptioner, Path]:
    given = [Path(place) for place in (config.weights.split(os.pathsep) if config.weights else [])]
    model, places = model_and_places(config.source, given)
    file = find_model(model, download=config.download)
    header = model_header(file)
    search = WeightSearch(places, config.download)
    plan = plan_features(header["features"], features_read(header), search, bench_builders(bench))
    return load(model, download=config.download, device=config.device, beam=config.beam, plan=plan), file
