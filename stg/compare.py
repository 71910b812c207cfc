"""Compare trained runs on the captions that stg.evaluate wrote, with confidence intervals.

`compare RUN... --split test --search beam5` prints a table. Runs that differ only in their seed are one row: mean and
deviation over the seeds. Each row is set against the first (or --baseline) by a paired bootstrap over videos: the
difference of each score, its 95 % interval, and the share of resamples in which it is better. The videos on which the
last row gains and loses most CIDEr follow below; --report FILE.html writes them as a page, with frames (of clips:
--clips FOLDER), both captions, and all references.

Scores are fractions, and are computed again from the captions. The intervals are over other videos, not over other
seeds: the scores of a row are averages over its seeds. CIDEr's idf is not resampled: it stays that of all videos.
"""

from stg.commands.parser import command
from stg.config.results import CompareConfig


def main(config: CompareConfig) -> int:
    """The command."""
    from stg.commands.compare import main as run

    return run(config)


if __name__ == "__main__":
    command("compare", CompareConfig, main, __doc__ or "")
