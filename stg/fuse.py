"""Caption a split with several runs together, and score each run alone and all of them fused.

`fuse RUN RUN ... --embedding FOLDER --out FILE` pools the best beams of all runs, of whatever decoders and
vocabularies, and takes for each video the caption that the video-text embedding (stg.embed) finds closest to it, as
the late fusion of Chen et al. (VATEX, 2019) does; --mix adds the captions' own log-probability. `--method ensemble`
averages the runs' probabilities word by word instead, for runs with one vocabulary. A video that one run lacks gets its
caption from the others, and one that all lack from the caption file --fallback; with it, or with --form vatex, the
whole split must be there and gaps are refused.
"""

from stg.commands.parser import command
from stg.config.retrieval import FuseConfig


def main(config: FuseConfig) -> int:
    """The command."""
    from stg.commands.fuse import main as run

    return run(config)


if __name__ == "__main__":
    command("fuse", FuseConfig, main, __doc__ or "")
