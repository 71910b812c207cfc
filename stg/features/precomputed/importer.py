"""Features that people already have, as the features of videos."""

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from graphs import VideoFeatures
from stg.config.schema import in_home
from stg.features.precomputed.declared import declared_backbone
from stg.features.precomputed.description import Description
from stg.features.precomputed.files import FeatureSource, UnusableFeatures, open_source
from stg.features.precomputed.rows import SQUEEZE, RowChecker, axes_of_one
from stg.features.precomputed.sources import Origin, content_hash
from stg.runtime.errors import UserError
from stg.runtime.reading import normal_id, number, read_text
from stg.runtime.stamps import Read
from stg.video.sampling import motion_rows, sample_numbers, segment_centres

_AXES = MappingProxyType(
    {"grid": (3, 4), "objects": (2, 3), "boxes": (2, 3), "scores": (1, 2), "label": (1, 2), "frame": (1,)}
)
_TRIED = 100


class Importer:
    """The features of each video that a description names; one video in memory at a time.

    Videos that the objects or the audio do not have are videos without objects or sound. Rows of audio that are zero
    throughout mean silence and are masked. A description without objects gives nodes of width 0.

    Args:
        description: what the features are.
        folder: where its paths begin.
        download: fetch the network that it names as the one that made the scene, where it is not here.

    Raises:
        UserError: a source is missing, or its declared width fits none of its arrays.
    """

    def __init__(self, description: Description, folder: str | Path, *, download: bool = False) -> None:
        self.description = description
        self._made_by: dict[str, Any] = {}
        if (backbone := description.backbone) is not None and description.scene is not None:
            entry = declared_backbone(backbone, description.scene.width, fetch=download)
            # What describes a new clip needs, in the words of stg.extract.
            self._made_by = {"backbone": entry, "sampling": description.frames, "dtype": "float32"}
        self._clips_file = None if description.clips is None else Path(folder) / in_home(description.clips)
        self._clips = _read_clips(self._clips_file)
        self._sources: dict[str, FeatureSource] = {}
        try:
            for name, stream in description.streams().items():
                self._sources[name] = open_source(Path(folder) / in_home(stream.source), stream.key)
                # Now, and not at the first of thousands of videos: a wrong description is wrong for all of them.
                self._try(name)
        except BaseException:
            self.close()
            raise
        needed = [self._sources[name] for name in ("scene", "motion", "grid") if name in self._sources]
        self.videos = sorted({video for source in needed for video in source})
        """Ids of all videos that have a scene, motion or a grid."""

    def close(self) -> None:
        """Close the files."""
        for source in self._sources.values():
            source.close()

    def manifest(self) -> dict[str, Any]:
        """What the description declares, and how rows were joined to frames where it does not say.

        Nothing of the contents: a folder may grow, and :meth:`check` sees to the videos that are stored already.
        """
        made, clips = self.description, self._clips_file
        span = {name: stream.span for name, stream in made.streams().items() if name in ("motion", "grid")}
        # Whether frames have their original numbers, which is what joins rows of motion to them.
        numbered = clips is not None or made.stride is not None or isinstance(made.frames, tuple)
        spread = "spread evenly" if not numbered or None in span.values() else "by span"
        return {
            "imported": {"name": made.name, "version": made.version, "layout": made.layout},
            "num_frames": made.num_frames,
            "frames": list(made.frames) if isinstance(made.frames, tuple) else made.frames,
            "frame_number": "known" if numbered else "unknown: rows are spread evenly over the video",
            "motion_row": spread if span else None,
            "scene_rows": "scene" if made.scene else "the motion row of each frame",
            "clips": None if clips is None else clips.name,
            "streams": {
                name: {**self._sources[name].manifest(), "width": stream.width, "span": stream.span}
                for name, stream in made.streams().items()
            },
            **self._made_by,
        }

    def __call__(self, video: str, features_dtype: str = "float32") -> tuple[VideoFeatures, Origin]:
        """The features of one video, and what they were made from.

        Args:
            video: its id.
            features_dtype: how they are to be stored.

        Raises:
            ValueError: they cannot be used; the message says why.
        """
        made, total, fps = self.description, None, None
        if self._clips is not None:
            if video not in self._clips:
                raise UnusableFeatures(f"video {video!r} is not among the clips of {made.clips}")
            total, fps = self._clips[video]
        # Filled by each reading below: what the video was made of is noted next to the store.
        seen: dict[str, Read] = {}
        scene, motion, grid = (self._read(name, video, seen) for name in ("scene", "motion", "grid"))
        rows = made.num_frames if scene is None else len(scene)
        # More rows than frames wanted: the same segment centres that stg.extract takes of a video.
        kept = np.arange(rows) if rows == made.num_frames else segment_centres(rows, made.num_frames)
        numbers = self._numbers(video, rows, total)
        # Motion and grid have the same rows, so either says how many there are.
        clips = motion if motion is not None else grid
        row = None if clips is None else self._motion_row(len(clips), rows, kept, numbers, total)
        self._refuse_late(video, numbers, kept, total)
        usable = RowChecker(video, self._sources, features_dtype)
        motion, grid = usable("motion", motion), usable("grid", grid)
        if scene is not None:
            scene = usable("scene", scene, kept)
        elif motion is not None and row is not None:
            # Without a scene every frame is described by the clip that it falls into.
            scene = motion[np.minimum(row, len(motion) - 1)]
        # A video that the audio lacks is one without sound; every graph of a store needs the same fields.
        audio = self._read("audio", video, seen) if made.audio is not None and video in self._sources["audio"] else None
        audio = usable("audio", audio)
        if audio is None and made.audio is not None:
            audio = np.zeros((0, made.audio.width or 0), np.float32)
        boxes, objects, frame, scores, label = self._objects(video, rows, kept, seen, usable)
        features = VideoFeatures(
            boxes=torch.from_numpy(boxes),
            objects=torch.from_numpy(objects),
            frame=torch.from_numpy(frame),
            num_frames=made.num_frames,
            scores=_tensor(scores),
            label=_tensor(label),
            scene=_tensor(scene),
            motion=_tensor(motion),
            motion_row=_tensor(row),
            frame_number=None if numbers is None else _tensor(numbers[kept]),
            grid=_tensor(grid),
            audio=_tensor(audio),
            # Rows of zeros count as silence: no sound gives exactly that.
            audio_mask=None if audio is None else torch.from_numpy((audio != 0).any(axis=1)),
            total_frames=total,
            fps=fps,
            video=video,
        )
        return features, Origin(seen, None if total is None else (total, fps))

    def check(self, video: str, before: Origin) -> Origin:
        """See that a stored video would be made from the same contents today.

        Only files whose stamps have changed are read; the origin that comes back has the new stamps.

        Raises:
            UserError: a content has changed, or objects or audio have come for a video that had none.
        """
        seen: dict[str, Read] = {}
        for name, source in self._sources.items():
            if video not in source:
                continue
            known, file = before.streams.get(name), source.file(video)
            # A stream that was not there then: of these only objects and sound change what was stored.
            if known is None:
                if name in ("objects", "audio"):
                    raise _changed(video, f"there was no {name} for it, now there is, in {file}")
                continue
            try:
                stamp = source.stamp(video)
                # The stamp first, as hashing reads the whole file; a copied file
                # has another stamp and the same numbers.
                if stamp != known.stamp and content_hash(source.read(video)) != known.sha256:
                    raise _changed(video, f"its {name} in {file} is not what it was")
            except UnusableFeatures as error:
                raise _changed(video, str(error)) from error
            seen[name] = Read(stamp, known.sha256)
        if self._clips is not None and video in self._clips and self._clips[video] != before.clip:
            raise _changed(video, f"its length or frame rate in {self._clips_file} is not what it was")
        return Origin({**before.streams, **seen}, before.clip)

    def _numbers(self, video: str, rows: int, total: int | None) -> Int64[np.ndarray, " K"] | None:
        frames = self.description.frames
        if isinstance(frames, tuple):
            if len(frames) != rows:
                raise UnusableFeatures(
                    f"the scene of video {video!r} has {rows} rows, but frames lists {len(frames)} numbers"
                )
            return np.array(frames, dtype=np.int64)
        if self.description.stride is not None:
            return np.arange(rows, dtype=np.int64) * self.description.stride
        return None if total is None else sample_numbers(total, rows, frames)

    def _refuse_late(self, video: str, numbers: np.ndarray | None, kept: np.ndarray, total: int | None) -> None:
        if numbers is not None and total is not None and (beyond := numbers[kept] >= total).any():
            late = kept[beyond.argmax()]
            raise UnusableFeatures(
                f"row {late} of the scene of video {video!r} would be frame {numbers[late]}, by frames "
                f"{self.description.frames!r:.40}, but {self.description.clips} says that it has {total} frames"
            )

    def _motion_row(
        self, length: int, rows: int, kept: np.ndarray, numbers: np.ndarray | None, total: int | None
    ) -> Int64[np.ndarray, " T"]:
        stream = self.description.motion or self.description.grid
        if numbers is not None and stream is not None and stream.span is not None:
            return motion_rows(numbers[kept], length, stream.span)
        if numbers is not None and total is not None:
            return np.minimum(numbers[kept] * length // total, length - 1)
        return (2 * kept.astype(np.int64) + 1) * length // (2 * rows)

    def _objects(
        self, video: str, rows: int, kept: np.ndarray, seen: dict[str, Read], usable: RowChecker
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Boxes, vectors, frames, scores and labels of the objects in the rows that are kept."""
        made = self.description
        width = made.objects.width or 0 if made.objects is not None else 0
        # Nothing was detected: legal, and of the same fields and widths as every other video.
        if made.objects is None or video not in self._sources["objects"]:
            none, whole = np.zeros(0, np.float32), np.zeros(0, np.int64)
            scores, label = none if made.scores else None, whole if made.label else None
            return none.reshape(0, 4), none.reshape(0, width), whole, scores, label
        found = {name: self._read(name, video, seen) for name in ("objects", "boxes", "frame", "scores", "label")}
        objects, frame = found["objects"], found.pop("frame")
        assert objects is not None
        if objects.ndim == 3:
            if frame is not None or len(objects) != rows:
                raise UnusableFeatures(
                    f"objects {list(objects.shape)} of video {video!r} are {len(objects)} frames, the scene has {rows}"
                    + (SQUEEZE if len(objects) == 1 and not made.objects.squeeze else "")
                )
            # [K R D] says by its shape which frame each object belongs to.
            frame = np.repeat(np.arange(rows), objects.shape[1])
        if frame is None:
            raise UnusableFeatures(f"objects [N D] of video {video!r} need frame [N]; [K R D] would not")
        sizes = {"objects": width, "boxes": 4}
        lengths = {name: array.size // sizes.get(name, 1) for name, array in found.items() if array is not None}
        lengths["frame"] = len(frame)
        if len(set(lengths.values())) > 1:
            *most, last = lengths
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise UnusableFeatures(
                f"{', '.join(most)} and {last} of video {video!r} have different numbers of rows: {listed}"
            )
        frame = frame.astype(np.float64)  # of unsigned numbers no difference is negative
        good = (np.diff(frame, prepend=0) >= 0) & (frame < rows) & (frame == frame.round())
        if not good.all():
            row = int((~good).argmax())
            raise UnusableFeatures(
                f"frame must hold whole numbers in 0..{rows - 1}, in order, got {frame[row]:g}; "
                f"{usable.place('frame', frame.shape, row)}"
            )
        # Sorted by frame, so the objects of a frame are a stretch.
        start, end = np.searchsorted(frame, kept), np.searchsorted(frame, kept, side="right")
        counts = end - start
        # The rows of each kept frame, one frame after the other.
        index = np.arange(counts.sum()) + np.repeat(start - (np.cumsum(counts) - counts), counts)
        of_kept = np.repeat(np.arange(len(kept)), counts)
        boxes = usable.boxes(found["boxes"], index)
        scores, label = usable("scores", found["scores"], index), usable.labels(found["label"], index)
        return boxes, usable("objects", objects, index), of_kept, scores, label

    def _read(self, name: str, video: str, seen: dict[str, Read]) -> np.ndarray | None:
        """The array of one stream as it lies in its file, noted in ``seen``; None where there is no such stream."""
        source = self._sources.get(name)
        if source is None:
            return None
        if video not in source:
            raise UnusableFeatures(f"there is no {name} for video {video!r}")
        stream, stamp, array = self.description.streams()[name], source.stamp(video), source.read(video)
        seen[name] = Read(stamp, content_hash(array))
        shape = list(array.shape)
        if stream.squeeze:
            if not shape or shape[0] != 1:
                raise UnusableFeatures(
                    f'{name} of video {video!r} has shape {shape}, expected a leading axis of 1, as "squeeze" says: '
                    "take it out of the description"
                )
            array = array[0]
        width = 4 if name == "boxes" else stream.width
        axes = _AXES.get(name, (2,))
        if array.ndim not in axes or (width is not None and array.shape[-1] != width):
            words = " or ".join(map(str, axes))
            raise UnusableFeatures(
                f"{name} of video {video!r} has shape {shape}, expected {words} axes"
                + ("" if width is None else f", the last of them {width}")
                + axes_of_one(array, axes, width)
            )
        if name in ("scene", "motion", "grid") and not len(array):
            raise UnusableFeatures(f"{name} of video {video!r} has no rows")
        # [L h w G] -> [L P G]: places are read as a list.
        return array.reshape(len(array), -1, array.shape[-1]) if name == "grid" and array.ndim == 4 else array

    def _try(self, name: str) -> None:
        """See that at least one of the first videos can be read as declared."""
        first: ValueError | None = None
        # Some, not the first alone: a single damaged file must not condemn the collection.
        for video, _ in zip(self._sources[name], range(_TRIED), strict=False):
            try:
                self._read(name, video, {})
            except UnusableFeatures as error:
                first = first or error
            else:
                return
        raise UserError(f"none of the {name} arrays is as declared; the first: {first}") from first


def _changed(video: str, what: str) -> UserError:
    return UserError(
        f"video {video!r} is in the store already, but {what}: import into a new store (another --out), with another "
        "version in the description if other features were made; or add --refresh, if features were mended"
    )


def _tensor(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.ascontiguousarray(array))


def _read_clips(path: Path | None) -> dict[str, tuple[int, float | None]] | None:
    """Id -> (frames, frames a second or None) from JSON lines; of two rows for one id the last one holds."""
    if path is None:
        return None
    clips: dict[str, tuple[int, float | None]] = {}
    for place, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            video, total, fps = row["id"], row["total_frames"], row.get("fps")
            if not isinstance(video, str) or type(total) is not int or not 1 <= total < 2**31:
                raise ValueError("id must be a text and total_frames a whole number from 1 to 2**31 - 1")
            if fps is not None and (number(fps) is None or fps < 0):
                raise ValueError("fps must be a number of 0 or more")
            clips[normal_id(video)] = total, None if fps is None else float(fps)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(
                f'{path} line {place} must be like {{"id": "v1", "total_frames": 250, "fps": 25.0}}: {error}'
            ) from error
    if any(fps is None for _, fps in clips.values()):
        clips = {video: (total, None) for video, (total, _) in clips.items()}  # every graph has it, or none
    return clips
