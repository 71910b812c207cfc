"""Image networks that turn frames and boxes into scene and object features."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from stg.runtime.errors import UserError
from stg.runtime.reading import read_json
from stg.video.decoding import SampledFrames
from stg.vision.inference import in_batches, roi_features
from stg.vision.onnx import TIME_LIMIT, OnnxNetwork, resize
from stg.vision.weights import Weights


@runtime_checkable
class Backbone(Protocol):
    """Describes the sampled frames of one video, and the boxes in them.

    It may have a method ``many(samples, boxes)`` too, which takes several videos at once and gives for each what a call
    gives, to the byte.
    """

    def __call__(
        self, sample: SampledFrames, boxes: Sequence[Float32[np.ndarray, "_ 4"]]
    ) -> tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]:
        """Scene feature of every frame, and feature of every box, frame by frame; boxes in pixels of the frame."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers: name, hash of the weights, preprocessing, pooling."""
        ...


@dataclass(frozen=True, eq=False)
class SceneMap:
    r"""The last map of an image network, and how the scene features of a video come from it.

    .. math:: s_{tc} = \sum_p w_{cp} A_{tcp}, \qquad \sum_p w_{cp} = 1

    Args:
        maps: ``A``, one a frame.
        weights: ``w``; ``1 / hw`` where a feature is the mean over all places.
        over_frame: lays values of places out as cells over the whole of each frame; default: the map covers it.
    """

    maps: Float[np.ndarray, "T S h w"]
    weights: Float[np.ndarray, "#S h w"]
    over_frame: Callable[[Float[np.ndarray, "*rows h w"]], Float[np.ndarray, "*rows H W"]] = lambda places: places

    def gradcam(self, gradient: Float[np.ndarray, "*scores T S"]) -> Float[np.ndarray, "*scores T h w"]:
        r"""How much each place raised a score: Grad-CAM (Selvaraju et al., 2017, Eq. 1 and 2), 0 where it lowered it.

        .. math:: L_p = \mathrm{ReLU}\Big(\sum_c \alpha_c A_{cp}\Big), \qquad
            \alpha_c = \frac{1}{hw} \sum_p \frac{\partial y}{\partial A_{cp}}
                      = \frac{1}{hw} \frac{\partial y}{\partial s_c}

        The last step is exact for a mean over the map: the score depends on the map through ``s_c`` alone, so that its
        gradient is the same at all places. Where the weights differ, each place has its own :math:`w_{cp}`. Before the
        ReLU the places of a frame add up to gradient times feature.

        Args:
            gradient: of one or more scores with respect to the scene features.
        """
        rows = gradient[..., None, :] @ self._parts
        return rows.reshape(*gradient.shape[:-1], *self.maps.shape[2:]).clip(min=0)

    def without(
        self, hidden: Bool[np.ndarray, "*rows T h w"], fill: Float[np.ndarray, " S"]
    ) -> Float[np.ndarray, "*rows T S"]:
        """The scene features with the places in ``hidden`` replaced by the feature ``fill``: exact, without a network.

        Args:
            hidden: places to hide; rows with none give the scene features.
            fill: stands at the hidden places, such as the mean feature of the training videos.
        """
        shown, gone = (places.reshape(*places.shape[:-2], 1, -1).astype(np.float32) for places in (~hidden, hidden))
        weights = np.broadcast_to(self.weights, self.maps.shape[1:]).reshape(self.maps.shape[1], -1)
        return (shown @ self._parts.swapaxes(1, 2) + (gone @ weights.T) * fill)[..., 0, :]

    @cached_property
    def _parts(self) -> Float[np.ndarray, "T S P"]:
        """What each place gives to each feature."""
        return (self.maps * self.weights).reshape(*self.maps.shape[:2], -1)


def mean_map(
    maps: Float[np.ndarray, "T S h w"], over_frame: Callable[[np.ndarray], np.ndarray] = lambda places: places
) -> SceneMap:
    """The map of a network whose scene feature is the mean over all places."""
    height, width = maps.shape[2:]
    return SceneMap(maps, np.full((1, height, width), 1 / (height * width), maps.dtype), over_frame)


@runtime_checkable
class LocatingBackbone(Backbone, Protocol):
    """A backbone that knows where in the frames its scene features come from."""

    def scene_map(self, sample: SampledFrames) -> SceneMap:
        """The last map of every frame, at its own resolution."""
        ...


