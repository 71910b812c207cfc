"""List the captioners that come with this installation.

For each its name, which `stg caption --model NAME` takes, what it was trained on, its scores, its size with the
networks that it reads, and whether its files are as its card says. The default one, which `stg caption` takes without
--model, is the first. A damaged file ends the command with exit code 1.
"""

from stg.commands.parser import command
from stg.config.shipping import ModelsConfig


def main(config: ModelsConfig) -> int:
    """The command."""
    from stg.commands.shipped import main as run

    return run(config)


if __name__ == "__main__":
    command("shipped", ModelsConfig, main, __doc__ or "")
