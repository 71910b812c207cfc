"""Optical flow between the consecutive frames of a segment."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from stg.vision.inference import in_batches, inference
from stg.vision.weights import WeightFile, Weights, frozen_network

NETWORKS = {"large": "raft_large", "small": "raft_small"}
"""Size of RAFT -> its name in torchvision."""


@runtime_checkable
class Flow(Protocol):
    """Says where the pixels of a frame go until the next."""

    def __call__(self, frames: UInt8[np.ndarray, "K span H W 3"]) -> Float32[np.ndarray, "K span H W 2"]:
        """Motion in pixels (x to the right, y down) from each frame to the next; the last repeats the one before."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers."""
        ...


class RaftFlow:
    """Flow by RAFT (Teed and Deng, ECCV 2020), torchvision's build.

    Departure from the published I3D, whose flow is TV-L1 of grey frames at 25 a second: RAFT is what torchvision
    maintains, and frames are taken as often as the video has them. Its flow is smoother inside objects and sharper at
    their edges, so the flow stream's features are not those of the paper; the manifest says ``raft``.

    Args:
        weights: a state dict of torchvision's ``raft_large`` or ``raft_small``, see
            :func:`stg.vision.weights.find_weights`.
        size: ``large`` (the published network) or ``small`` (a fifth of the weights, for machines without a GPU).
        updates: refinements of each flow, 12 as torchvision's default.
        batch: pairs of frames in one pass.
        device: where it runs.

    Raises:
        UserError: the weights cannot be read or are of another network.
        ValueError: no such size.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        size: str = "large",
        updates: int = 12,
        batch: int = 4,
        device: str = "cpu",
    ) -> None:
        if size not in NETWORKS:
            raise ValueError(f"size must be one of {', '.join(NETWORKS)}; got {size!r}")
        # Here and not above: torchvision is slow to import, and whoever knows the protocol alone needs nothing of it.
        from torchvision.models import get_model

        self.weights = WeightFile.of(weights)
        self.network: nn.Module = frozen_network(
            lambda _: get_model(NETWORKS[size], weights=None), self.weights, device
        )
        self.sha256 = self.weights.sha256
        self.size, self.updates, self.batch, self.device = size, updates, batch, device

    def manifest(self) -> dict[str, Any]:
        """Kind, hash of the weights, and what is done at the end of a segment."""
        return {
            "kind": "raft",
            "size": self.size,
            "weights": self.weights.name,
            "sha256": self.sha256,
            "updates": self.updates,
            "last_frame": "repeats the flow before it",
        }

    @inference()
    def __call__(self, frames: UInt8[np.ndarray, "K span H W 3"]) -> Float32[np.ndarray, "K span H W 2"]:
        """Flow in pixels (x, y) from frame i to frame i + 1 of the same segment; the last repeats the one before it.

        The first frame of the next segment is not known here, and the flow to it belongs half to that segment.

        Raises:
            ValueError: fewer than two frames, or frames below the 128x128 that RAFT needs.
        """
        count, span, height, width = frames.shape[:4]
        if span < 2 or min(height, width) < 128:
            raise ValueError(f"flow needs 2 frames or more, of 128x128 or more; got {span} of {height}x{width}")
        flows = np.empty((count, span, height, width, 2), np.float32)
        for row, clip in enumerate(frames):
            images = torch.from_numpy(clip.copy()).permute(0, 3, 1, 2)
            # Each frame with the one after it [span - 1, 2, 3, H, W].
            pairs = torch.stack([images[:-1], images[1:]], 1)
            flow = in_batches(self._flow, pairs, self.batch)
            flows[row, :-1] = flow.permute(0, 2, 3, 1).numpy()
        flows[:, -1] = flows[:, -2]
        return flows

    def _flow(self, pairs: UInt8[Tensor, "n 2 3 H W"]) -> Float32[Tensor, "n 2 H W"]:
        values = pairs.to(self.device).float() / 127.5 - 1
        height, width = values.shape[-2:]
        down, right = -height % 8, -width % 8  # RAFT works on an eighth of the size
        values = functional.pad(values.flatten(0, 1), (0, right, 0, down), mode="replicate").unflatten(0, (-1, 2))
        flow = self.network(values[:, 0], values[:, 1], num_flow_updates=self.updates)[-1]
        return flow[:, :, :height, :width].cpu()
