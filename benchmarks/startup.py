"""What a command costs before it does anything: CPU seconds (user and system) of processes of their own.

Help and a wrong path need no torch; captioning one clip imports what it needs of it, by a model of the built-in world
or by the captioner that comes along; evaluating 200 videos of the world shows how much of a longer command is starting
up. ``import torch``, and PyG on top of it, are what these libraries alone take. Medians of five, after one that fills
the file cache and compiles what is imported.

Another checkout is measured by ``python -m benchmarks.startup --root CHECKOUT``, which writes nothing unless given
``--out``.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.timing import bar, quartiles, write

ROOT = Path(__file__).resolve().parents[1]
REPETITIONS = 5
FIRST = "caption one clip, no model given"
BARS = {"--help": 0.6, "a wrong path": 1.0, "caption one clip": 8.0, FIRST: 8.0}
"""CPU seconds that each may take."""
WORLD = ("--world.train", "32", "--world.val", "6", "--world.test", "200", "--data.store", "store")
SMALL = ("--model.channels", "64", "--model.hidden", "64", "--run.samples", "1", "--run.out", "run")
MAKE_CLIP = """
try:
    from stg.datasets.world.dataset import World
except ImportError:  # commit 8bbb68c and before
    from stg.datasets.world import World
World(train=32, val=6, test=200).write_mp4("test-00001", "clip.mp4")
"""
CASES: dict[str, tuple[tuple[str, ...], int]] = {
    # what -> the words behind python, and how the process has to end
    "python": (("-c", "pass"), 0),
    "import torch": (("-c", "import torch"), 0),
    "import torch, PyG": (("-c", "import torch, torch_geometric"), 0),
    "import graphs": (("-c", "import graphs"), 0),
    "import stg, graphs, decoders": (("-c", "import stg, graphs, decoders"), 0),
    "the same, and what they are for": (
        ("-c", "import stg, graphs, decoders; stg.load, graphs.STGConv, decoders.TransformerDecoder"),
        0,
    ),
    "--help": (("-m", "stg.fit", "--help"), 0),
    "a wrong path": (("-m", "stg.caption", "no/such.mp4", "--model", "run"), 2),
    "caption one clip": (("-m", "stg.caption", "clip.mp4", "--model", "run", "--threads", "1"), 0),
    FIRST: (("-m", "stg.caption", "clip.mp4", "--threads", "1"), 0),
    "evaluate 200 videos": (
        ("-m", "stg.evaluate", "run", "--split", "test", "--meteor", "false", "--show", "0"),
        0,
    ),
}


def start(words: tuple[str, ...], folder: Path, root: Path, code: int = 0) -> float:
    """Run Python in a folder, in one thread, to its end; returns the CPU seconds that it and its children took.

    Raises:
        RuntimeError: it ended otherwise than with ``code``.
    """
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    # As ./run does where bytecode is forbidden: or each start would compile all that it imports.
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(sys.prefix, "bytecode"))}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}, not {code}: {done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: Path, root: Path) -> None:
    """Make a store of 200 test videos, a run trained for an epoch, and a clip."""
    start(("-m", "stg.fit", *WORLD, *SMALL, "--optim.epochs", "1"), folder, root)
    start(("-c", MAKE_CLIP), folder, root)


def in_turn(
    cases: Mapping[str, tuple[tuple[str, ...], int]], folder: Path, root: Path, repetitions: int
) -> dict[str, dict[str, float]]:
    """Quartiles of CPU seconds of some commands, each started so many times after one start that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for repetition in range(repetitions + 1):
        for name, (words, code) in cases.items():
            seconds = start(words, folder, root, code)
            if repetition:
                taken[name].append(seconds)
    return {name: quartiles(values) for name, values in taken.items()}


def measure(
    root: Path, repetitions: int = REPETITIONS, tell: Callable[[str], None] = print
) -> dict[str, dict[str, float]]:
    """Quartiles of CPU seconds of each case; the cases take turns.

    Args:
        root: the checkout to measure.
        repetitions: timed runs of each, after one that is not.
        tell: called with a line about each case.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, root)
        found = in_turn(CASES, folder, root, repetitions)
    for name, values in found.items():
        tell(f"{name:22} {values['median']:7.2f} s CPU   ({values['low']:.2f} to {values['high']:.2f})")
    return found


def results(found: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What is written: bars, and all quartiles in milliseconds."""
    bars = [bar(f"{name}, CPU seconds", found[name]["median"], asked, "lower") for name, asked in BARS.items()]
    return {"bars": bars, "repetitions": REPETITIONS, "cpu_ms": scaled(found, 1e3)}


def scaled(found: Mapping[str, Mapping[str, float]], factor: float) -> dict[str, dict[str, float]]:
    """Quartiles in another unit, or of several commands."""
    return {name: {key: round(factor * value, 1) for key, value in values.items()} for name, values in found.items()}


def main(quick: bool = False) -> None:
    """Measure and write ``results/startup.json``; ``quick``: see that the commands end as they should, once each."""
    if not quick:
        write("startup", results(measure(ROOT)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("--help", "a wrong path"):
            words, code = CASES[name]
            start(words, Path(temporary), ROOT, code)
    print("startup: help and a wrong path end as they should")


def from_command_line() -> None:
    """Measure any checkout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to measure (default: this one)")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="timed runs of each case")
    parser.add_argument("--out", type=Path, help="write the quartiles, in seconds, to this JSON file")
    options = parser.parse_args()
    found = measure(options.root.resolve(), options.repetitions)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    from_command_line()
