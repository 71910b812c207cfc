"""Train and score a table of runs that differ in one setting."""

import os

from rich.console import Console

from stg.ablation.ablate import ablate
from stg.ablation.config import AblateConfig
from stg.runtime.progress import ConsoleReporter
from stg.runtime.signals import REPEATED, stop_on_signal


def main(config: AblateConfig) -> int:
    """The command."""
    # torchrun passes a signal on to processes that may have got it themselves.
    with stop_on_signal(repeated=REPEATED if "TORCHELASTIC_RUN_ID" in os.environ else 0.0) as stop:
        return ablate(config, reporter=ConsoleReporter(Console(), stop))
