"""What a decoder reads of a video."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class VideoMemory:
    """The encoded videos of a batch, as decoders read them; each decoder takes the parts it knows.

    Padded frames and regions may hold anything: decoders mask them out. A video without a single real frame is allowed
    (see `keep_one_key`); a memory without frames is not.

    Args:
        frames: one vector a frame ``[B F C]``, in the order of time.
        frame_mask: True where the frame is real ``[B F]``.
        regions: several vectors a frame ``[B F R C']``.
        region_mask: True where the region is real ``[B F R]``; required with ``regions``.
        clip: one vector for the whole video ``[B C']``.
        motion: a second view of the same frames ``[B F C']``, masked by ``frame_mask`` too.
        grid: ``P`` places of a fixed grid in each of ``G`` steps ``[B G P C']``: place p is the same place in every
            step, which detected regions are not. The steps need not be the frames.
        grid_mask: True where the step is real ``[B G]``; required with ``grid``.
        category: class of each video ``[B]``, -1 where it is not known.
        times: where the steps of ``frames`` are not frame 0, 1, ... of the video: the frame of each ``[B F]``, -1 for a
            step that is at no one time. Decoders that place steps in time do so by it.
        shows: what each step of ``frames`` shows ``[B F]``: -1 a whole frame, n >= 0 object n of the video, -2 - k all
            objects of track k. No decoder reads it; explanations do.
        shares: of steps that are made of many objects, the share of each of the ``M`` objects of the video in each
            ``[B F M]``; 0 for other steps, padded with zeros. No decoder reads it; explanations do.
        objects: a second sequence of any length, one vector an object, a track, ... ``[B O C']``, for a decoder that
            attends to it apart from frames.
        object_mask: True where the object is real ``[B O]``; required with ``objects``.
        object_times, object_shows, object_shares: of ``objects`` what ``times``, ``shows``, ``shares`` are of frames.
        words: log-probability of each word of the vocabulary that a caption of the video holds it ``[B V]``. No decoder
            reads it; captions may be ranked by it.

    Raises:
        ValueError: naming the field whose shape or type does not fit.
    """

    frames: Float[Tensor, "B F C"]
    frame_mask: Bool[Tensor, "B F"]
    regions: Float[Tensor, "B F R D"] | None = None
    region_mask: Bool[Tensor, "B F R"] | None = None
    clip: Float[Tensor, "B E"] | None = None
    motion: Float[Tensor, "B F M"] | None = None
    grid: Float[Tensor, "B G P H"] | None = None
    grid_mask: Bool[Tensor, "B G"] | None = None
    category: Int[Tensor, " B"] | None = None
    times: Int[Tensor, "B F"] | None = None
    shows: Int[Tensor, "B F"] | None = None
    shares: Float[Tensor, "B F N"] | None = None
    objects: Float[Tensor, "B O K"] | None = None
    object_mask: Bool[Tensor, "B O"] | None = None
    object_times: Int[Tensor, "B O"] | None = None
    object_shows: Int[Tensor, "B O"] | None = None
    object_shares: Float[Tensor, "B O N"] | None = None
    words: Float[Tensor, "B V"] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 3 or 0 in self.frames.shape:
            raise ValueError(f"frames must be [B F C] with no empty axis, got {list(self.frames.shape)}")
        videos, frames = self.frames.shape[:2]
        _expect("frame_mask", self.frame_mask, (videos, frames), mask=True)
        # Without a mask padding would count as objects; a mask of nothing is a mistake of the caller.
        if (self.regions is None) != (self.region_mask is None):
            raise ValueError("regions and region_mask come together: give both or neither")
        if self.regions is not None and self.region_mask is not None:
            _expect("regions", self.regions, (videos, frames, None, None))
            _expect("region_mask", self.region_mask, tuple(self.regions.shape[:3]), mask=True)
        if self.clip is not None:
            _expect("clip", self.clip, (videos, None))
        if self.motion is not None:
            _expect("motion", self.motion, (videos, frames, None))
        if (self.grid is None) != (self.grid_mask is None):
            raise ValueError("grid and grid_mask come together: give both or neither")
        if self.grid is not None and self.grid_mask is not None:
            _expect("grid", self.grid, (videos, None, None, None))
            _expect("grid_mask", self.grid_mask, tuple(self.grid.shape[:2]), mask=True)
        if self.category is not None:
            _expect("category", self.category, (videos,))
        if self.words is not None:
            _expect("words", self.words, (videos, None))
        if (self.objects is None) != (self.object_mask is None):
            raise ValueError("objects and object_mask come together: give both or neither")
        if self.objects is not None and self.object_mask is not None:
            _expect("objects", self.objects, (videos, None, None))
            _expect("object_mask", self.object_mask, tuple(self.objects.shape[:2]), mask=True)
            if 0 in self.objects.shape:
                raise ValueError(f"objects must be [B O C] with no empty axis, got {list(self.objects.shape)}")
        steps = {"": frames, "object_": None if self.objects is None else self.objects.shape[1]}
        for prefix, count in steps.items():
            for name, axes in (("times", ()), ("shows", ()), ("shares", (None,))):
                if (value := getattr(self, prefix + name)) is not None:
                    _expect(prefix + name, value, (videos, count, *axes))

    @property
    def num_videos(self) -> int:
        """How many videos ``B`` the memory describes."""
        return self.frames.shape[0]

    def take(self, name: str, channels: int, reader: str = "the decoder") -> Tensor:
        """One part, for what cannot do without it.

        Args:
            name: of the part.
            channels: width that it must have.
            reader: what reads it, as an error should say.

        Raises:
            ValueError: the memory does not carry the part, or has it in another width.
        """
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ValueError(f"{reader} reads memory.{name}, but the memory has none: give it {name}")
        if value.shape[-1] != channels:
            raise ValueError(
                f"memory.{name} has {value.shape[-1]} channels, the decoder {channels}: "
                "project it before, or build the decoder with as many channels"
            )
        return value

    def select(self, videos: Int[Tensor, " W"]) -> "VideoMemory":
        """The memory of the given rows, in the given order; a row may be named more than once."""
        return self._map(lambda value: value.index_select(0, videos))

    def to(self, target: torch.device | str | torch.dtype) -> "VideoMemory":
        """The same memory on another device, or with another floating point type (masks stay boolean)."""
        if isinstance(target, torch.dtype):
            return self._map(lambda value: value.to(target) if value.is_floating_point() else value)
        return self._map(lambda value: value.to(target))

    def _map(self, function: Callable[[Tensor], Tensor]) -> "VideoMemory":
        given = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return replace(self, **{name: function(value) for name, value in given.items()})


def keep_one_key(
    values: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]
) -> tuple[Float[Tensor, "B S C"], Bool[Tensor, "B S"]]:
    """Zero what is masked, and give a row without any real step one zero step, so that attention has a key.

    Softmax over no key is 0/0; with one zero vector to attend to, value and gradient stay finite and do not depend on
    what the padding held, were it NaN.

    Args:
        values: steps ``[B S C]``.
        mask: True where the step is real ``[B S]``.

    Returns:
        The values with zeros in the padding, and the mask with the first step of every empty row opened.
    """
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    empty = ~mask.any(1, keepdim=True)
    return values.masked_fill(~mask[..., None], 0.0), mask | (empty & first)


def mean_of_real(values: Float[Tensor, "*axes C"], mask: Bool[Tensor, "*axes"], axis: int) -> Float[Tensor, "*left C"]:
    """Mean over an axis of what is real there; ``values`` are zero elsewhere, and so is a mean of nothing."""
    return values.sum(axis) / mask.sum(axis).clamp(min=1)[..., None]


def _expect(name: str, value: Tensor, shape: tuple[int | None, ...], mask: bool = False) -> None:
    fits = value.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, value.shape, strict=True))
    if not fits:
        wanted = ["?" if size is None else size for size in shape]
        raise ValueError(f"{name} must have shape {wanted} to fit the rest of the memory, got {list(value.shape)}")
    if mask and value.dtype != torch.bool:
        raise ValueError(f"{name} must be boolean (True = real), got {value.dtype}")
