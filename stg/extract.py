"""Turn video clips into a store of object graphs.

Each clip is sampled at a few frames; a detector finds objects in them, an image network describes frames and objects,
and the graph over the objects goes into an LMDB store. What is in the store already is not done again, so a stopped
run goes on with the same command. Clips that cannot be used are listed in STORE.skipped.jsonl, the length and frame
rate of the others in STORE.clips.jsonl.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stg.cli import command
from stg.errors import Preempted, TooManySkipped, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from stg.vision.ingest import IngestReport

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .3gp .mkv .webm .avi .mpg .mpeg .ts .m2ts .flv .ogv .wmv .asf".split()  # noqa: SIM905
)
"""What counts as a clip inside a folder; a file named on the command line is always tried."""


@dataclass(frozen=True)
class ExtractConfig:
    """What to extract, with which networks, into which store."""

    clips: tuple[str, ...] = field(
        metadata={"positional": True, "help": "video files, or folders of them; put -- before names that start with -"}
    )
    out: str
    """The store: made if absent, continued if it was made with the same settings."""
    detector: str
    """YOLOX detector as an ONNX file (exported without box decoding)."""
    backbone: str
    """Image network as an ONNX file that ends in a feature map; a JSON file beside it states its preprocessing."""
    motion: str | None = None
    """Motion features to join: an .npz file with clip [V] and feat [V L M]."""
    motion_span: int = 32
    """Frames that one row of the motion features covers (16 for the I3D features of the paper)."""
    num_frames: int = 10
    """Frames sampled from each clip."""
    sampling: Literal["centres", "linspace"] = "centres"
    """centres: middle of each of num_frames equal parts; linspace: from the first frame to the last."""
    threshold: float = 0.5
    """Least score of an object; 0.5 in the paper, which suits large detectors."""
    max_objects: int = 5
    """Objects kept in each frame, the best."""
    min_frames: int = 1
    """Clips with fewer readable frames are skipped."""
    max_pixels: int = 2**25
    """Clips with larger pictures (width times height) are skipped before any is decoded."""
    max_skip: float = 0.01
    """Share of the clips that may be skipped; above it the command ends with code 3, all others being done."""
    threads: int = 0
    """Threads of the networks; 0 for all cores."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "max_objects", "min_frames", "max_pixels", "motion_span"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not 0 <= self.threshold <= 1 or not 0 <= self.max_skip <= 1:
            raise ValueError(f"threshold and max_skip must lie in 0..1; got {self.threshold} and {self.max_skip}")
        if self.threads < 0:
            raise ValueError(f"threads must not be negative; got {self.threads}")


def main(config: ExtractConfig) -> int:
    """Extract the clips; returns 0, or raises what the command turns into an exit code."""
    from rich.console import Console

    from graphs import GraphStore
    from stg.datasets.motion import MotionFeatures
    from stg.progress import making
    from stg.vision.backbones import OnnxBackbone
    from stg.vision.detectors import OnnxYoloX
    from stg.vision.extractor import Extractor
    from stg.vision.ingest import ingest
    from stg.vision.video import SampledFrames, sample_video

    clips = find_clips(config.clips)
    extractor = Extractor(
        OnnxYoloX(config.detector, threads=config.threads),
        OnnxBackbone(config.backbone, threads=config.threads),
        num_frames=config.num_frames,
        threshold=config.threshold,
        max_objects=config.max_objects,
        sampling=config.sampling,
    )
    motion = MotionFeatures(config.motion, config.motion_span) if config.motion else None
    manifest = extractor.manifest() | {"motion": motion.manifest() if motion else None}
    skip_log = Path(f"{config.out}.skipped.jsonl")
    skip_log.parent.mkdir(parents=True, exist_ok=True)

    def read(video: str) -> SampledFrames:
        return sample_video(
            clips[video], config.num_frames, config.sampling, config.max_pixels, min_frames=config.min_frames
        )

    console, start = Console(soft_wrap=True), time.perf_counter()
    with GraphStore(config.out, "a") as store, _stoppable(), making(console, "extracting") as progress:
        try:
            report = ingest(
                store,
                list(clips),
                read,
                extractor,
                motion,
                manifest=manifest,
                progress=progress,
                skip_log=skip_log,
                clip_log=f"{config.out}.clips.jsonl",
            )
        except KeyboardInterrupt:
            held = sum(video in store for video in clips)
            raise Preempted(
                f"stopped: {held} of {len(clips)} clips are in {config.out}; the same command goes on from there"
            ) from None
    _summarise(console, report, config.out, skip_log, time.perf_counter() - start)
    if len(report.skipped) > config.max_skip * len(clips):
        raise TooManySkipped(
            f"{len(report.skipped)} of {len(clips)} clips were skipped, more than --max_skip {config.max_skip:g}: "
            f"{skip_log} says why; all others are in {config.out}"
        )
    return 0


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a request to terminate do what Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def find_clips(names: tuple[str, ...]) -> dict[str, Path]:
    """Id -> path of every clip: files as named, and of folders the entries that look like videos, sorted.

    Raises:
        UserError: a folder without clips, or two clips with one id (their ids are their names without the suffix).
    """
    from stg.vision.video import video_id

    clips: dict[str, Path] = {}
    for name in names:
        path = Path(name)
        entries = [path]
        if path.is_dir():
            entries = sorted(item for item in path.iterdir() if item.suffix.lower() in SUFFIXES)
            if not entries:
                raise UserError(f"folder {str(path)!r} holds no clips (names that end in {' '.join(sorted(SUFFIXES))})")
        for entry in entries:
            video = video_id(entry)
            other = clips.setdefault(video, entry)
            if other is not entry and other.absolute() != entry.absolute():
                raise UserError(f"two clips would have the id {video!r}: {str(other)!r} and {str(entry)!r}; rename one")
    return clips


def _summarise(console: "Console", report: "IngestReport", out: str, skip_log: Path, seconds: float) -> None:
    from rich.markup import escape

    rate = f" ({60 * len(report.done) / seconds:.0f} clips a minute)" if seconds and report.done else ""
    console.print(f"{escape(out)}: {len(report.done)} clips added{rate}, {len(report.already)} there before")
    if report.done:
        spent = ", ".join(f"{stage} {value:.0f} s" for stage, value in report.seconds.items())
        console.print(f"time by stage (reading runs beside the others): {spent}")
    if report.skipped:
        console.print(f"{len(report.skipped)} clips skipped, with the reasons in {escape(str(skip_log))}")


if __name__ == "__main__":
    command(ExtractConfig, main, __doc__)
