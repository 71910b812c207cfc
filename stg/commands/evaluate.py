"""Caption and score a split of a run's data set."""

from rich.console import Console

from stg.config.evaluation import EvaluateConfig
from stg.evaluation.printing import evaluate_and_print


def main(config: EvaluateConfig) -> int:
    """The command."""

    evaluate_and_print(config, console=Console())
    return 0
