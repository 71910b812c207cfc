"""Make README's picture: videos of the built-in world with boxes, edges and captions that grow word by word.

    ./run fit
    ./run py docs/images/make_world.py runs/world-joint-spatial-seed0

Any run on the world will do. The captions are the model's own, right or wrong. LOG.md says which run made the picture
that is there.
"""

import argparse
from pathlib import Path

from PIL import Image

from stg.config.report import ReportConfig
from stg.datasets.world import World
from stg.evaluation.loaded_run import load_run_as
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.overlay_film import Footage, compose
from stg.pages.videos.split_report import SplitReport
from stg.pages.videos.views import VideoView
from stg.runtime.reporter import SILENT

OUT = Path(__file__).with_name("world.webp")
VIDEOS = "test-00000,test-00002"
WIDTH, GAP = 360, 16
"""Pixels of a video across, and between two."""
QUALITY = 70
"""Of WebP, to 100: text stays sharp, and the file small."""
HOLD = 2000
"""Milliseconds for which the last frame stands."""


def film(world: World, view: VideoView, step: int) -> list[Image.Image]:
    """The frames of a video, each ``step``-th, with what belongs on and below them."""
    footage = Footage(
        world.frames, world.fps, (world.size, world.size), lambda: iter(world.render(view.video, range(world.frames)))
    )
    drawn = [Image.fromarray(frame) for frame in list(compose(footage, view))[::step]]
    return [
        frame.resize((WIDTH, round(frame.height * WIDTH / frame.width)), Image.Resampling.LANCZOS) for frame in drawn
    ]


def side_by_side(frames: list[Image.Image]) -> Image.Image:
    """Pictures in a row, on white."""
    height = max(frame.height for frame in frames)
    row = Image.new("RGB", (len(frames) * (WIDTH + GAP) - GAP, height), "white")
    for place, frame in enumerate(frames):
        row.paste(frame, (place * (WIDTH + GAP), 0))
    return row


def make(run: str, out: Path = OUT, videos: str = VIDEOS, step: int = 1) -> list[str]:
    """Caption the videos with a run and write the picture; returns the captions."""
    config = ReportConfig(run=run, split="test")
    report = SplitReport(load_run_as(config, "test", reporter=SILENT), "test", search=config.searched(), explainers=())
    # These alone are captioned, and none is scored.
    report.videos, report.references = videos.split(","), {}
    report.caption()
    with page_readers() as readers:
        views = list(report.views(report.videos, readers))
    assert report.world is not None, f"{run} was not trained on the built-in world"
    rows = [
        side_by_side(list(frames)) for frames in zip(*(film(report.world, view, step) for view in views), strict=True)
    ]
    times = [round(1000 * step / report.world.fps)] * (len(rows) - 1) + [HOLD]
    rows[0].save(out, save_all=True, append_images=rows[1:], duration=times, loop=0, quality=QUALITY, method=6)
    return [" ".join(view.captions[0].explanation.words) for view in views]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="run folder of stg.fit on the built-in world")
    parser.add_argument("--videos", default=VIDEOS, help=f"names of test videos, with commas (default: {VIDEOS})")
    parser.add_argument("--step", type=int, default=1, help="take each so many frames (default: 1, all)")
    parser.add_argument("--out", type=Path, default=OUT, help="the .webp to write")
    given = parser.parse_args()
    for video, caption in zip(
        given.videos.split(","), make(given.run, given.out, given.videos, given.step), strict=True
    ):
        print(f"{video}: {caption}")
    print(f"written: {given.out} ({given.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
