"""torchvision's image networks: scene features of frames, object features of boxes."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.transforms.functional import center_crop, convert_image_dtype, normalize, resize

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames, VideoError
from stg.vision.backbones import SceneMap, mean_map
from stg.vision.inference import in_batches, inference, roi_features
from stg.vision.published import BACKBONE_NAMES
from stg.vision.weights import WeightFile, Weights, frozen_network

NAMES = BACKBONE_NAMES
SIDE, CROP, STRIDE = 256, 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

MAX_ASPECT = 16
"""A picture longer than this many times its shorter side is refused: at 256 pixels it would fill the memory."""

Boxes = Float32[np.ndarray, "_ 4"]


class TorchBackbone:
    """A residual network trained on ImageNet (Pan et al., 2020, Sec. 4.3): ``S = D = 2048``.

    The scene feature of a frame is the output of the average pool: shorter side to 256, centre crop 224, ImageNet mean
    and deviation, exactly as torchvision evaluates these networks. Objects are read off the last map of the WHOLE frame
    (shorter side 256, no crop), so that those at the border have features too: RoIAlign 7x7, maximum.

    Args:
        name: one of :data:`NAMES`.
        weights: file of the state dict, classifier included; see :func:`stg.vision.weights.find_weights`.
        batch: frames in one pass, over the clips of a call. Another number gives other last bits.
        device: where the network runs.
        objects: False leaves out the pass over the whole frames; the objects then are ``[N 0]``.

    Raises:
        UserError: unknown name, no such file; at first use also: weights of another network, no such device.
    """

    def __init__(
        self, name: str, *, weights: Weights, batch: int = 8, device: str = "cpu", objects: bool = True
    ) -> None:
        if name not in NAMES:
            raise UserError(f"the image network must be one of {', '.join(NAMES)}; got {name!r}")
        if batch < 1:
            raise UserError(f"batch must be at least 1; got {batch}")
        self.name, self.weights, self.batch, self.device, self.objects = (
            name,
            WeightFile.of(weights),
            batch,
            device,
            objects,
        )
        self.sha256 = self.weights.sha256

    @cached_property
    def network(self) -> nn.Module:
        """The frozen network with its classifier."""
        return frozen_network(lambda state: build(self.name, state), self.weights, self.device)

    @cached_property
    def body(self) -> nn.Module:
        """The network up to its last convolutional map."""
        return nn.Sequential(*(layer for key, layer in self.network.named_children() if key not in ("avgpool", "fc")))

    def manifest(self) -> dict[str, Any]:
        """Name, hash of the weights, preprocessing and pooling."""
        objects = "RoIAlign 7x7 on the map of the whole frame, aligned, sampling ratio 2, maximum"
        return {
            "kind": "torchvision",
            "name": self.name,
            "weights": self.weights.name,
            "sha256": self.sha256,
            "resize": f"shorter side {SIDE}, bilinear, antialiased, rounded to 8 bits",
            "crop": CROP,
            "mean": list(MEAN),
            "std": list(STD),
            "scene": "global average pool of the centre crop",
            "objects": objects if self.objects else "none",
        }

    def feature_maps(self, sample: SampledFrames) -> Float32[np.ndarray, "T C h w"]:
        """The last convolutional map of every whole frame, at stride 32 of the frame with its shorter side at 256."""
        with inference():
            return self._run(self.body, self._whole(sample)).numpy()

    def many(
        self, samples: Sequence[SampledFrames], boxes: Sequence[Sequence[Boxes]]
    ) -> list[tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]]:
        """Scene features ``[T S]`` and object features ``[N D]`` of every clip, their frames batched together."""
        if not samples:
            return []
        counts = [len(sample.frames) for sample in samples]
        with inference():
            whole = [self._whole(sample) for sample in samples]
            scenes = self._run(self._scene, torch.cat([centre_crop(images) for images in whole])).split(counts)
            # A second pass, over the whole frames: objects at the border lie outside of the centre crop.
            maps = self._maps(whole) if self.objects else []
            sizes = [sample.frames.shape[1:3] for sample in samples]
            objects = [
                box_features(maps[i], boxes[i], sizes[i], whole[i].shape[2:])
                if self.objects
                else torch.zeros(sum(len(item) for item in boxes[i]), 0)
                for i in range(len(samples))
            ]
        return [(scene.numpy(), found.numpy()) for scene, found in zip(scenes, objects, strict=True)]

    def __call__(
        self, sample: SampledFrames, boxes: Sequence[Boxes]
    ) -> tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]:
        """Scene features ``[T S]`` and object features ``[N D]``, frame by frame."""
        return self.many([sample], [boxes])[0]

    def scene_map(self, sample: SampledFrames) -> SceneMap:
        """See :class:`stg.vision.backbones.LocatingBackbone`; over the frame: cells of half the map's stride.

        The scene feature is the mean over the map of the centre crop, 7x7, so nothing outside of the crop has a part in
        it: 0 there is exact, and not that something was seen and did not count.
        """
        with inference():
            whole = self._whole(sample)
            maps = self._run(self.body, centre_crop(whole)).numpy()
        return mean_map(maps, lambda places: uncrop(places, whole.shape[2], whole.shape[3]))

    def _run(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return in_batches(lambda rows: function(rows.to(self.device)).cpu(), images, self.batch)

    def _scene(self, images: Tensor) -> Tensor:
        return self.network.get_submodule("avgpool")(self.body(images)).flatten(1)

    def _maps(self, whole: list[Tensor]) -> list[Tensor]:
        """The last map of the frames of every clip; clips of one size share their passes."""
        maps = [images[:0] for images in whole]
        # Clips of one size share passes; padding to a common size would change what is near the edges.
        for size in dict.fromkeys(images.shape[1:] for images in whole):
            rows = [i for i, images in enumerate(whole) if images.shape[1:] == size]
            result = self._run(self.body, torch.cat([whole[i] for i in rows]))
            for i, part in zip(rows, result.split([len(whole[i]) for i in rows]), strict=True):
                maps[i] = part
        return maps

    def _whole(self, sample: SampledFrames) -> Float32[Tensor, "T 3 h w"]:
        height, width = sample.frames.shape[1:3]
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise VideoError(
                f"video {sample.video!r} is {width}x{height}; its longer side may be {MAX_ASPECT} times its shorter one"
            )
        chunks = [prepare(sample.frames[i : i + self.batch]) for i in range(0, len(sample.frames), self.batch)]
        return torch.cat(chunks)


def build(name: str, state: dict[str, Tensor]) -> nn.Module:
    """The network ``name`` with as many classes as the classifier in ``state`` has."""

    return get_model(name, weights=None, num_classes=len(state["fc.weight"]) if "fc.weight" in state else 1000)


def prepare(frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[Tensor, "T 3 h w"]:
    """Whole frames with the shorter side at 256, as the network takes them."""

    pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    return normalize(convert_image_dtype(resize(pixels, [SIDE], antialias=True), torch.float32), list(MEAN), list(STD))


def centre_crop(images: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T 3 224 224"]:
    """The middle 224x224 pixels; an odd rest is rounded half to even, as torchvision does."""

    return center_crop(images, [CROP, CROP])


def uncrop(places: Float[np.ndarray, "*rows h w"], height: int, width: int) -> Float[np.ndarray, "*rows H W"]:
    """Places of the centre crop as cells over the whole picture, 0 outside the crop; shared out by area.

    Args:
        places: of a grid over the crop.
        height, width: of the picture the network takes, in pixels.

    Returns:
        Cells of about half the stride, which is how the crop lies in the shorter side.
    """
    down, across = (
        _overlaps(count, side, max(round(side / (STRIDE // 2)), 1))
        for count, side in zip(places.shape[-2:], (height, width), strict=True)
    )
    return down @ places @ across.T


def _overlaps(count: int, side: int, cells: int) -> Float[np.ndarray, "cells count"]:
    """The share of each of ``cells`` of a side that each of the ``count`` places of its crop covers."""
    begin = round((side - CROP) / 2.0)
    place = np.linspace(begin, begin + CROP, count + 1)
    cell = np.linspace(0, side, cells + 1)
    # The length that each cell and each place of the map have in common, as a share of a cell.
    shared = np.minimum(cell[1:, None], place[1:]) - np.maximum(cell[:-1, None], place[:-1])
    return shared.clip(min=0) * cells / side


def box_features(
    maps: Float32[Tensor, "T C h w"], boxes: Sequence[Boxes], size: Sequence[int], taken: Sequence[int]
) -> Float32[Tensor, "N C"]:
    """RoIAlign of the boxes of every frame on its map, frame by frame.

    Args:
        maps: one map a frame, at stride 32 of the picture the network took.
        boxes: ``[n 4]`` a frame, in pixels of the frame.
        size: height and width of the frame.
        taken: height and width of the picture the network took.
    """
    scale = torch.tensor([taken[1] / size[1], taken[0] / size[0]] * 2, dtype=torch.float32)
    corners = torch.from_numpy(np.concatenate([np.zeros((0, 4), np.float32), *boxes]))
    frame = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(item) for item in boxes]))
    return roi_features(maps, corners * scale, frame, stride=STRIDE)
