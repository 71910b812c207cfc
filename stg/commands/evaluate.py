"""Caption and score a split of a run's data set."""

from stg.config.evaluation import EvaluateConfig
from stg.evaluation.evaluate import evaluate


def main(config: EvaluateConfig) -> int:
    """The command."""
    from rich.console import Console

    evaluate(config, console=Console())
    return 0
