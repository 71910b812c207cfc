"""Train a captioner."""

from rich.console import Console

from stg.config.training import FitConfig
from stg.runtime.device import pick_device
from stg.runtime.distributed import init_distributed
from stg.runtime.progress import ConsoleReporter
from stg.runtime.signals import REPEATED, stop_on_signal
from stg.training.loop import fit


def main(config: FitConfig) -> int:
    """The command."""

    with (
        init_distributed(lambda: pick_device(config.run.device, alone=False)) as ranks,
        stop_on_signal(repeated=REPEATED if ranks.is_distributed else 0.0) as stop,
    ):
        fit(config, reporter=ConsoleReporter(Console(), stop), ranks=ranks)
    return 0
