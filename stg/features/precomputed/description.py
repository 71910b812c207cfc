"""What a small file says of features that people already have: where they lie, and which frames they belong to."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from stg.config.extraction import MOST_FRAMES
from stg.runtime.errors import UserError
from stg.runtime.reading import read_json
from stg.runtime.yaml_reading import read_yaml
from stg.video.sampling import SAMPLING

C = TypeVar("C")
STREAMS = ("scene", "motion", "grid", "audio", "objects", "boxes", "frame", "scores", "label")
LAYOUTS = MappingProxyType({"vatex_i3d": {"motion": {"width": 1024, "squeeze": True}}})
"""Published collections by name: the streams of each. ``vatex_i3d``: one ``.npy [1 L 1024]`` a video."""


LARGEST = 2**31 - 1
"""Largest number of a description: of frames, and of numbers in a row."""


@dataclass(frozen=True)
class Stream:
    """Where one kind of feature lies.

    Args:
        source: folder of ``.npy`` or ``.npz`` files, or an HDF5 file; relative to the description.
        width: length of the last axis, the same for every video; boxes have 4; frame, scores and label none.
        key: member of each ``.npz``, or place in the HDF5 file (``feats/{video}``).
        span: motion and grid: frames that one row covers; where it is not known, rows are spread evenly.
        squeeze: the arrays have a leading axis of length 1, which is dropped.
    """

    source: str
    width: int | None = None
    key: str | None = None
    span: int | None = None
    squeeze: bool = False


@dataclass(frozen=True)
class Description:
    """What the features are, where they lie, and which frames they belong to.

    Args:
        name, version: of what made the features; kept in the manifest.
        layout: a name of :data:`LAYOUTS`, whose streams are then read from ``source``.
        num_frames: frames ``T`` of each video in the store. More rows of the scene are thinned out, the middle row of
            each of T equal parts being kept; fewer repeat.
        frames: the frame of the original video that each row of the scene shows: ``centres`` (of equal parts),
            ``linspace`` (first to last), ``stride:N`` (0, N, 2N, ...), or the numbers themselves.
        clips: JSON lines with ``id``, ``total_frames`` and perhaps ``fps``, such as ``STORE.clips.jsonl``.
        backbone: the image network that made the scene, as of ``stg.extract --backbone``: new clips are then described
            by it, as these videos were; its files must be here.
        scene, motion, grid, audio: ``[K S]``, ``[L M]``, ``[L P G]`` or ``[L h w G]``, ``[A U]``. Without a scene, each
            frame takes the motion row that it falls into.
        objects, boxes, frame, scores, label: ``[N D]``, ``[N 4]`` (corners x1 y1 x2 y2 in pixels), ``[N]``, ``[N]``,
            ``[N]``, where frame is the row of the scene (from 0, in order), and label the number of a COCO category (0
            where it is not known), for people to read; or ``[K R D]``, ``[K R 4]``, no frame, ``[K R]``, ``[K R]`` for
            R objects in every frame. Scores and labels may be absent.
    """

    name: str
    version: str
    layout: str | None = None
    source: str | None = None
    num_frames: int = 10
    frames: str | tuple[int, ...] = "centres"
    clips: str | None = None
    backbone: str | None = None
    scene: Stream | None = None
    motion: Stream | None = None
    grid: Stream | None = None
    audio: Stream | None = None
    objects: Stream | None = None
    boxes: Stream | None = None
    frame: Stream | None = None
    scores: Stream | None = None
    label: Stream | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_frames <= MOST_FRAMES:
            raise ValueError(f"num_frames must lie in 1..{MOST_FRAMES}; got {self.num_frames}")
        for name, stream in self.streams().items():
            if stream.width is None and name not in ("boxes", "frame", "scores", "label"):
                raise ValueError(f"{name} needs its width")
            if (stream.width is not None and stream.width < 1) or (stream.span is not None and stream.span < 1):
                raise ValueError(f"width and span of {name} must be at least 1; got {stream.width} and {stream.span}")
        if self.scene is None and self.motion is None:
            raise ValueError("scene or motion is needed, or a layout")
        if self.backbone is not None and (self.scene is None or self.frames not in SAMPLING):
            raise ValueError(f"backbone needs the scene that it made, of frames {' or '.join(SAMPLING)}")
        # Without boxes an object has no place in the graph, and boxes without features nothing to say.
        of_objects = self.frame or self.scores or self.label
        if (self.objects is None) != (self.boxes is None) or (self.objects is None and of_objects):
            raise ValueError("objects and boxes belong together, and frame, scores and label to them")
        if isinstance(self.frames, tuple):
            if not self.frames or min(self.frames) < 0 or any(isinstance(number, bool) for number in self.frames):
                raise ValueError(f"frames must be numbers of 0 or more; got {list(self.frames)}")
        elif self.frames not in SAMPLING and self.stride is None:
            raise ValueError(f"frames must be {', '.join(SAMPLING)}, stride:N or numbers; got {self.frames!r}")
        if self.stride is not None and self.scene is None:
            raise ValueError("frames 'stride:N' counts the rows of the scene, and there is none")

    @property
    def stride(self) -> int | None:
        """N of ``stride:N``."""
        word, _, number = self.frames.partition(":") if isinstance(self.frames, str) else ("", "", "")
        stride = int(number) if number.isascii() and number.isdigit() and len(number) < len(str(LARGEST)) else 0
        return stride if word == "stride" and stride else None

    def streams(self) -> dict[str, Stream]:
        """The streams that are given, by name."""
        return {name: stream for name in STREAMS if (stream := getattr(self, name)) is not None}

    @classmethod
    def read(cls, path: str | Path) -> "Description":
        """Read a JSON or YAML file.

        Raises:
            UserError: not such a file, an unknown or missing key, a value of another kind; the file is named.
        """
        path = Path(path)
        values = _load(path)
        try:
            if not isinstance(values, dict):
                raise ValueError(f"it must be an object with name, version and streams, got {type(values).__name__}")
            layout = values.get("layout")
            if layout is not None:
                if not isinstance(layout, str) or layout not in LAYOUTS:
                    raise ValueError(f"unknown layout {layout!r:.60}; known: {', '.join(LAYOUTS)}")
                if "source" not in values:
                    raise ValueError(f"layout {layout!r} needs the source, a folder")
                # What the file says itself comes last, and wins over the layout.
                values = {**{k: {"source": values["source"], **v} for k, v in LAYOUTS[layout].items()}, **values}
            made: dict[str, Any] = {
                k: _stream(k, v) if k in STREAMS and v is not None else v for k, v in values.items()
            }
            if isinstance(made.get("frames"), list):
                made["frames"] = tuple(made["frames"])
            return _checked(cls, made, "the description")
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error


def _load(path: Path) -> Any:
    if path.suffix.lower() not in (".yaml", ".yml"):
        return read_json(path)
    return read_yaml(path)


def _stream(name: str, values: Any) -> Stream:
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} must be an object with source and width, got {values!r:.80}")
    return _checked(Stream, values, name)


def _checked(cls: type[C], values: Mapping[str, Any], what: str) -> C:
    """An instance, its keys and the kinds of its values checked first."""
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            hint = ""
            if cls is Stream and name in STREAMS:
                hint = f": write {name!r} next to {what!r}, not within it"
            elif isinstance(value, Mapping) and not value.keys().isdisjoint(STREAMS):
                hint = f": write what is within it ({', '.join(map(str, value))}) in its place"
            raise ValueError(f"{what} has the unknown key {name!r}{hint}; known: {', '.join(known)}")
        kind: Any = known[name].type
        if name == "frames":
            fits = isinstance(value, str) or (isinstance(value, tuple) and all(type(n) is int for n in value))
        else:
            # True is an int in Python, and no number here.
            fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not fits:
            raise ValueError(f"{name} of {what} must be {getattr(kind, '__name__', kind)}, got {value!r:.80}")
        if any(type(each) is int and each > LARGEST for each in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{name} of {what} is beyond {LARGEST}, got {value!r:.80}")
    missing = [name for name, item in known.items() if item.default is MISSING and name not in values]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    return cls(**values)
