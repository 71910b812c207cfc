"""Train a video-text embedding (VSE++), by which stg.fuse chooses among captions.

The built-in world is the default data set. Prints recall at 1, 5 and 10 and the median rank, from videos to captions
and from captions to videos. The same command resumes unfinished training. Afterwards, once: python -m stg.embed --out
FOLDER --evaluate test
"""

from stg.commands.parser import command
from stg.config.retrieval import EmbedConfig


def main(config: EmbedConfig) -> int:
    """The command."""
    from stg.commands.embed import main as run

    return run(config)


if __name__ == "__main__":
    command("embed", EmbedConfig, main, __doc__ or "", resumes=lambda config: config.evaluate is None)
