"""Ask captioners and video language models who does what to whom, and in which order.

`bench export DIR` makes clips of the built-in world with captions and questions; nothing is downloaded. Each question
comes with a twin on a clip that differs in one thing alone: played in reverse, actor and target exchanged, colours
exchanged. Text and choices of the two are the same, their answers differ: who sees no clip is right by chance, and who
sees frames without their order is right in one of two that are each other's reverse.
"""

from stg.commands.parser import command
from stg.config.bench import BenchConfig


def main(config: BenchConfig) -> int:
    """The command."""
    from stg.commands.bench import main as run

    return run(config)


if __name__ == "__main__":
    command("bench", BenchConfig, main, __doc__ or "")
