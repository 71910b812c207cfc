"""Detections of other libraries, frame by frame, as the tensors of one video.

Read by what they hold, so that none of these libraries is imported: ``supervision``, ``ultralytics``, torchvision,
``transformers``, arrays.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BOX_FORMATS = {
    "xyxy": ("(x1, y1, x2, y2)", "x2 >= x1 and y2 >= y1"),
    "xywh": ("(x, y, width, height), x and y the upper left corner,", "width >= 0 and height >= 0"),
    "cxcywh": ("(x, y, width, height), x and y the centre,", "width >= 0 and height >= 0"),
}
"""How the four numbers of a box may be meant; the names are those of ``torchvision.ops.box_convert``."""

NAMES = {
    "boxes": ("xyxy", "boxes"),
    "scores": ("confidence", "scores", "conf"),
    "label": ("class_id", "labels", "cls"),
    "track": ("tracker_id", "tracks", "id"),
}
"""What the detections of a frame hold -> the names under which the libraries have it."""

_UNKNOWN = {"label": 0, "track": -1}
_RULES = {"label": "0 or more", "track": "0 or more, or -1 where not known"}
EXACT = 2.0**53  # from here on, float64 skips whole numbers

MOST_FRAMES = 2**20
"""Frames of the longest video that is made of detections; models hold a vector for each, with or without objects."""


def detection_fields(
    detections: Iterable[Any] | Mapping[Any, Any],
    *,
    num_frames: int | None,
    size: tuple[int, int] | None,
    features: Iterable[Any] | Mapping[Any, Any] | None,
    with_boxes: bool,
    video: str,
    box_format: str,
    num_classes: int | None,
) -> dict[str, Any]:
    """The fields of :meth:`graphs.VideoFeatures.from_detections`, whose arguments these are; its errors."""
    if box_format not in BOX_FORMATS:
        raise ValueError(f"box_format must be one of {', '.join(BOX_FORMATS)}, got {box_format!r}")
    items, length = _by_frame(detections, "detections", num_frames, video)
    frames = [number for number in sorted(items) if items[number] is not None]
    parts = [_read(items[number], f"video {video!r} frame {number}") for number in frames]
    count = torch.tensor([len(part["boxes"]) for part in parts], dtype=torch.int64)
    frame = torch.tensor(frames, dtype=torch.int64).repeat_interleave(count)
    given = torch.cat([torch.zeros(0, 4), *(part["boxes"] for part in parts)])
    boxes = _corners(given, frame, box_format, size, video)
    if size is not None and box_format != "xyxy":
        _check_inside(given, boxes, box_format, size, video)
    scores = _scores(parts, frames, video)
    whole = {name: _whole(name, parts) for name in _UNKNOWN}
    if features is not None:
        objects = _appearance(features, dict(zip(frames, count.tolist(), strict=True)), length, video)
    if features is None or with_boxes:
        if size is None:
            raise ValueError(
                "the vector of an object is made of its box as a share of the picture: give size=(height, width) in "
                f"pixels, or features, one [n D] a frame; video {video!r}"
            )
        own = box_features(boxes, size, scores, whole["label"], num_classes, video=video)
        objects = own if features is None else torch.cat([objects, own], dim=1)
    return {
        "boxes": boxes, "objects": objects, "frame": frame, "num_frames": length, "scores": scores, "size": size,
        "video": video, **whole,
    }  # fmt: skip


def box_features(
    boxes: Float[Tensor, "N 4"],
    size: tuple[int, int],
    scores: Float[Tensor, " N"] | None = None,
    label: Int[Tensor, " N"] | None = None,
    num_classes: int | None = None,
    *,
    video: str = "",
) -> Float[Tensor, "N D"]:
    """A plain vector for each object: where it is, how sure its detector was, and what it is.

    Args:
        boxes: ``[N 4]`` corners in pixels.
        size: ``(height, width)`` of the pictures in pixels.
        scores: ``[N]`` confidence; 1 where not given.
        label: ``[N]`` class; 0 where not given.
        num_classes: number ``C`` of classes, above every label; None: no class in the vector.
        video: named in errors.

    Returns:
        ``[N 5 + C]``: x and y of the centre, width and height as shares of the picture, the score, the class one-hot.

    Raises:
        ValueError: a label that is not below ``num_classes``, or a size that cannot be.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) in pixels, both at least 1, got {size}; video {video!r}")
    picture = boxes.new_tensor([size[1], size[0]])
    centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2 / picture, (boxes[:, 2:] - boxes[:, :2]) / picture
    scores = boxes.new_ones(len(boxes)) if scores is None else scores
    parts = [centre, extent, scores.unsqueeze(1)]
    if num_classes is not None:
        label = torch.zeros(len(boxes), dtype=torch.int64) if label is None else label
        row = first_true((label < 0) | (label >= num_classes))
        if row is not None:
            raise ValueError(
                f"classes must lie in 0..{num_classes - 1} (num_classes={num_classes}), got {label[row].item()}; "
                f"video {video!r} row {row}"
            )
        parts.append(torch.nn.functional.one_hot(label, num_classes).to(boxes.dtype))
    return torch.cat(parts, dim=1)


