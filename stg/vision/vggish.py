"""VGGish: .96 s of sound to 128 numbers (Hershey et al., 2017: "CNN Architectures for Large-Scale Audio
Classification", and the release with AudioSet)."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from stg.video import audio as sound
from stg.vision.inference import in_batches, inference
from stg.vision.weights import WeightFile, Weights, frozen_network

CHANNELS, HIDDEN = 64, 4096
"""Channels of the first convolution and width of the hidden linear layers, as published."""


@runtime_checkable
class SoundNetwork(Protocol):
    """Describes examples of sound, see :func:`stg.video.audio.read_sound`."""

    width: int
    """Numbers a row, ``U``."""

    def __call__(self, examples: Float32[np.ndarray, "K 96 64"]) -> Float32[np.ndarray, "K U"]:
        """One row an example; equal to the byte however they are grouped."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers: kind, hash of the weights, front end."""
        ...


class VGGish(nn.Module):
    """VGG (configuration A) without its last group: six 3x3 convolutions, four 2x2 pools, three linear layers.

    Parameter names are those of the PyTorch port of the published weights (``features.N.weight``,
    ``embeddings.N.weight``; 72,141,184 numbers at full size). They were learned in TensorFlow, so the last map is
    flattened with the channels innermost: time, band, channel.

    Args:
        channels: of the first convolution.
        hidden: width of the two linear layers before the last.
        final_relu: whether a ReLU follows the last layer too, as in the first release (2017) and in the port; the
            release dropped it in 2020. The weights are the same.
    """

    def __init__(self, channels: int = CHANNELS, hidden: int = HIDDEN, final_relu: bool = True) -> None:
        super().__init__()
        layers, before = list[nn.Module](), 1
        for group in ((1,), (2,), (4, 4), (8, 8)):
            for times in group:
                layers += [nn.Conv2d(before, times * channels, 3, padding=1), nn.ReLU()]
                before = times * channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        # Four pools have halved both sides.
        cells = (sound.FRAMES // 16) * (sound.BANDS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(cells * before, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 128),
            nn.ReLU() if final_relu else nn.Identity(),
        )

    def forward(self, examples: Float32[Tensor, "K 96 64"]) -> Float32[Tensor, "K 128"]:
        """Embeddings of log-mel examples."""
        maps = self.features(examples[:, None])
        result: Float32[Tensor, "K 128"] = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return result


class VGGishNetwork:
    """VGGish with the user's weights: one row of 128 numbers for each example of :func:`stg.video.audio.read_sound`.

    The rows are the embeddings themselves; the PCA and the 8-bit quantisation of the AudioSet files are not applied.

    Args:
        weights: state dict of the PyTorch port (published as ``vggish-10086976.pth``, 288 MB); a file of a narrower
            network, as tests use, is taken too.
        batch: examples in one pass.
        device: where the network runs.
        final_relu: as in :class:`VGGish`.

    Attributes:
        width: numbers a row, ``U``.

    Raises:
        UserError: the file is missing, damaged or of another network; the device cannot be used.
    """

    def __init__(self, weights: Weights, *, batch: int = 16, device: str = "cpu", final_relu: bool = True) -> None:
        self.weights, self.batch, self.device, self.final_relu = WeightFile.of(weights), batch, device, final_relu
        self.width = 128
        self.network = frozen_network(partial(_build, final_relu), self.weights, device)
        self.sha256 = self.weights.sha256

    def __call__(self, examples: Float32[np.ndarray, "K 96 64"]) -> Float32[np.ndarray, "K 128"]:
        """Embeddings of any number of examples; equal to the byte however they are grouped."""
        rows = torch.from_numpy(np.ascontiguousarray(examples)).to(self.device)
        with inference():
            result: Float32[np.ndarray, "K 128"] = in_batches(self.network, rows, self.batch).cpu().numpy()
        return result

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers: the weights, the front end, what counts as silence."""
        return {
            "kind": "vggish",
            "weights": self.weights.name,
            "sha256": self.sha256,
            "final_relu": self.final_relu,
            "postprocessing": "none",
            "rate": sound.RATE,
            "window": sound.WINDOW,
            "hop": sound.HOP,
            "fft": sound.FFT,
            "frames": sound.FRAMES,
            "bands": sound.BANDS,
            "band_hz": list(sound.BAND_HZ),
            "log_offset": sound.LOG_OFFSET,
            "silence_dbfs": sound.SILENCE_DBFS,
        }


def _build(final_relu: bool, state: dict[str, Tensor]) -> VGGish:
    """The network of a file, its memory not written yet; widths beyond the published ones are not believed."""
    channels, hidden = (
        min(max(len(state[name]), 1), full) if name in state and state[name].ndim else full
        for name, full in (("features.0.weight", CHANNELS), ("embeddings.0.weight", HIDDEN))
    )
    with torch.device("meta"):
        network = VGGish(channels, hidden, final_relu)
    return network.to_empty(device="cpu")
