"""Compare trained runs on the captions that stg.evaluate wrote: `compare RUN... --split test --search beam5`.

Runs that differ only in their seed are one row: mean and deviation over the seeds. Each row is set against the first
(or --baseline) by a paired bootstrap over videos: the difference of each score, its 95 % interval, and the share of
resamples in which it is better. Below stand the videos on which the last row gains and loses most CIDEr.

Scores are fractions, and are made anew from the captions. The intervals speak of other videos, not of other seeds: the
scores of a row are averages over its seeds. CIDEr's idf is not resampled: it stays that of all videos.
"""

from stg.commands.parser import command
from stg.config.results import CompareConfig


def main(config: CompareConfig) -> int:
    """The command."""
    from stg.commands.compare import main as run

    return run(config)


if __name__ == "__main__":
    command(CompareConfig, main, __doc__ or "")