LARGEST_SIDE = 8192
"""Longest side of the pictures that a network is fed."""


@dataclass(frozen=True)
class Preprocessing:
    """How frames become the input of a network, and where its feature map is.

    The sidecar file of a network ``net.onnx`` is ``net.json`` next to it, with these fields.

    Args:
        name: what to call the network in manifests.
        size: height and width of the input. Frames are stretched to it, so that the map covers all of the frame and
            boxes need only a scale along each axis.
        mean: taken from the values 0 to 255, one a channel.
        std: what they are divided by then.
        channels: ``RGB`` or ``BGR``.
        stride: pixels of the input that one cell of the feature map covers.
        output: name of the feature map ``[batch C h w]``; the first output where empty.
    """

    name: str
    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str = "RGB"
    stride: int = 32
    output: str = ""

    def __post_init__(self) -> None:
        if self.channels not in ("RGB", "BGR"):
            raise UserError(f"preprocessing of {self.name!r}: channels must be RGB or BGR; got {self.channels!r}")
        if not min(*self.size, self.stride, *self.std) > 0 or max(*self.size, self.stride) > LARGEST_SIDE:
            raise UserError(
                f"preprocessing of {self.name!r}: size, stride and std must be above 0, and sides below {LARGEST_SIDE}"
            )
        if not np.isfinite([*self.mean, *self.std]).all():
            raise UserError(f"preprocessing of {self.name!r}: mean and std must be finite")


# Known by the hash of the file, so that another network under the same name is never fed the wrong numbers.
KNOWN = {
    "8403418764e43ca72b07785f03ed342dd43e4db1c0b3a9cf47141e839036d4e6": Preprocessing(
        "efficientnet-lite0", size=(256, 256), mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
    ),
}


