"""Ask branches and edge variants for the event of a video, by a classifier."""

from rich.console import Console

from stg.config.probe import ProbeConfig
from stg.evaluation.probing import probe
from stg.runtime.progress import ConsoleReporter
from stg.runtime.signals import stop_on_signal


def main(config: ProbeConfig) -> int:
    """The command."""
    with stop_on_signal() as stop:
        probe(config, reporter=ConsoleReporter(Console(), stop))
    return 0
