"""Video graphs as the fields of a record, and back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs.edges import EDGE_TYPES
from graphs.features import VideoFeatures
from graphs.flat import FlatBatch, GraphData
from graphs.storage.free_fields import (
    FreeField,
    check_free_kind,
    check_free_numbers,
    declared,
    free_fields,
    misfit,
    parsed,
    public_name,
)
from graphs.storage.records import Field, Slot, StoreError, encode


class Spec(NamedTuple):
    """Shape (axes named as everywhere: N nodes, E edges, T frames, L motion rows, A sounds) and role of a tensor."""

    axes: tuple[str, ...]
    role: (
        # "feature": the store's floating type; "float": float32; "integer": the narrowest of three, 0 or more;
        # "signed": the same from -1; "byte"; "bit"
        str
    )


FIELDS: dict[str, Spec] = {
    "x": Spec(("N", "D"), "feature"),
    "boxes": Spec(("N", "4"), "float"),
    "frame": Spec(("N",), "integer"),
    "edge_index": Spec(("2", "E"), "integer"),
    "edge_weight": Spec(("E",), "float"),
    "edge_type": Spec(("E",), "byte"),
    "num_frames": Spec((), "integer"),
    "scores": Spec(("N",), "float"),
    "scene": Spec(("T", "S"), "feature"),
    "motion": Spec(("L", "M"), "feature"),
    "motion_row": Spec(("T",), "integer"),
    "frame_number": Spec(("T",), "integer"),
    "size": Spec(("1", "2"), "integer"),
    "grid": Spec(("L", "P", "G"), "feature"),
    "audio": Spec(("A", "U"), "feature"),
    "audio_mask": Spec(("A",), "bit"),
    "total_frames": Spec(("1",), "integer"),
    "fps": Spec(("1",), "float"),
    "label": Spec(("N",), "integer"),
    "frame_time": Spec(("T",), "float"),
    "track": Spec(("N",), "signed"),
    "label_score": Spec(("N",), "float"),
}
"""The tensors of a video graph that a store keeps; those from ``scores`` on may be absent."""

SHOWN = ("label", "frame_time", "track", "label_score")
"""Fields that no model here reads: graphs with and without them go into one store and one batch."""

REQUIRED = tuple(FIELDS)[:7]
_BY_FRAME = tuple(name for name, spec in FIELDS.items() if spec.axes[:1] == ("T",))
FEATURES = tuple(name for name, spec in FIELDS.items() if spec.role == "feature")
FEATURE_TYPES = ("float16", "float32")
_KINDS = {
    "feature": FEATURE_TYPES,
    "float": ("float32",),
    "integer": ("uint16", "int32", "int64"),
    "signed": ("int16", "int32", "int64"),
    "byte": ("uint8",),
    "bit": ("uint8",),
}
_LOWEST = {"signed": -1}
_EXPONENT = 0x7C00  # all ones in half precision: not finite
_WHOLE = ("integer", "signed", "byte", "bit")
_MEMORY = {"integer": np.int64, "signed": np.int64, "byte": np.int64, "bit": np.bool_}


def graph_fields(data: GraphData, features_dtype: str, free: Mapping[str, FreeField] | None = None) -> dict[str, Field]:
    """The fields under which a graph is stored; the edges are those of ``data``, as they are.

    Features become ``features_dtype``, other floating tensors float32, integers the narrowest type that holds them, and
    free fields what ``free`` declares.

    Raises:
        StoreError: an attribute that is neither in :data:`FIELDS` nor declared, a missing one, a wrong shape, a number
            that is not finite or beyond ``features_dtype``, an index out of range.
    """
    values = {name: value for name, value in attributes(data).items() if value is not None and name != "video"}
    missing = [name for name in REQUIRED if name not in values]
    if missing:
        raise StoreError(f"the graph lacks {', '.join(missing)}")
    fields = {name: _field(name, values[name], features_dtype) for name in FIELDS if name in values}
    check_graph(fields)
    others = {name: value for name, value in values.items() if name not in FIELDS}
    if others or free:
        lengths = {
            "node": len(fields["frame"].array),
            "edge": len(fields["edge_weight"].array),
            "frame": int(fields["num_frames"].array),
            "graph": 1,
        }
        fields |= free_fields(others, free or {}, lengths)
    return fields


def attributes(data: GraphData) -> dict[str, Any]:
    """What a graph holds, by name.

    Raises:
        StoreError: it is no graph.
    """
    if not isinstance(data, GraphData):
        hint = ": make its graph by graphs.build_graph" if isinstance(data, VideoFeatures) else ""
        raise StoreError(f"a graph must be a PyG Data or a graphs.FlatBatch, got {type(data).__name__}{hint}")
    return data.to_dict()


def encode_graph(data: GraphData, features_dtype: str, free: Mapping[str, FreeField] | None = None) -> bytes:
    """The record of one graph, as a store that keeps its features in ``features_dtype`` would hold it.

    Args:
        data: the graph.
        features_dtype: ``float16`` or ``float32``.
        free: the free fields, as :class:`graphs.GraphStore` takes them.

    Raises:
        StoreError: as :func:`graph_fields`.
    """
    return bytes(encode(graph_fields(data, features_dtype, declared(free, FIELDS))))


def check_graph(fields: Mapping[str, Field]) -> None:
    """Check a graph's arrays against :data:`FIELDS`: the same check before writing and after reading.

    Raises:
        StoreError: naming the field, and the row and the value where there is one.
    """
    check_shapes({name: (field.kind, field.array.shape) for name, field in fields.items()})
    arrays = {name: field.array for name, field in fields.items()}
    check_numbers(arrays, {name: np.array([rows(name, array.shape)]) for name, array in arrays.items()})


def check_shapes(found: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """What :func:`check_graph` finds without reading a number.

    Args:
        found: the kind and the shape of each field.
    """
    free = [name for name in found if name not in FIELDS]
    unknown = [name for name in free if not parsed(name)]
    missing = [name for name in REQUIRED if name not in found]
    if unknown or missing:
        raise StoreError(f"not the fields of a graph: unknown {unknown}, missing {missing}")
    # The length of each axis, and the field that has set it, which an error names.
    sizes: dict[str, tuple[int, str]] = {}
    for name, (kind, shape) in found.items():
        if name in free:
            continue
        kinds = _KINDS[FIELDS[name].role]
        if kind not in kinds:
            raise StoreError(f"{name} has the type {kind}, expected {' or '.join(kinds)}")
        _check_axes(name, shape, FIELDS[name], sizes)
    for name in free:
        _check_free_shape(name, *found[name], {"node": sizes["N"][0], "edge": sizes["E"][0], "graph": 1})
    if "motion_row" in found and "motion" not in found and "grid" not in found:
        raise StoreError("motion_row points into motion or grid, and both are missing")
    if ("audio" in found) != ("audio_mask" in found):
        raise StoreError("audio and audio_mask belong together: one of them is missing")


def check_numbers(arrays: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]) -> None:
    """What :func:`check_graph` reads the numbers for, of any number of graphs ``B`` of good shapes at once.

    Args:
        arrays: the fields, those of all graphs end to end (``edge_index`` along its second axis); the features may
            be left out.
        counts: ``[B]`` for each field how many rows of it each graph has, features included.

    Raises:
        StoreError: a number that no graph may hold. Which graph holds it is not said.
    """
    for name, array in arrays.items():
        if name not in FIELDS:
            check_free_numbers(public_name(name), array)
        elif FIELDS[name].role not in _WHOLE:
            check_finite(name, array)
    nodes, frames = counts["frame"], arrays["num_frames"].reshape(-1)
    if frames.min() < 1:
        raise StoreError(f"num_frames must be at least 1, got {frames.min()}")
    for name in counts:
        if (name in _BY_FRAME or name[:2] in ("T=", "T~")) and (counts[name] != frames).any():
            graph = int(np.argmax(counts[name] != frames))
            raise StoreError(f"{public_name(name)} has {counts[name][graph]} rows, but num_frames is {frames[graph]}")
    _check_below("frame", arrays["frame"], np.repeat(frames, nodes), "num_frames")
    # Only inside a graph: where the next one begins, its frames begin at 0 again.
    owner = np.repeat(np.arange(len(nodes)), nodes)
    if ((np.diff(arrays["frame"].astype(np.int64)) < 0) & (np.diff(owner) == 0)).any():
        raise StoreError("frame must not decrease: order the objects by frame")
    _check_below("edge_index", arrays["edge_index"], np.repeat(nodes, counts["edge_index"]), "the number of nodes")
    unnamed = set(edge_types(arrays["edge_type"])) - set(EDGE_TYPES.values())
    if unnamed:
        raise StoreError(
            f"edge_type holds {min(unnamed)}, which has no name: register one first, as in "
            f"graphs.EDGE_TYPES['mine'] = {min(unnamed)}"
        )
    # A grid comes from the motion network: without motion features its rows are what motion_row counts.
    if "motion_row" in arrays:
        clips = "motion" if "motion" in counts else "grid"
        limits = np.repeat(counts[clips], counts["motion_row"])
        _check_below("motion_row", arrays["motion_row"], limits, f"the rows of {clips}")
    if "audio_mask" in arrays:
        _check_below("audio_mask", arrays["audio_mask"], np.array(2), "the number of truth values")
    if "total_frames" in arrays and arrays["total_frames"].min() < 1:
        raise StoreError(f"total_frames must be at least 1, got {arrays['total_frames'].min()}")
    if "total_frames" in arrays and "frame_number" in arrays:
        limits = np.repeat(arrays["total_frames"], counts["frame_number"])
        _check_below("frame_number", arrays["frame_number"], limits, "total_frames")
    if "label" in arrays and arrays["label"].min(initial=0) < 0:
        raise StoreError(f"label must not be below 0, got {arrays['label'].min()}")
    if "track" in arrays:
        _check_tracks(owner, arrays["frame"], arrays["track"])
    if "fps" in arrays and arrays["fps"].min() < 0:
        raise StoreError(f"fps must not be below 0, got {arrays['fps'].min()}")


def _check_tracks(owner: np.ndarray, frame: np.ndarray, track: np.ndarray) -> None:
    if track.min(initial=0) < -1:
        raise StoreError(f"track must not be below -1, got {track.min()}")
    # By graph, frame and track; equal ones stand by row.
    order = np.lexsort((track, frame, owner))
    keys = np.stack([owner, frame, track])[:, order]
    again = (keys[:, 1:] == keys[:, :-1]).all(axis=0) & (keys[2, 1:] >= 0)
    if again.any():
        row = order[1:][again].min()
        raise StoreError(
            f"frame {frame[row]} holds track {track[row]} twice, again in row {row}: an object is in a frame once; "
            "give -1 where the track is not known"
        )


def edge_types(array: np.ndarray) -> list[int]:
    """The numbers that occur in ``edge_type``, in order."""
    # Counted instead of sorted: there are as many as edges, and few different ones.
    return np.flatnonzero(np.bincount(array.astype(np.int64))).tolist()


def rows(name: str, shape: tuple[int, ...]) -> int:
    """The length of a field along the axis on which graphs are put end to end."""
    return 1 if not shape else shape[1 if name == "edge_index" else 0]


def widths(fields: Mapping[str, Field] | Mapping[str, Slot]) -> dict[str, int]:
    """The features present and how wide each is, and 0 for every other field: equal for all records of a store.

    Those of :data:`SHOWN` are left out.
    """
    shapes = {name: field.array.shape if isinstance(field, Field) else field.shape for name, field in fields.items()}
    return {
        name: shapes[name][-1] if name in FEATURES else 0 for name in FIELDS if name in shapes and name not in SHOWN
    }


def memory_type(name: str, stored: np.dtype) -> np.dtype:
    """The type that a field has in memory, when on disk it has the type ``stored``."""
    if name in FIELDS:
        return np.dtype(_MEMORY.get(FIELDS[name].role, np.float32))
    free = parsed(name)
    return stored if free and free.exact else np.dtype(np.float32)


def graph(fields: Mapping[str, Field], video: str) -> FlatBatch:
    """The graph of one video: float32, int64 and bool tensors that own their memory."""
    data = FlatBatch(video=video)
    for name, field in fields.items():
        if name == "num_frames":
            data[name] = int(field.array)
        else:
            array = field.array
            data[public_name(name)] = torch.from_numpy(array.astype(memory_type(name, array.dtype)))
    return data


def _field(name: str, value: Any, features_dtype: str) -> Field:
    spec = FIELDS[name]
    # PyG keeps it as a plain number in a single graph, and as a tensor in a batch.
    if name == "num_frames" and isinstance(value, int):
        value = torch.tensor(value)
    if not isinstance(value, Tensor):
        raise StoreError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.is_floating_point() == (spec.role in _WHOLE) or value.is_complex():
        wanted = "integers" if spec.role in _WHOLE else "floating-point numbers"
        raise StoreError(f"{name} must hold {wanted}, got {value.dtype}")
    if spec.role == "bit" and value.dtype != torch.bool:
        raise StoreError(f"{name} must hold truth values, got {value.dtype}")
    value = value.detach().cpu()
    if spec.role in _WHOLE:
        return _narrowest(name, value.long().reshape(() if name == "num_frames" else value.shape).numpy())
    kind = features_dtype if spec.role == "feature" else "float32"
    # Rounded as it will be stored: what half precision cannot hold becomes infinite here, and is refused.
    kept = value.to(getattr(torch, kind))
    if not bool(kept.isfinite().all()):
        check_finite(name, value.double().numpy())
        worst = value.abs().max().item()
        raise StoreError(
            f"{name} holds {worst:g}, beyond the largest {kind} ({torch.finfo(kept.dtype).max:g}): scale the features"
            + (
                ", or make a new store with features_dtype='float32' (--features_dtype float32)"
                if kind == "float16"
                else ""
            )
        )
    return Field(kind, kept.contiguous().numpy())


def _narrowest(name: str, values: np.ndarray) -> Field:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    role = FIELDS[name].role
    least = _LOWEST.get(role, 0)
    if low < least:
        hint = "; a store keeps no dense edges: make them of the graphs that were read" if name == "edge_type" else ""
        raise StoreError(f"{name} holds {low}; every number must be {least} or more{hint}")
    kinds = _KINDS[role]
    kind = next((kind for kind in kinds if high <= np.iinfo(kind).max), None)
    if kind is None:
        raise StoreError(f"{name} holds {high}, beyond {np.iinfo(kinds[-1]).max}")
    return Field(kind, values.astype(kind))


def _check_free_shape(name: str, kind: str, shape: tuple[int, ...], lengths: Mapping[str, int]) -> None:
    free = parsed(name)
    assert free is not None
    check_free_kind(name, kind)
    if problem := misfit(free.axis, shape, lengths):
        raise StoreError(f"{free.name} {problem}")


def _check_axes(name: str, shape: tuple[int, ...], spec: Spec, sizes: dict[str, tuple[int, str]]) -> None:
    if len(shape) != len(spec.axes):
        raise StoreError(f"{name} must have the shape [{' '.join(spec.axes)}], got {list(shape)}")
    for axis, length in zip(spec.axes, shape, strict=True):
        known, first = sizes.setdefault(axis, (int(axis) if axis.isdigit() else length, name))
        if length != known:
            because = "" if axis.isdigit() else f": {axis} is {known} in {first}"
            raise StoreError(f"{name} must have the shape [{' '.join(spec.axes)}], got {list(shape)}{because}")


def check_finite(name: str, array: np.ndarray) -> None:
    """Raises:
    StoreError: a number that is not finite, and its place.
    """
    if array.dtype == np.float16 and int((array.view(np.uint16) & _EXPONENT).max(initial=0)) < _EXPONENT:
        return  # the same answer from the bits, four times faster than asking NumPy
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise StoreError(f"{name} holds {array[place]} at {list(place)}; every number must be finite")


def _check_below(name: str, array: np.ndarray, limits: np.ndarray, what: str) -> None:
    wrong = (array >= limits) | (array < 0)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        limit = np.broadcast_to(limits, array.shape)[place]
        raise StoreError(f"{name} holds {array[place]}, not below {what} ({limit})")
