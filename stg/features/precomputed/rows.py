"""Rows of feature files, checked before they are thinned out, so that errors name the rows of the user's file."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stg.features.precomputed.files import FeatureSource, UnusableFeatures

TYPED = ("scene", "motion", "grid", "audio", "objects")
"""The streams that a store keeps in its own type; all others are float32 or whole numbers."""

SQUEEZE = ': add "squeeze": true to its description, which drops a leading axis of 1'


class RowChecker:
    """The rows that are kept of the arrays of one video; what cannot be stored is refused by its place in the file."""

    def __init__(self, video: str, sources: Mapping[str, FeatureSource], features_dtype: str) -> None:
        self.video, self.sources, self.features_dtype = video, sources, features_dtype

    def __call__(self, name: str, array: np.ndarray | None, rows: np.ndarray | None = None) -> Any:
        """As float32; None stays None.

        Args:
            name: of the stream.
            array: as it was read.
            rows: those that are kept, of ``[N ...]``, or of ``[K R ...]`` as if it were ``[K*R ...]``; None: all.
        """
        if array is None:
            return None
        lead = array.shape[: {"objects": -1, "boxes": -1, "scores": None, "label": None}.get(name, 1)]
        flat = array.reshape(math.prod(lead), *array.shape[len(lead) :])
        kept = flat if rows is None else flat[rows]
        kind = np.dtype(self.features_dtype if name in TYPED else "float32")
        with np.errstate(over="ignore"):
            made = np.array(kept, np.float32, order="C")
            wrong = ~np.isfinite(made.astype(kind, copy=False))
        if not wrong.any():
            return made
        row = int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())
        value = np.atleast_1d(kept[row])[np.atleast_1d(wrong[row])][0]
        at = self.place(name, lead, row if rows is None else int(rows[row]))
        if not np.isfinite(value):
            raise UnusableFeatures(f"{name} must be finite, got {value}; {at}")
        kind = np.dtype("float32") if abs(value) > np.finfo("float32").max else kind
        advice = ", or import them into a new store with --features_dtype float32" if kind == np.float16 else ""
        raise UnusableFeatures(
            f"{name} holds {value:g}, beyond the largest {kind} ({np.finfo(kind).max:g}); {at}: scale the "
            f"features{advice}"
        )

    def place(self, name: str, lead: tuple[int, ...], row: int) -> str:
        """Where a row stands in the file of the user."""
        first, *more = np.unravel_index(row, lead)
        within = f", object {more[0]}" if more else ""
        return f"video {self.video!r} row {first}{within} of {self.sources[name].file(self.video)}"

    def boxes(self, array: Any, rows: np.ndarray) -> np.ndarray:
        """The corners, checked."""
        made: np.ndarray = self("boxes", array, rows)
        for low, high in ((0, 2), (1, 3)):
            if (wrong := made[:, high] < made[:, low]).any():
                row, axis = int(wrong.argmax()), "xy"[low]
                raise UnusableFeatures(
                    f"boxes must be (x1, y1, x2, y2) with {axis}2 >= {axis}1, got {axis}1={made[row, low]}, "
                    f"{axis}2={made[row, high]}; {self.place('boxes', array.shape[:-1], int(rows[row]))}"
                )
        return made

    def labels(self, array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
        """The classes as whole numbers."""
        if array is None:
            return None
        made = self("label", array, rows)
        wrong = (made < 0) | (made != made.round()) | (made >= 2**24)
        if wrong.any():
            row = int(wrong.argmax())
            at = self.place("label", array.shape, int(rows[row]))
            raise UnusableFeatures(f"label must hold whole numbers of 0 or more, got {made[row]:g}; {at}")
        return made.astype(np.int64)


def axes_of_one(array: np.ndarray, axes: tuple[int, ...], width: int | None) -> str:
    """What to do where axes of length 1 are all that is wrong with the shape of an array."""

    def fits(shape: tuple[int, ...]) -> bool:
        return len(shape) in axes and (width is None or shape[-1] == width)

    if array.shape[:1] == (1,) and fits(array.shape[1:]):
        return SQUEEZE
    shape = tuple(length for place, length in enumerate(array.shape) if not place or length != 1)
    return f": save array.reshape({list(shape)}), without the axes of 1" if fits(shape) else ""
