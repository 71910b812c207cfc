"""Train a captioner; with no options but those of run: the preset stg_world, on the built-in world.

The run folder keeps settings, metrics, checkpoints and the best model. The same command resumes an unfinished run.
Several processes: torchrun --nproc-per-node 2 -m stg.fit OPTIONS; together they take the steps that one would.
Afterwards: python -m stg.evaluate RUN
"""

from stg.commands.parser import command
from stg.config.training import FitConfig


def main(config: FitConfig) -> int:
    """The command."""
    from stg.commands.fit import main as run

    return run(config)


if __name__ == "__main__":
    command("fit", FitConfig, main, __doc__ or "", resumes=True, preset="stg_world")
