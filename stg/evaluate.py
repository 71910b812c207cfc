"""Caption a split with a trained run and score it as COCO does.

Prints greedy and beam search side by side and writes captions and scores to RUN/evaluation. Scores are fractions;
papers print them times 100. --search.* chooses another search than the beam: other methods, rules, several captions a
video. A model that reads the videos' class (model.stats.categories) is scored with it and
without ("no class"), or without alone where the data set has none: clips from elsewhere have none.
"""

from stg.commands.parser import command
from stg.config.evaluation import EvaluateConfig


def main(config: EvaluateConfig) -> int:
    """The command."""
    from stg.commands.evaluate import main as run

    return run(config)


if __name__ == "__main__":
    command("evaluate", EvaluateConfig, main, __doc__ or "")
