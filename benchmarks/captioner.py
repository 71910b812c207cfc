"""CPU seconds that each captioner of the installation takes for a clip of ten seconds, decoding included.

A made clip, 120 frames of 224 x 224, one thread, the captioner's own search; starting up (2 to 3 s) apart. Written to
``results/captioner/seconds.json`` with the SHA-256 of each model, so that nobody takes it for that of a newer one.
"""

import tempfile
from pathlib import Path
from typing import Any

import stg
from benchmarks import RESULTS
from benchmarks.timing import measure, write
from stg.datasets.world.dataset import World
from stg.runs.shipped import shipped_models

REPETITIONS = 9


def seconds_of(clip: Path, repetitions: int) -> dict[str, dict[str, Any]]:
    """Name of a captioner -> its hash, and quartiles of CPU seconds for the clip."""
    found = {}
    for model in shipped_models():
        captioner = stg.load(model.folder, device="cpu")
        taken = measure({model.name: lambda loaded=captioner: loaded.describe(clip)}, repetitions=repetitions)[
            model.name
        ]
        seconds = {name: round(value / 1e3, 4) for name, value in taken.items()}
        print(f"{model.name:20} {seconds['median']:.2f} s CPU a clip ({seconds['low']:.2f} to {seconds['high']:.2f})")
        found[model.name] = {"sha256": model.facts["sha256"], "seconds": seconds}
    return found


def main(quick: bool = False) -> None:
    """Measure and write; ``quick``: see that each captioner of the installation captions a short clip."""
    world = World(train=1, val=0, test=0, frames=20) if quick else World(train=1, val=0, test=0, frames=120, size=224)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        world.write_mp4("train-00000", clip)
        if quick:
            for model in shipped_models():
                if not stg.load(model.folder, device="cpu").describe(clip).caption:
                    raise AssertionError(f"{model.name} says nothing of a clip")
            return
        made = seconds_of(clip, REPETITIONS)
    size = {"seconds": world.frames / world.fps, "frames": world.frames, "pixels": world.size}
    write("seconds", {"clip": size, "repetitions": REPETITIONS, "captioners": made}, folder=RESULTS / "captioner")
