"""Train and score a table of runs that differ in one setting."""

import os

from rich.console import Console

from stg.ablation.ablate import ablate
from stg.ablation.config import AblateConfig
from stg.commands.parser import parse
from stg.config.retrieval import EmbedConfig
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.runtime.signals import REPEATED, stop_on_signal


def main(config: AblateConfig) -> int:
    """The command."""
    # torchrun passes a signal on to processes that may have got it themselves.
    with stop_on_signal(repeated=REPEATED if "TORCHELASTIC_RUN_ID" in os.environ else 0.0) as stop:
        return ablate(config, embedding=_embedding(config), reporter=ConsoleReporter(Console(), stop))


def _embedding(config: AblateConfig) -> EmbedConfig | None:
    """The settings in the file that ``--embedding`` names."""
    if config.embedding is None:
        return None
    try:
        return parse(EmbedConfig, ["--config", config.embedding], prog="stg.embed", description="")[0]
    except UserError as error:
        raise UserError(f"--embedding {config.embedding} is no preset and no file of stg.embed: {error}") from error
