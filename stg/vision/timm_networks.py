"""Image networks of timm, from folders as it saves them (Wightman, 2019)."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor, nn

from stg.runtime.errors import UserError
from stg.runtime.files import fingerprint
from stg.runtime.reading import read_json
from stg.vision.encoders import EncoderBackbone
from stg.vision.model_folders import CONFIG
from stg.vision.weights import frozen_network


class TimmBackbone(EncoderBackbone):
    """Any image network of timm: its pooled feature before the classifier, its last map for objects."""

    @cached_property
    def config(self) -> dict[str, Any]:
        """What timm wrote of architecture, preprocessing and classes."""
        path = self.weights.path.parent / CONFIG
        found = read_json(path)
        if not isinstance(found, dict) or not isinstance(found.get("architecture"), str):
            raise UserError(f"{path} is not of timm: it names no architecture (models of transformers are hf:FOLDER)")
        return found

    @cached_property
    def network(self) -> nn.Module:
        """The frozen network with its classifier."""
        return frozen_network(lambda state: self._build(), self.weights, self.device)

    def _build(self) -> nn.Module:
        import timm

        architecture, *_ = self.config["architecture"].split(".")
        asked = {"num_classes": self.config.get("num_classes"), **self.config.get("model_args", {})}
        known = {name: value for name, value in asked.items() if value is not None}
        try:
            return timm.create_model(architecture, pretrained=False, **known)
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise UserError(f"timm cannot build {architecture} of {self.weights.path.parent}: {error}") from error

    @cached_property
    def data(self) -> dict[str, Any]:
        """The preprocessing: input_size, interpolation, mean, std, crop_pct, crop_mode."""
        from timm.data import resolve_data_config

        return dict(resolve_data_config(pretrained_cfg=self.config.get("pretrained_cfg", {})))

    def settings(self) -> dict[str, Any]:
        """See :class:`EncoderBackbone`."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in self.data.items()}
        decides = {name: self.config.get(name) for name in ("architecture", "num_classes", "model_args")}
        return {
            "kind": "timm",
            "name": self.config["architecture"],
            "config": fingerprint(decides),
            "processor": plain,
            "scene": "forward_head, pre_logits",
        }

    def pixels(self, frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[Tensor, "T 3 h w"]:
        """See :class:`EncoderBackbone`."""
        from timm.data import create_transform

        transform = create_transform(**self.data, is_training=False)
        return torch.stack([transform(Image.fromarray(frame)) for frame in frames])

    def normalise(self, values: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T 3 h w"]:
        """See :class:`EncoderBackbone`."""
        mean, std = (values.new_tensor(self.data[name])[:, None, None] for name in ("mean", "std"))
        return (values / 255 - mean) / std

    def scene(self, pixels: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T S"]:
        """See :class:`EncoderBackbone`."""
        network: Any = self.network
        return network.forward_head(network.forward_features(pixels), pre_logits=True).flatten(1)

    def maps(self, pixels: Float32[Tensor, "T 3 h w"]) -> Float32[Tensor, "T D rows columns"]:
        """See :class:`EncoderBackbone`."""
        network: Any = self.network
        if not hasattr(network, "forward_intermediates"):
            raise UserError(f"timm's {self.config['architecture']} shows no map to read objects off: --detector none")
        return network.forward_intermediates(pixels, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True)[
            -1
        ]
