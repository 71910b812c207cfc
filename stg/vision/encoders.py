"""Image encoders of other libraries as backbones: scene features as these make them, object features off their map."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.inference import in_batches, inference, roi_features
from stg.vision.model_folders import model_name
from stg.vision.onnx import resize
from stg.vision.weights import WeightFile, Weights

Boxes = Float32[np.ndarray, "_ 4"]


class EncoderBackbone(ABC):
    """An image encoder with its library's own preprocessing, so that features are those which others publish.

    Objects are read off the last map of the WHOLE frame, stretched to the input (the library may cut off borders):
    RoIAlign 7x7, maximum.

    Args:
        weights: file in the folder that the library saved, settings next to it.
        batch: frames in one pass, over the clips of a call. Another number gives other last bits.
        device: where the network runs.
        objects: False leaves out the pass over the whole frames; the objects then are ``[N 0]``.

    Raises:
        UserError: at first use: another kind of model, damaged files, no such device.
    """

    def __init__(self, weights: Weights, *, batch: int = 8, device: str = "cpu", objects: bool = True) -> None:
        if batch < 1:
            raise UserError(f"batch must be at least 1; got {batch}")
        self.weights, self.batch, self.device, self.objects = WeightFile.of(weights), batch, device, objects

    @cached_property
    @abstractmethod
    def network(self) -> nn.Module:
        """The frozen network."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the manifest says of library, preprocessing and scene feature."""

    @abstractmethod
    def pixels(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[Tensor, "T 3 h w"]:
        """Frames as the library prepares them."""

    @abstractmethod
    def normalise(self, values: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T 3 h w"]:
        """Values 0 to 255 of prepared size as the library brings them to its scale."""

    @abstractmethod
    def scene(self, pixels: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T S"]:
        """One feature a picture."""

    @abstractmethod
    def maps(self, pixels: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T D rows columns"]:
        """The last map of each picture."""

    def manifest(self) -> dict[str, Any]:
        """Library, model, hash of the weights, settings, preprocessing and pooling."""
        objects = "RoIAlign 7x7 on the map of the whole frame, stretched, aligned, sampling ratio 2, maximum"
        return {
            "model": model_name(self.weights),
            "weights": self.weights.name,
            "sha256": self.weights.sha256,
            **self.settings(),
            "objects": objects if self.objects else "none",
        }

    def __call__(
        self, sample: SampledFrames, boxes: Sequence[Boxes]
    ) -> tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]:
        """Scene features ``[T S]`` and object features ``[N D]``, frame by frame."""
        return self.many([sample], [boxes])[0]

    def many(
        self, samples: Sequence[SampledFrames], boxes: Sequence[Sequence[Boxes]]
    ) -> list[tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]]:
        """Scene features ``[T S]`` and object features ``[N D]`` of every clip, their frames batched together."""
        with inference():
            prepared = [self.pixels(sample.frames) for sample in samples]
            scenes = self._run(self.scene, prepared)
            objects = [torch.zeros(sum(len(item) for item in found), 0) for found in boxes]
            if self.objects:
                whole = [
                    self.normalise(torch.from_numpy(resize(sample.frames, *images.shape[2:], antialias=True)))
                    for sample, images in zip(samples, prepared, strict=True)
                ]
                found = zip(samples, whole, self._run(self.maps, whole), boxes, strict=True)
                objects = [_box_features(maps, rows, sample, images) for sample, images, maps, rows in found]
        return [(scene.numpy(), rows.numpy()) for scene, rows in zip(scenes, objects, strict=True)]

    def _run(self, function: Callable[[Tensor], Tensor], clips: list[Tensor]) -> list[Tensor]:
        """The result of every clip; clips whose pictures have one size share their passes."""
        results = list(clips)
        for size in dict.fromkeys(clip.shape[1:] for clip in clips):
            rows = [i for i, clip in enumerate(clips) if clip.shape[1:] == size]
            images = torch.cat([clips[i] for i in rows])
            found = in_batches(lambda part: function(part.to(self.device)).float().cpu(), images, self.batch)
            for i, part in zip(rows, found.split([len(clips[i]) for i in rows]), strict=True):
                results[i] = part
        return results


def _box_features(maps: Tensor, boxes: Sequence[Boxes], sample: SampledFrames, images: Tensor) -> Tensor:
    height, width = sample.frames.shape[1:3]
    scale = torch.tensor([images.shape[3] / width, images.shape[2] / height] * 2)
    corners = torch.from_numpy(np.concatenate([np.zeros((0, 4), np.float32), *boxes])) * scale
    frame = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(item) for item in boxes]))
    return roi_features(maps, corners, frame, stride=images.shape[2] // maps.shape[2])
