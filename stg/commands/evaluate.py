"""Caption and score a split of a run's data set."""

from rich.console import Console

from stg.config.evaluation import EvaluateConfig
from stg.evaluation.evaluate import evaluate


def main(config: EvaluateConfig) -> int:
    """The command."""

    evaluate(config, console=Console())
    return 0