def read_preprocessing(path: str | Path) -> Preprocessing:
    """Read a sidecar file; unknown, missing or misshapen fields are errors that name them."""
    known = {item.name: item for item in fields(Preprocessing)}
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise UserError(f"{path} must hold one JSON object with {', '.join(known)}")
    if unknown := sorted(set(raw) - set(known)):
        raise UserError(f"{path} has unknown fields {', '.join(unknown)}; known: {', '.join(known)}")
    if missing := [name for name in ("name", "size", "mean", "std") if name not in raw]:
        raise UserError(f"{path} lacks {', '.join(missing)}")
    for name, count in (("size", 2), ("mean", 3), ("std", 3)):
        if not isinstance(raw[name], list) or len(raw[name]) != count:
            raise UserError(f"{path}: {name} must be a list of {count} numbers; got {raw[name]!r}")
    try:
        return Preprocessing(
            name=str(raw["name"]),
            size=tuple(int(value) for value in raw["size"]),  # type: ignore[arg-type]
            mean=tuple(float(value) for value in raw["mean"]),  # type: ignore[arg-type]
            std=tuple(float(value) for value in raw["std"]),  # type: ignore[arg-type]
            channels=str(raw.get("channels", "RGB")),
            stride=int(raw.get("stride", 32)),
            output=str(raw.get("output", "")),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: size, mean, std and stride must be numbers ({error})") from error


class OnnxBackbone:
    """An image network that ends in a feature map, such as a classifier without its head (Pan et al., 2020, Sec. 4.3).

    One pass over the T frames gives both: the mean over the map is the scene feature, RoIAlign on it (7x7, maximum) the
    object features. Departures from the paper: the whole frame is stretched to the input instead of a centre crop, so
    that objects at the border have features; and scene and objects come from the same network.

    Args:
        path: ONNX file with input ``[batch 3 h w]`` and a feature map ``[batch C h/stride w/stride]``.
        threads: threads of one inference, 0 for all cores.
        preprocessing: by default the sidecar file ``<path without suffix>.json``, or what is built in for this file.
        batch: frames in one pass, over the clips of a call; a network that takes a fixed number keeps to its own.
        time_limit: seconds that one pass may take.

    Raises:
        UserError: no file, or no statement of the preprocessing.
    """

    def __init__(
        self,
        path: Weights,
        *,
        threads: int = 0,
        preprocessing: Preprocessing | None = None,
        batch: int = 10,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        if batch < 1:
            raise UserError(f"batch must be at least 1; got {batch}")
        self.network = OnnxNetwork(path, threads, time_limit)
        sidecar = self.network.path.with_suffix(".json")
        if preprocessing is None:
            # What the user wrote next to the network wins over what is known of it.
            preprocessing = read_preprocessing(sidecar) if sidecar.exists() else KNOWN.get(self.network.sha256)
        if preprocessing is None:
            raise UserError(
                f"how to feed {self.network.path.name} is not known: write {sidecar} with name, size [h, w], mean and "
                f"std (of values 0 to 255), channels RGB or BGR, stride, output"
            )
        self.preprocessing, self.batch = preprocessing, batch

    def manifest(self) -> dict[str, Any]:
        """Name, hash of the weights, preprocessing and pooling."""
        return {
            "weights": self.network.path.name,
            "sha256": self.network.sha256,
            **{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.preprocessing).items()},
            "resize": "stretched, bilinear, antialiased",
            "scene": "mean over the map",
            "objects": "RoIAlign 7x7, aligned, sampling ratio 2, maximum",
        }

    @cached_property
    def _norm(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (1, 3, 1, 1)
        return (
            np.array(self.preprocessing.mean, np.float32).reshape(shape),
            np.array(self.preprocessing.std, np.float32).reshape(shape),
        )

    def feature_maps(self, sample: SampledFrames) -> Float32[np.ndarray, "T C h w"]:
        """Feature maps of all frames."""
        return self._maps([sample])[0]

    def many(
        self, samples: Sequence[SampledFrames], boxes: Sequence[Sequence[Float32[np.ndarray, "_ 4"]]]
    ) -> list[tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]]:
        """Scene features ``[T C]`` and object features ``[N C]`` of every clip, their frames batched together."""
        if not samples:
            return []
        return [self._describe(*item) for item in zip(samples, boxes, self._maps(samples), strict=True)]

    def __call__(
        self, sample: SampledFrames, boxes: Sequence[Float32[np.ndarray, "_ 4"]]
    ) -> tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]:
        """Scene features ``[T C]`` and object features ``[N C]``."""
        return self.many([sample], [boxes])[0]

    def scene_map(self, sample: SampledFrames) -> SceneMap:
        """See :class:`LocatingBackbone`; the map covers all of the frame."""
        return mean_map(self.feature_maps(sample))

    def _maps(self, samples: Sequence[SampledFrames]) -> list[Float32[np.ndarray, "_ C h w"]]:
        """Feature maps of the frames of every clip, in passes of one size."""

        settings = self.preprocessing
        if self.network.input_size not in (None, settings.size):
            came = self.network.input_size
            raise UserError(f"{self.network.path.name} takes images of {came}; its preprocessing says {settings.size}")
        images = np.concatenate([resize(sample.frames, *settings.size, antialias=True) for sample in samples])
        images = images if settings.channels == "RGB" else images[:, ::-1]
        mean, std = self._norm
        # A batch of one size, so that features do not depend on which clips share a pass.
        own = self.network.session.get_inputs()[0].shape[0]
        maps = in_batches(
            lambda rows: torch.from_numpy(self.network.run(rows.numpy(), settings.output or None)),
            torch.from_numpy(np.ascontiguousarray((images - mean) / std)),
            own if isinstance(own, int) else self.batch,
        ).numpy()
        # Boxes are laid over the map by this stride: on a map of another size they would mean other places.
        want = tuple(-(-side // settings.stride) for side in settings.size)
        if maps.ndim != 4 or maps.shape[2:] != want:
            raise UserError(
                f"{self.network.path.name} must give a feature map [batch C {want[0]} {want[1]}] at stride "
                f"{settings.stride}; got {list(maps.shape)}"
            )
        return np.split(maps, np.cumsum([len(sample.frames) for sample in samples])[:-1])

    def _describe(
        self, sample: SampledFrames, boxes: Sequence[Float32[np.ndarray, "_ 4"]], maps: Float32[np.ndarray, "T C h w"]
    ) -> tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]:

        height, width = sample.frames.shape[1:3]
        # From pixels of the frame to those of the network's input.
        scale = np.array([self.preprocessing.size[1] / width, self.preprocessing.size[0] / height] * 2, np.float32)
        frame = np.repeat(np.arange(len(boxes)), [len(item) for item in boxes])
        corners = np.concatenate([*boxes, np.zeros((0, 4), np.float32)]) * scale
        objects = roi_features(
            torch.from_numpy(maps),
            torch.from_numpy(corners),
            torch.from_numpy(frame),
            stride=self.preprocessing.stride,
        )
        return maps.mean(axis=(2, 3)), objects.numpy()
