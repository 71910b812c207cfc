"""Turn video clips into a store of object graphs.

Each clip is sampled at a few frames; a detector finds objects in them, an image network describes frames and objects,
and the graph over the objects goes into an LMDB store. Clips that are in the store already are left out, so that the
same command resumes a stopped run; one that has been replaced by another file of its name is an error, or is done again
with --refresh. Clips that cannot be used are listed in STORE.skipped.jsonl, the length, frame rate and SHA-256 of the
others in STORE.clips.jsonl.
"""

from stg.commands.parser import command
from stg.config.extraction import ExtractConfig


def main(config: ExtractConfig) -> int:
    """The command."""
    from stg.commands.extract import main as run

    return run(config)


if __name__ == "__main__":
    command("extract", ExtractConfig, main, __doc__ or "", resumes=True)
