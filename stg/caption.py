"""Caption video files with a trained model.

The model records which networks made the features of its training videos; the same networks describe the clips. Pan's
model runs no detector. The networks' weights are searched for in --weights and in torch's cache; nothing is downloaded.
"""

from stg.commands.parser import command
from stg.config.captioning import CaptionConfig


def main(config: CaptionConfig) -> int:
    """The command."""
    from stg.commands.caption import main as run

    return run(config)


if __name__ == "__main__":
    command("caption", CaptionConfig, main, __doc__ or "")
