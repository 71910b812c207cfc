"""MOTChallenge: boxes with the identity of their object, one text file a video."""

from configparser import ConfigParser
from configparser import Error as ConfigError
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from graphs.detections import EXACT
from graphs.features import VideoFeatures

_COLUMNS = "frame, id, left, top, width, height, conf, and class, visibility or x, y, z"


def read_mot(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    num_frames: int | None = None,
    video: str | None = None,
    num_classes: int | None = None,
) -> list[tuple[str, VideoFeatures]]:
    """The video of a MOTChallenge file, described by its boxes (:func:`graphs.box_features`).

    >>> with graphs.GraphStore("mot.lmdb", "a") as store:
    ...     for file in Path("MOT17/train").glob("*/gt/gt.txt"):
    ...         store.put_many((video, graphs.flat_graph(made)) for video, made in graphs.read_mot(file))

    A row is ``frame, id, left, top, width, height, conf`` (7 columns), then ``class, visibility`` (9 columns, MOT16 and
    later) or ``x, y, z`` (10 columns, 2D MOT 2015 and detections), in any order of frames. Frames count from 1 there
    and from 0 here. ``conf`` becomes ``scores``, ``class`` ``label``, ``id`` ``track`` (-1: not known); visibility and
    places in the world are left. In ground truth, ``conf`` 0 marks objects that the challenge does not count: they are
    here, with score 0.

    Args:
        path: the text file. Where ``seqinfo.ini`` lies in its folder or the one above, as the challenge has it, that
            says what is not given here.
        size: ``(height, width)`` of the pictures in pixels.
        num_frames: length of the video, by default up to the last frame with a box.
        video: name of the video, by default that of ``seqinfo.ini``, or of the file.
        num_classes: classes ``0..num_classes - 1`` are part of the vectors, one-hot.

    Returns:
        One video, in a list as other readers give it.

    Raises:
        OSError: the file cannot be read.
        ValueError: what cannot be; the file, the line and the value are named.
    """
    path = Path(path)
    table, lines = _table(path)
    _check(path, table, lines)
    about = _sequence(path)
    video = video or str(about.get("name") or path.stem)
    size = size or about.get("size")
    num_frames = num_frames or about.get("length") or int(table[:, 0].max(initial=0))
    if not num_frames:
        raise ValueError(f"{path} has no rows, so that the length of the video is not known: give num_frames")
    if size is None:
        raise ValueError(f"{path} has no seqinfo.ini that says the size of its pictures: give size=(height, width)")
    _refuse(path, table, lines, table[:, 0] > num_frames, f"frame is beyond the video of {num_frames} frames", slice(1))
    try:
        made = VideoFeatures.from_detections(
            _by_frame(table), num_frames=num_frames, size=size, video=video, num_classes=num_classes,
            fps=about.get("fps") or 0.0,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return [(video, made)]


def _by_frame(table: np.ndarray) -> dict[int, dict[str, Any]]:
    """The boxes of each frame, counted from 0."""
    order = table[:, 0].argsort(kind="stable")
    rows, frame = table[order], table[order, 0].astype(np.int64) - 1
    # Where each frame with boxes begins; the rows between are its own.
    start = np.flatnonzero(np.diff(frame, prepend=-1))
    detections = {
        int(frame[part[0]]): {
            # As corners: the challenge has boxes that leave the picture, in which others may have mistaken the format.
            "boxes": np.hstack([rows[part, 2:4], rows[part, 2:4] + rows[part, 4:6]]),
            "scores": rows[part, 6],
            "tracks": rows[part, 1],
            "labels": rows[part, 7].clip(min=0) if table.shape[1] == 9 else None,
        }
        for part in np.split(np.arange(len(rows)), start[1:])
        if len(part)
    }
    # Without boxes too, as a store takes graphs that have the same fields.
    return detections or {0: {"boxes": [], "scores": []}}


def _table(path: Path) -> tuple[np.ndarray, list[int]]:
    """The rows ``[n columns]`` in double precision, and the line of each."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        held = [line for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from error
    try:
        table = np.loadtxt(held, delimiter=",", comments=None, ndmin=2) if held else np.zeros((0, 7))
    except ValueError as error:
        raise _wrong_row(path, held, lines) from error
    if table.shape[1] not in (7, 9, 10):
        raise ValueError(f"{path} must have 7, 9 or 10 columns ({_COLUMNS}), got {table.shape[1]}")
    return table, lines


def _wrong_row(path: Path, held: list[str], lines: list[int]) -> ValueError:
    """The error that names the line that NumPy could not read."""
    rule = f"must be numbers with commas between ({_COLUMNS}), as many in each line"
    for line, text in zip(lines, held, strict=True):
        try:
            wrong = len(np.loadtxt([text], delimiter=",", comments=None, ndmin=1)) != held[0].count(",") + 1
        except ValueError:
            wrong = True
        if wrong:
            return ValueError(f"{path} line {line}: {rule}, got {text[:60]!r}")
    return ValueError(f"{path}: {rule}")


def _check(path: Path, table: np.ndarray, lines: list[int]) -> None:
    refuse = partial(_refuse, path, table, lines)
    refuse(~np.isfinite(table).all(axis=1), "all numbers must be finite", slice(None))
    frame, track = table[:, 0], table[:, 1]
    whole = (frame == frame.round()) & (frame < EXACT)
    refuse((frame < 1) | ~whole, "frame must be a whole number, 1 or more", slice(1))
    whole = (track == track.round()) & (track < EXACT)
    refuse((track < -1) | ~whole, "id must be a whole number, 0 or more, or -1 where not known", slice(1, 2))
    refuse(table[:, 4:6].min(axis=1, initial=0) < 0, "width and height must be 0 or more", slice(4, 6))
    if table.shape[1] == 9:
        kind = table[:, 7]
        whole = kind == kind.round()
        refuse((kind < -1) | ~whole, "class must be a whole number, -1 where not known", slice(7, 8))
    # Sorted by frame and id, the same pair stands in neighbouring rows, the earlier line first.
    order = np.lexsort((track, frame))
    pairs = table[order, :2]
    again = np.zeros(len(table), bool)
    again[order[1:]] = (pairs[1:] == pairs[:-1]).all(axis=1) & (pairs[1:, 1] >= 0)
    refuse(again, "the same id is in that frame before (frame, id)", slice(2))


def _refuse(path: Path, table: np.ndarray, lines: list[int], bad: np.ndarray, rule: str, columns: slice) -> None:
    if bad.any():
        row = int(bad.argmax())
        got = ", ".join(f"{value:g}" for value in table[row, columns])
        raise ValueError(f"{path} line {lines[row]}: {rule}, got {got}")


def _sequence(path: Path) -> dict[str, Any]:
    """What ``seqinfo.ini`` says: name, length, size, fps."""
    files = [folder / "seqinfo.ini" for folder in (path.parent, path.parent.parent)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        about = parser["Sequence"]
        made: dict[str, Any] = {
            "name": about.get("name"),
            "length": about.getint("seqLength"),
            "size": (about.getint("imHeight"), about.getint("imWidth")),
            "fps": about.getfloat("frameRate"),
        }
    except (ConfigError, KeyError, ValueError) as error:
        expected = "a section [Sequence] with name, seqLength, imWidth, imHeight, frameRate"
        raise ValueError(f"{file} must have {expected}: {' '.join(str(error).split())}") from error
    return made | ({"size": None} if None in made["size"] else {})
