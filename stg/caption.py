"""Caption video files with a trained model.

The model says how its training videos were looked at; the clips are looked at in the same way. Pan's model runs no
detector. Weights of the networks are looked for in --weights and in torch's cache; nothing is downloaded.
"""

from stg.commands.parser import command
from stg.config.captioning import CaptionConfig


def main(config: CaptionConfig) -> int:
    """The command."""
    from stg.commands.caption import main as run

    return run(config)


if __name__ == "__main__":
    command(CaptionConfig, main, __doc__ or "")
