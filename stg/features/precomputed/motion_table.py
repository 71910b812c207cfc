"""Motion features computed elsewhere, joined to the sampled frames of a video."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from stg.features.precomputed.files import MALFORMED, check_unpacked
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.runtime.reading import normal_id, open_regular
from stg.video.decoding import SampledFrames
from stg.video.sampling import motion_rows

SPAN = 32
"""Frames that one row covers in the R(2+1)D features of MSVD: 97 % of the clips have ``ceil(frames / 32)`` rows."""


class MotionFeatures:
    """Rows of motion features by video: ``clip [V]`` names and ``feat [V L M]`` in one ``.npz`` without pickles.

    Row i covers frames ``i * span`` to ``(i + 1) * span - 1``. A clip with fewer rows than L repeats the last one as
    padding, which is cut off. Where the rows that remain cannot be spans of the frames that the file has (the clip is
    longer than L spans, or was re-encoded at another frame rate since), they are spread evenly over the clip.

    Args:
        path: the ``.npz`` file.
        span: frames that one row covers.

    Raises:
        UserError: no such file, not an archive of plain arrays, wrong names or shapes, numbers that are not finite.
    """

    def __init__(self, path: str | Path, span: int = SPAN) -> None:
        if span < 1:
            raise UserError(f"span must be at least 1 frame; got {span}")
        self.path, self.span = Path(path), span
        self._features = _load(self.path)

    def __len__(self) -> int:
        return len(self._features)

    def __contains__(self, video: object) -> bool:
        return isinstance(video, str) and normal_id(video) in self._features

    def manifest(self) -> dict[str, Any]:
        """File name, hash and span."""
        return {"name": self.path.name, "sha256": sha256_file(self.path), "span": self.span}

    def __call__(
        self, video: str, sample: SampledFrames
    ) -> tuple[Float[np.ndarray, "L M"], Int64[np.ndarray, " T"]] | None:
        """The rows of one video without padding, and the row of each of its sampled frames; None if it has no rows."""
        rows = self._features.get(normal_id(video))
        if rows is None:
            return None
        changes = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1))
        count = int(changes[-1]) + 2 if len(changes) else 1
        regular = abs(sample.total_frames - count * self.span) < self.span
        span = self.span if regular else -(-sample.total_frames // count)
        return np.asarray(rows[:count], np.float32), motion_rows(sample.frame_number, count, span)


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _load(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            check_unpacked(archive, str(path))
            if not {"clip.npy", "feat.npy"} <= set(archive.namelist()):
                raise UserError(f"{path} must hold the arrays clip [V] and feat [V L M]")
            clip, feat = (_read(archive, name) for name in ("clip.npy", "feat.npy"))
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error
    except (*MALFORMED, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} is not a .npz archive of plain arrays: {str(error)[:200]}") from error
    if (
        clip.ndim != 1
        or clip.dtype.kind != "U"
        or feat.dtype.kind not in "fiu"
        or feat.ndim != 3
        or len(feat) != len(clip)
        or not feat.shape[1]
    ):
        raise UserError(
            f"{path} must hold clip [V] (text) and feat [V L M]; got {clip.dtype} {list(clip.shape)} and "
            f"{feat.dtype} {list(feat.shape)}"
        )
    # Checked for all at once, when it is opened: extraction takes hours, and would stop in the middle.
    finite = np.isfinite(feat).all(axis=(1, 2))
    if not finite.all():
        raise UserError(f"{path}: features of {str(clip[~finite][0])!r} are not finite")
    return {normal_id(video): rows for video, rows in zip(clip.tolist(), feat, strict=True)}
