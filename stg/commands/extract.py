"""Turn clips into a store of object graphs."""

from rich.console import Console

import stg.features
from stg.config.extraction import ExtractConfig
from stg.features.log import ExtractionLog
from stg.runtime.errors import Preempted, TooManySkipped
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted
from stg.runtime.signals import interrupted_by_sigterm
from stg.video.clips import list_clips


def main(config: ExtractConfig) -> int:
    """Extract the clips; returns 0, or raises what the command turns into an exit code."""
    reporter = ConsoleReporter(Console(soft_wrap=True))
    with interrupted_by_sigterm():
        try:
            report = stg.features.extract(
                list_clips(config.clips, config.recursive),
                config.out,
                networks=config,
                sampling=config,
                execution=config,
                engine=config.engine,
                features_dtype=config.features_dtype,
                strict=config.strict,
                reporter=reporter,
            )
        # Later stops are caught where the work is and come as `Preempted` with a count of their own.
        except KeyboardInterrupt:
            raise Preempted("stopped before the first clip; the same command resumes") from None
    skips = ExtractionLog(report.store or config.out).skips
    rate = f" ({60 * len(report.done) / report.wall:.0f} clips a minute)" if report.wall and report.done else ""
    again = f", {len(report.remade)} made again" if report.remade else ""
    added = len(report.done) - len(report.remade)
    reporter.say(f"{report.store}: {counted(added, 'clip')} added{again}{rate}, {len(report.already)} there before")
    if report.seconds:
        spent = ", ".join(f"{stage} {value:.0f} s" for stage, value in report.seconds.items())
        reporter.say(f"time by stage (reading runs alongside the others): {spent}")
    if report.skipped:
        reporter.say(f"{counted(len(report.skipped), 'clip')} skipped, with the reasons in {skips}")
    if number := len(report.elsewhere):
        there = f"{counted(number, 'clip', 'is', 'are')} in other shards of {config.out}"
        reporter.say(f"{there}: join them with stg.store merge")
    # Last, once all else is reported: what was extracted is good and stays.
    if len(report.skipped) > config.max_skip * report.asked:
        raise TooManySkipped(
            f"{len(report.skipped)} of {report.asked} clips were skipped, more than --max_skip {config.max_skip:g}: "
            f"{skips} says why; all others are in {report.store}"
        )
    return 0
