"""Make a captioner ready to come with the package."""

from rich.console import Console

from stg.config.shipping import ShipConfig
from stg.evaluation.shipping import ship
from stg.runtime.progress import ConsoleReporter


def main(config: ShipConfig) -> int:
    """The command."""
    ship(config, reporter=ConsoleReporter(Console(soft_wrap=True)))
    return 0
