"""Train a captioner."""

from stg.config.training import FitConfig
from stg.training.loop import fit


def main(config: FitConfig) -> int:
    """The command."""
    from rich.console import Console

    from stg.runtime.device import pick_device
    from stg.runtime.distributed import launched
    from stg.runtime.signals import REPEATED, stop_on_signal

    with (
        launched(lambda: pick_device(config.run.device, alone=False)) as processes,
        stop_on_signal(repeated=REPEATED if processes.are_several else 0.0) as stop,
    ):
        return fit(config, console=Console(), stop=stop, processes=processes)