def _by_frame(given: Any, what: str, num_frames: int | None, video: str) -> tuple[dict[int, Any], int]:
    """Frame -> its item, and how many frames the video has."""
    sequence = isinstance(given, Iterable) or hasattr(given, "__getitem__")
    if hasattr(given, "xyxy") or hasattr(given, "boxes") or isinstance(given, str) or not sequence:
        kind = type(given).__name__
        raise ValueError(f"{what} must be one item a frame, in a list, got one {kind}; video {video!r}")
    items = dict(given) if isinstance(given, Mapping) else dict(enumerate(given))
    for number in items:
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
            raise ValueError(
                f"{what} must be a list of one item a frame, or frame number (0 or more) -> item, got the key "
                f"{number!r}; video {video!r}"
            )
    length = 1 + max(items, default=-1) if num_frames is None else num_frames
    beyond = [number for number in items if number >= length]
    if beyond:
        raise ValueError(
            f"{what} of frame {beyond[0]} are given, but the video has num_frames={length}, numbered from 0; "
            f"video {video!r}"
        )
    if length > MOST_FRAMES:
        reason = f"frame {max(items)} is the last one" if num_frames is None else f"num_frames={num_frames}"
        raise ValueError(
            f"a video has at most {MOST_FRAMES} frames, got {length} ({reason}): of a longer one keep the frames that "
            f"matter, numbered from 0 in their order; video {video!r}"
        )
    return {int(number): item for number, item in items.items()}, int(length)


def _read(item: Any, where: str) -> dict[str, Any]:
    """Boxes ``[n 4]``, and scores, label, track ``[n]`` where the item has them."""
    if hasattr(getattr(item, "boxes", None), "xyxy"):
        item = item.boxes  # the Results of ultralytics
    found, called = _named(item, where)
    boxes = found["boxes"] = _numbers(found["boxes"], called["boxes"], where)
    if boxes.numel() == 0:
        boxes = found["boxes"] = boxes.reshape(0, 4)
    if boxes.dim() != 2 or boxes.size(1) != 4:
        raise ValueError(f"{called['boxes']} must have shape [n 4], got {list(boxes.shape)}; {where}")
    for name in ("scores", *_UNKNOWN):
        if found[name] is None:
            continue
        # In errors by the name that the caller gave it.
        given, whole = called[name], name in _UNKNOWN
        values = _numbers(found[name], given, where, torch.float64 if whole else torch.float32)
        if values.shape != (len(boxes),):
            raise ValueError(f"{given} must have shape [{len(boxes)}], one a box, got {list(values.shape)}; {where}")
        found[name] = _whole_numbers(values, name, given, where) if whole else values
        row = None if whole else first_true(~values.isfinite())
        if row is not None:
            raise ValueError(f"{given} must be finite, got {values[row].item()}; {where} row {row}")
    return found


