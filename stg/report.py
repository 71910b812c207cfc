"""Write HTML pages of a run, or of the videos of one of its splits.

With --split (`report RUN --split test`), the page shows videos of that split: their frames with the boxes and edges of
the graph, the caption word by word with each word's attention, the candidates of the beam, references and scores.
Pictures come from --clips (the built-in world needs none), Grad-CAM also from the image network, which is searched for
in --weights. Without --split, the page shows how the run went: curves, validation captions, scores, best and worst
videos, words, ablations.

Every page is one file that needs no network and no other file, and may be mailed.
"""

from stg.commands.parser import command
from stg.config.report import ReportConfig


def main(config: ReportConfig) -> int:
    """The command."""
    from stg.commands.report import main as run

    return run(config)


if __name__ == "__main__":
    command("report", ReportConfig, main, __doc__ or "")
