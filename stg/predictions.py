"""Join caption files into one submission (merge), or print several models' captions side by side (compare).

A challenge asks for a caption of every video of its list, but some clips are no longer published: the captions of a
second model, on the features that the organisers provide, fill the gaps (Chen et al., 2019, section 3, on VATEX).
`merge MINE.json FALLBACK.json --videos LIST.json --form vatex --out submission.json` takes each caption from the first
file that has one for the video; an empty caption is none. With --videos exactly these are written, in that order, and
gaps are refused; without it, all videos of the files.

`compare ST.json TS.json --run RUN --different true` prints captions side by side, as in Fig. 1 of that paper and in
Fig. 4, Fig. 10 and Table 5 of STaTS (Cherian et al., 2020), with a reference from the annotation that RUN was trained
with, or from a file (--references).

A caption file is what stg.evaluate writes to RUN/evaluation (COCO results: a list of image_id and caption), an object
{video: caption}, or, named *.jsonl, what stg.caption --json prints.
"""

from stg.commands.parser import command
from stg.config.results import PredictionsConfig


def main(config: PredictionsConfig) -> int:
    """The command."""
    from stg.commands.predictions import main as run

    return run(config)


if __name__ == "__main__":
    command("predictions", PredictionsConfig, main, __doc__ or "")