def _named(item: Any, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What the detections of a frame hold, None where they hold nothing; and how it is called there."""
    if isinstance(item, Mapping) or hasattr(item, "xyxy"):
        found: dict[str, Any] = {}
        called: dict[str, str] = {}
        for name, names in NAMES.items():
            held = {key: item.get(key) if isinstance(item, Mapping) else getattr(item, key, None) for key in names}
            called[name] = next((key for key, value in held.items() if value is not None), name)
            found[name] = held.get(called[name])
        if found["boxes"] is None:
            has = f"the keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
            raise ValueError(f"detections must hold boxes or xyxy [n 4], got {has or 'none'}; {where}")
        return found, called
    if isinstance(item, list | tuple) and item and isinstance(item[0], Mapping):
        raise ValueError(
            f"the detections of a frame must be one dict, of arrays, got a list of {len(item)} dicts, one an object: "
            f"put their boxes [n 4], scores [n] and labels [n] together; {where}"
        )
    if isinstance(item, list | tuple | np.ndarray | Tensor):
        return {**dict.fromkeys(NAMES), "boxes": item}, {name: name for name in NAMES}
    raise ValueError(
        "the detections of a frame must have xyxy (as those of supervision), be a dict with boxes (as those of "
        f"torchvision and transformers), an array [n 4], or None, got {type(item).__name__}; {where}"
    )


def _whole_numbers(values: Tensor, name: str, given: str, where: str) -> Tensor:
    """Labels or tracks as int64."""
    wrong: Tensor | None
    if values.is_floating_point():
        wrong = (values != values.round()) | ~(values.abs() < EXACT)
    else:
        # What is beyond int64 would come out of the conversion as another number.
        wrong = values.long() < 0 if values.dtype == torch.uint64 else None
    row = None if wrong is None else first_true(wrong)
    if row is not None:
        limit = "" if values.is_floating_point() else " below 2**63"
        raise ValueError(f"{given} must hold whole numbers{limit}, got {values[row].item()}; {where} row {row}")
    whole = values.long()
    row = first_true(whole < min(_UNKNOWN[name], 0))
    if row is not None:
        raise ValueError(f"{given} must be {_RULES[name]}, got {whole[row].item()}; {where} row {row}")
    if name == "track" and len(set(whole.tolist())) < len(whole):
        known, times = whole.unique(return_counts=True)
        for number in known[(times > 1) & (known >= 0)].tolist():
            row = int((whole == number).nonzero()[1])
            raise ValueError(
                f"{given} holds {number} twice: an object is in a frame once; give -1 where the track is not known; "
                f"{where} row {row}"
            )
    return whole


def _numbers(value: Any, name: str, where: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of that type; whole numbers stay as they are where that is float64, which holds fewer of them."""
    try:
        if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray | Tensor):
            value = torch.stack([torch.as_tensor(row) for row in value])
        if isinstance(value, list | tuple) and value and isinstance(value[0], str):
            raise ValueError(f"got the text {value[0]!r}, give each name a number")
        tensor = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must be numbers in rows of one length: {error}; {where}") from error
    if tensor.is_complex():
        raise ValueError(f"{name} must be real numbers, got {tensor.dtype}; {where}")
    return tensor if dtype == torch.float64 and not tensor.is_floating_point() else tensor.to(dtype)


def _corners(boxes: Tensor, frame: Tensor, box_format: str, size: tuple[int, int] | None, video: str) -> Tensor:
    """The same boxes as ``(x1, y1, x2, y2)``; what cannot be boxes of this format is refused."""

    def where(row: int) -> str:
        number = int(frame[row])
        return f"video {video!r} frame {number} box {row - int((frame < number).sum())}"

    row = first_true(~torch.isfinite(boxes).all(dim=1))
    if row is not None:
        raise ValueError(f"boxes must be finite, got {boxes[row].tolist()}; {where(row)}")
    extent = boxes[:, 2:] - boxes[:, :2] if box_format == "xyxy" else boxes[:, 2:]
    bad = (extent < 0).any(dim=1)
    row = first_true(bad)
    if row is not None:
        meant, rule = BOX_FORMATS[box_format]
        hint = ""
        if box_format == "xyxy" and bool((boxes[:, 2:] >= 0).all()):
            hint = f" ({int(bad.sum())} of {len(bad)} boxes are so; if they are (x, y, width, height): "
            hint += "box_format='xywh')"
        raise ValueError(f"boxes must be {meant} with {rule}, got {boxes[row].tolist()}; {where(row)}{hint}")
    if box_format != "xyxy":
        # The import takes longer than all else here, and most boxes are corners.
        from torchvision.ops import box_convert

        boxes = box_convert(boxes, box_format, "xyxy")
    if size is not None and min(size) > 1 and bool((extent > 0).any()) and bool((boxes.abs() <= 1).all()):
        raise ValueError(
            f"boxes must be in pixels of a picture of {size[1]} x {size[0]}, but all numbers lie in -1..1: multiply "
            f"shares of the picture by its width and height; video {video!r}"
        )
    return boxes


