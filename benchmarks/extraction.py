"""From clips to a store of graphs, by the clock: reading, detecting, describing, building, storing.

Made clips of the built-in world with its made networks, or real ones, then printing only:
``python -m benchmarks.extraction --clips FOLDER --detector YOLOX.onnx --backbone NETWORK.onnx``.

- ``plain loop``: one clip after the other: PyAV decodes all of it, then networks, graph, store, as most code does;
- ``ours``: `stg.features.ingest` with one reading process and groups of four clips, as ``python -m stg.extract`` works
  by default; with no process and with two besides;
- ``decoding alone`` and ``floor`` (the networks alone, on frames already there): what no loop without a second process
  can add less than, and what a pipeline that hides all reading takes.

All must write the same records, to the byte. Networks run in one thread; reading processes are started before the
clock (once in a whole run, under a second each).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.timing import measure, write
from graphs import GraphStore, build_graph
from stg.datasets.world.dataset import World
from stg.features.extractor import Extractor
from stg.features.ingestion import ingest
from stg.video.clips import SUFFIXES
from stg.video.decoding import SampledFrames, sample_video
from stg.video.readers import Readers
from stg.video.sampling import sample_numbers

GROUP = 4
WORKERS = {"ours": 1, "no process": 0, "two processes": 2}
Run = Callable[[], Path]


def plain(clips: dict[str, Path], extractor: Extractor, out: Path) -> Path:
    """The loop that most code has."""
    with GraphStore(out, "w", manifest=extractor.manifest()) as store:
        for video, path in clips.items():
            store.put(video, build_graph(extractor(decode_all(path, video, extractor.sampling.num_frames))))
    return out


def decode_all(path: Path, video: str, num_frames: int) -> SampledFrames:
    """Every frame of a clip as an array, then those that are wanted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        header, fps = stream.frames, float(stream.average_rate or 0)
    number = sample_numbers(len(frames), num_frames, "centres")
    chosen = np.stack([frames[place] for place in number])
    return SampledFrames(video, chosen, number, total_frames=len(frames), fps=fps, header_frames=header)


def pipeline(clips: dict[str, Path], extractor: Extractor, readers: Readers, out: Path) -> Path:
    """Ours."""
    with GraphStore(out, "w", manifest=extractor.manifest()) as store:
        report = ingest(
            store,
            list(clips),
            lambda videos: readers.open({video: clips[video] for video in videos}),
            extractor,
            group=GROUP,
        )
    if report.skipped:
        raise AssertionError(f"clips were skipped: {', '.join(report.skipped)}")
    return out


def contestants(clips: dict[str, Path], extractor: Extractor, folder: Path, stack: ExitStack) -> dict[str, Run]:
    """Each rival as a function that makes a store of its own and returns its path."""
    numbers = count()

    def out() -> Path:
        return folder / f"{next(numbers)}.store"

    def ours(workers: int) -> Run:
        readers = stack.enter_context(Readers(extractor.request(), workers))
        return lambda: pipeline(clips, extractor, readers, out())

    return {name: ours(workers) for name, workers in WORKERS.items()} | {
        "plain loop": lambda: plain(clips, extractor, out())
    }


def check(rivals: dict[str, Run]) -> None:
    """All rivals must write the same records, in whatever order."""
    found = {}
    for name, run in rivals.items():
        with GraphStore(run()) as store:
            found[name] = dict(store.records())
    for name, records in found.items():
        if records.keys() != found["ours"].keys():
            raise AssertionError(f"{name} and ours stored different videos")
        for video, record in records.items():
            if record != found["ours"][video]:
                raise AssertionError(f"{name} and ours stored different records of {video}")


def compare(clips: dict[str, Path], extractor: Extractor, repetitions: int) -> dict[str, Any]:
    """Check that the records agree, measure by the clock and print."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rivals = contestants(clips, extractor, Path(folder), stack)
        check(rivals)
        samples = [sample_video(path, extractor.sampling.num_frames) for path in clips.values()]
        floors: dict[str, Callable[[], object]] = {
            "decoding alone": lambda: [sample_video(path, extractor.sampling.num_frames) for path in clips.values()],
            "floor": lambda: [extractor.extract(samples[at : at + GROUP]) for at in range(0, len(samples), GROUP)],
        }
        times = measure({**rivals, **floors}, repetitions=repetitions, warm_up=1, clock=time.perf_counter)
    mine = times["ours"]["median"]
    for name, taken in times.items():
        print(f"{name:15} {taken['median']:9.1f} ms   {taken['median'] / mine:6.2f} x ours")
    return {"clips": len(clips), "wall_ms": times, "plain_x_ours": round(times["plain loop"]["median"] / mine, 3)}


def made_clips(world: World, folder: Path) -> dict[str, Path]:
    """The training videos of a world, as files."""
    clips = {video: folder / f"{video}.mp4" for video in world.dataset().splits["train"]}
    for video, path in clips.items():
        world.write_mp4(video, path)
    return clips


def main(quick: bool = False) -> None:
    """Check that all records agree; unless ``quick``, measure and write ``results/extraction.json``."""
    world = World(train=3, val=0, test=0, frames=20) if quick else World(train=12, val=0, test=0, frames=120, size=224)
    extractor = Extractor(world.detector(), world.backbone())
    with tempfile.TemporaryDirectory() as folder:
        clips = made_clips(world, Path(folder))
        if quick:
            with ExitStack() as stack:
                check(contestants(clips, extractor, Path(folder), stack))
            print("extraction: all rivals agree")
            return
        results = compare(clips, extractor, repetitions=7)
    size = {"frames": world.frames, "pixels": world.size, "sampled": extractor.sampling.num_frames, "group": GROUP}
    write("extraction", {"size": size, **results})


def from_command_line() -> None:
    """Compare on clips and networks of one's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips")
    parser.add_argument("--detector", required=True, help="a YOLOX network, ONNX")
    parser.add_argument("--backbone", required=True, help="an image network that ends in a feature map, ONNX")
    parser.add_argument("--limit", type=int, default=16, help="clips taken, the first by name")
    options = parser.parse_args()
    from stg.vision.backbones import OnnxBackbone
    from stg.vision.detectors import OnnxYoloX

    files = sorted(path for path in options.clips.iterdir() if path.suffix.lower() in SUFFIXES)[: options.limit]
    extractor = Extractor(OnnxYoloX(options.detector, threads=1), OnnxBackbone(options.backbone, threads=1))
    compare({path.stem: path for path in files}, extractor, repetitions=7)


if __name__ == "__main__":
    from_command_line()
