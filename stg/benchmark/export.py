"""Write the clips, captions and questions of a bench to a folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from stg.benchmark.levels import PLAIN, Level
from stg.benchmark.making import make_bench
from stg.benchmark.questions import CLIPS, FILES, SETTINGS, Bench, make_folder, write_bench
from stg.benchmark.twins import FPS, FRAMES, Scene
from stg.datasets.world.writing import write_video
from stg.runtime.errors import UserError
from stg.runtime.files import is_leftover
from stg.runtime.reporter import SILENT, Reporter

CHUNK = 10
"""Frames that are drawn at a time."""

FULL_COLOUR = 192
"""Smaller clips keep the colour of every pixel, which not all players know."""


def export(
    folder: str | Path, *, clips: int, size: int, seed: int, level: Level = PLAIN, reporter: Reporter = SILENT
) -> Bench:
    """Make a bench; what an interrupted export left in the folder is replaced.

    Args:
        folder: a new or empty one.
        clips: how many, an even number.
        size: width and height in pixels, an even number.
        seed: another seed makes other clips.
        level: how hard they are to see.
        reporter: shows how far it is.

    Raises:
        UserError: the folder holds something else, or the number of clips cannot be.
        StgError: a file cannot be written.
    """
    folder = Path(folder)
    made = make_bench(seed, clips, level)
    _require_room(folder)
    make_folder(folder / CLIPS)
    with reporter.bar("clips") as progress:
        for done, clip in enumerate(made.clips.values()):
            progress(done, clips)
            small = size < FULL_COLOUR
            write_video(
                folder / CLIPS / f"{clip.name}.mp4",
                _frames(clip.scene, size),
                FPS,
                crf=4 if small else 8,
                pix_fmt="yuv444p" if small else "yuv420p",
            )
    frames = FRAMES * level.events
    settings = {"world": {"seed": seed, "frames": frames, "fps": FPS, "size": size}, "level": level.changes}
    captions = {name: clip.captions for name, clip in made.clips.items()}
    return write_bench(folder, settings, captions, made.questions, made.key)


def _frames(scene: Scene, size: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for start in range(0, scene.frames, CHUNK):
        yield from scene.render(np.arange(start, min(start + CHUNK, scene.frames)), size)


def _require_room(folder: Path) -> None:
    if (folder / SETTINGS).exists():
        raise UserError(f"{folder} holds a bench already: give another folder")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder")
    own = {CLIPS, *FILES}
    others = (
        [path.name for path in folder.iterdir() if path.name not in own and not is_leftover(path.name)]
        if folder.exists()
        else []
    )
    if others:
        raise UserError(f"{folder} is not empty (it holds {others[0]!r}): give a new folder")