def _check_inside(given: Tensor, boxes: Tensor, box_format: str, size: tuple[int, int], video: str) -> None:
    """Refuse corners that are given as another format: far out of the picture as that, and none of it as corners."""
    picture = boxes.new_tensor([size[1], size[0]])
    beyond = torch.maximum(-boxes[:, :2], boxes[:, 2:] - picture) > picture / 10
    row = first_true(beyond.any(dim=1))
    ordered, inside = (given[:, 2:] >= given[:, :2]).all(), (given >= 0).all() & (given[:, 2:] <= picture).all()
    if row is not None and bool(ordered & inside):
        meant, _ = BOX_FORMATS[box_format]
        raise ValueError(
            f"boxes must be {meant} but as such they leave the picture of {size[1]} x {size[0]}, as "
            f"{given[row].tolist()} does, and as corners (x1, y1, x2, y2) all lie in it: give box_format='xyxy' or "
            f"convert them if they are corners, clip them to the picture if they are not; video {video!r}"
        )


def _scores(parts: list[dict[str, Any]], frames: list[int], video: str) -> Tensor | None:
    """All scores; None where nothing has any. No scores of no objects are scores, as a store's graphs are all alike."""
    held = [number for number, part in zip(frames, parts, strict=True) if part["scores"] is not None]
    without = [n for n, part in zip(frames, parts, strict=True) if part["scores"] is None and len(part["boxes"])]
    if held and without:
        raise ValueError(
            f"scores must be given in all frames with objects, or in none: frame {without[0]} has none; video {video!r}"
        )
    return torch.cat([part["scores"] for part in parts if part["scores"] is not None]) if held else None


def _whole(name: str, parts: list[dict[str, Any]]) -> Tensor | None:
    """All labels or tracks, with the number for not known in frames without; None where no frame has them."""
    if all(part[name] is None or not len(part["boxes"]) for part in parts):
        return None
    unknown = _UNKNOWN[name]
    return torch.cat(
        [torch.full((len(p["boxes"]),), unknown) if p[name] is None else p[name] for p in parts if len(p["boxes"])]
    )


def _appearance(features: Any, count: dict[int, int], length: int, video: str) -> Tensor:
    """The vectors of all objects ``[N D]``, frame by frame."""
    given, _ = _by_frame(features, "features", length, video)
    parts: list[Tensor] = []
    for number in sorted({*count, *given}):
        where, rows = f"video {video!r} frame {number}", count.get(number, 0)
        if (value := given.get(number)) is None:
            if rows:
                raise ValueError(
                    f"features must be given for all objects: there are {rows} boxes, no features; {where}"
                )
            continue
        part = _numbers(value, "features", where)
        if part.dim() == 1 and not len(part) and not rows:
            continue
        if part.dim() != 2 or len(part) != rows:
            raise ValueError(f"features must have shape [{rows} D], one row a box, got {list(part.shape)}; {where}")
        if parts and part.size(1) != parts[0].size(1):
            raise ValueError(f"features must all have one width: {parts[0].size(1)}, then {part.size(1)}; {where}")
        parts.append(part)
    if not parts:
        raise ValueError(
            f"no frame has features, so that their width is not known: give zeros [0 D] in one frame; video {video!r}"
        )
    return torch.cat(parts)


def first_true(bad: Tensor) -> int | None:
    """Position of the first true entry, None if there is none."""
    return int(bad.int().argmax()) if bool(bad.any()) else None
