"""Networks that turn segments of consecutive frames into motion features: I3D and S3D."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from stg.runtime.errors import UserError
from stg.video.clip import SegmentRequest
from stg.vision.flow import Flow
from stg.vision.i3d import I3D, pooled, published_widths
from stg.vision.inference import in_batches, inference
from stg.vision.weights import WeightFile, Weights, frozen_network

STREAMS = {"rgb": ("rgb",), "flow": ("flow",), "two_stream": ("rgb", "flow")}
"""Streams of I3D, and the inputs of each one, in the order of their channels."""

FLOW_LIMIT = 20.0
"""Pixels of motion that become 1; more is cut off (Carreira and Zisserman's release)."""

CROP = 224
"""Height and width that the networks see."""


@dataclass(frozen=True)
class MotionResult:
    """What a motion network says of K segments.

    Args:
        pooled: ``[K M]`` mean of the map over time and space.
        maps: ``[K t h w G]`` the last convolutional map; 2x7x7 for 16 frames.
    """

    pooled: Float32[np.ndarray, "K M"]
    maps: Float32[np.ndarray, "K t h w G"]


@runtime_checkable
class MotionNetwork(Protocol):
    """Describes segments of consecutive frames."""

    request: SegmentRequest
    """How it wants to see a video."""

    def __call__(self, segments: UInt8[np.ndarray, "K span H W 3"]) -> MotionResult:
        """Features of each segment; equal to the byte however segments are grouped into calls."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers: kind, hash of the weights, span, preprocessing, pooling."""
        ...


def grid(maps: Float32[np.ndarray, "K t h w G"]) -> Float32[np.ndarray, "K P tG"]:
    """The places of the map as vectors, time steps side by side on channels (Cherian et al., 2020, Sec. 4.1).

    I3D's 2x7x7x1024 of 16 frames becomes 49 places of 2048 channels, the first 1024 of the first step. The paper does
    not say the order of the axes in its reshape; this one keeps a place a place. Two streams: each step holds RGB,
    then flow, in all 4096.
    """
    count, steps, height, width, channels = maps.shape
    steps_last = np.moveaxis(maps, 1, 3)
    return np.ascontiguousarray(steps_last).reshape(count, height * width, steps * channels)


def mean_map(maps: Float32[np.ndarray, "K t h w G"]) -> Float32[np.ndarray, "K G h w"]:
    """Mean over the steps, as a map for RoIAlign (Chen et al., 2019; the paper does not say what becomes of time)."""
    return np.ascontiguousarray(maps.mean(axis=1).transpose(0, 3, 1, 2))


class I3DNetwork:
    """I3D features (Carreira and Zisserman, CVPR 2017) of segments of 16 frames (Pan et al., 2020) or 32.

    Preprocessing as published: shorter side 256, centre crop 224x224, values to [-1, 1]; flow in pixels at that size,
    cut off at 20 and divided by 20. Departures: frames are taken as often as the video has them, not 25 a second
    (Pan et al. count frames); flow is RAFT's, not TV-L1, see :class:`stg.vision.flow.RaftFlow`. As published, flow is
    computed before the crop, here on the centre 256x256.

    Args:
        stream: ``rgb`` (1024 wide), ``flow`` (1024), or ``two_stream`` (both, RGB first, 2048). Pan et al.'s width of
            1024 says one stream.
        weights: state dict under the published key names; for ``two_stream`` the pair (RGB, flow).
        span: frames of a segment, at least 9 so that the map has two steps as the published head needs.
        flow: where the flow comes from; needed unless ``stream`` is ``rgb``.
        batch: segments in one pass.
        device: where it runs.
        whole: take the whole frame, stretched to the crop, so that its map covers every object.

    Raises:
        UserError: the weights cannot be read, are of another network or another stream.
        ValueError: no such stream, too short a span, weights or flow that do not go with the stream.
    """

    def __init__(
        self,
        stream: str = "rgb",
        *,
        weights: Weights | tuple[Weights, ...],
        span: int = 16,
        flow: Flow | None = None,
        batch: int = 1,
        device: str = "cpu",
        whole: bool = False,
    ) -> None:
        if stream not in STREAMS:
            raise ValueError(f"stream must be one of {', '.join(STREAMS)}; got {stream!r}")
        files = weights if isinstance(weights, tuple) else (weights,)
        if len(files) != len(STREAMS[stream]):
            raise ValueError(f"stream {stream} needs {len(STREAMS[stream])} weights files; got {len(files)}")
        if (flow is None) != (stream == "rgb"):
            raise ValueError(f"stream {stream} {'needs a flow network' if flow is None else 'takes no flow'}")
        _check_span(span, 9)
        self.files = dict(zip(STREAMS[stream], map(WeightFile.of, files), strict=True))
        self.hashes = {inputs: file.sha256 for inputs, file in self.files.items()}
        self.networks = {
            inputs: frozen_network(_i3d_builder(inputs, file), file, device) for inputs, file in self.files.items()
        }
        # Flow is computed on a margin around the crop, so that motion across its border is seen.
        side = CROP if flow is None or whole else 256
        self.request = SegmentRequest(span, (side, side) if whole else 256, (side, side))
        self.resize = "stretched to 224x224, swscale bilinear" if whole else "shorter side 256, swscale bilinear"
        self.stream, self.flow, self.batch, self.device = stream, flow, batch, device

    def manifest(self) -> dict[str, Any]:
        """Kind, stream, hash of the weights, span, preprocessing and pooling; of the flow too."""
        return {
            "kind": "i3d",
            "stream": self.stream,
            "weights": [file.name for file in self.files.values()],
            "sha256": list(self.hashes.values()),
            "span": self.request.span,
            "frame_rate": "as in the video",
            "resize": self.resize,
            "crop": [CROP, CROP],
            "values": "rgb to [-1, 1]; flow in pixels cut off at 20, divided by 20",
            "pooled": "mean over Mixed_5c",
            "flow": None if self.flow is None else self.flow.manifest(),
        }

    @inference()
    def __call__(self, segments: UInt8[np.ndarray, "K span H W 3"]) -> MotionResult:
        """``pooled [K 1024]`` and ``maps [K t 7 7 1024]``; 2048 wide for two streams."""
        _check_segments(segments, self.request)
        maps = []
        for inputs, network in self.networks.items():
            if inputs == "rgb":
                clips = torch.from_numpy(_centre(segments))
                maps.append(in_batches(_runner(network, self.device, _rgb_values), clips, self.batch))
            else:
                assert self.flow is not None
                clips = torch.from_numpy(_centre(self.flow(segments)))
                maps.append(in_batches(_runner(network, self.device, _flow_values), clips, self.batch))
        # The streams side by side on channels, RGB first [K G t h w].
        return _result(torch.cat(maps, 1))


class S3DNetwork:
    """S3D features (Xie et al., ECCV 2018) by torchvision's network and preset: the maintained default.

    Another network than I3D (separable kernels) with a map of the same shape and width; never to be mixed with it.
    Preprocessing by torchvision's preset: stretched to 256x256, centre crop 224x224, its mean and deviation. The preset
    was trained at 15 frames a second; here frames are taken as often as the video has them.

    Args:
        weights: state dict of torchvision's ``s3d``, see :func:`stg.vision.weights.find_weights`; any class count.
        span: frames of a segment, at least torchvision's minimum of 14.
        batch: segments in one pass.
        device: where it runs.
        whole: take the whole frame, stretched to the crop, so that its map covers every object.

    Raises:
        UserError: the weights cannot be read or are of another network.
        ValueError: too short a span.
    """

    mean = (0.43216, 0.394666, 0.37645)
    std = (0.22803, 0.22145, 0.216989)

    def __init__(
        self,
        weights: Weights,
        *,
        span: int = 16,
        batch: int = 1,
        device: str = "cpu",
        whole: bool = False,
    ) -> None:
        _check_span(span, 14)
        self.weights = WeightFile.of(weights)
        self.network = frozen_network(_build_s3d, self.weights, device)
        self.sha256 = self.weights.sha256
        self.side = CROP if whole else 256
        self.request = SegmentRequest(span, (self.side, self.side), (CROP, CROP))
        self.batch, self.device = batch, device

    def manifest(self) -> dict[str, Any]:
        """Kind, hash of the weights, span, preprocessing and pooling."""
        return {
            "kind": "s3d",
            "weights": self.weights.name,
            "sha256": self.sha256,
            "span": self.request.span,
            "frame_rate": "as in the video",
            "resize": f"stretched to {self.side}x{self.side}, swscale bilinear",
            "crop": [CROP, CROP],
            "mean": list(self.mean),
            "std": list(self.std),
            "pooled": "mean over the last map",
        }

    @inference()
    def __call__(self, segments: UInt8[np.ndarray, "K span H W 3"]) -> MotionResult:
        """``pooled [K 1024]`` and ``maps [K t 7 7 1024]``."""
        _check_segments(segments, self.request)
        run = _runner(self.network.features, self.device, self._values)  # type: ignore[arg-type]
        return _result(in_batches(run, torch.from_numpy(_centre(segments)), self.batch))

    def _values(self, clips: Tensor) -> Tensor:
        mean, std = clips.new_tensor(self.mean), clips.new_tensor(self.std)
        return (clips / 255 - mean) / std


def _i3d_builder(inputs: str, file: WeightFile) -> Callable[[dict[str, Tensor]], nn.Module]:
    """What builds the I3D that a file is of, once it is known to take ``inputs``."""
    channels = {"rgb": 3, "flow": 2}[inputs]

    def build(state: dict[str, Tensor]) -> nn.Module:
        widths = published_widths(state) or {"in_channels": channels}
        if widths["in_channels"] != channels:
            came = widths["in_channels"]
            raise UserError(f"weights file {file} is of an I3D on {came} channels; the {inputs} stream has {channels}")
        return I3D(**widths)

    return build


def _build_s3d(state: dict[str, Tensor]) -> nn.Module:
    # Here and not above: I3D, the protocol and captions without motion need no torchvision, which is slow to import.
    from torchvision.models.video import s3d

    last = state.get("classifier.1.weight")
    return s3d(weights=None, num_classes=400 if last is None else len(last))


def _runner(network: nn.Module, device: str, values: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(clips: Tensor) -> Tensor:
        # On a CPU one by one, which is as fast: a product's last bits depend on where a row begins in memory, and the
        # second row of a batch may begin off the 64 bytes at which the first does.
        rows = clips.split(1) if device == "cpu" else [clips]
        return torch.cat([network(values(row.to(device).float()).permute(0, 4, 1, 2, 3)).cpu() for row in rows])

    return run


def _rgb_values(clips: Tensor) -> Tensor:
    return clips / 127.5 - 1


def _flow_values(clips: Tensor) -> Tensor:
    return clips.clamp(-FLOW_LIMIT, FLOW_LIMIT) / FLOW_LIMIT


def _centre(clips: np.ndarray) -> np.ndarray:
    top, left = (clips.shape[2] - CROP) // 2, (clips.shape[3] - CROP) // 2
    return clips[:, :, top : top + CROP, left : left + CROP].copy()  # what comes in may be read-only


def _result(maps: Float32[Tensor, "K G t h w"]) -> MotionResult:
    return MotionResult(pooled(maps).numpy(), maps.permute(0, 2, 3, 4, 1).contiguous().numpy())


def _check_span(span: int, least: int) -> None:
    if span < least:
        raise ValueError(f"span must be at least {least} frames; got {span}")


def _check_segments(segments: np.ndarray, request: SegmentRequest) -> None:
    want = (request.span, *request.crop, 3)
    if segments.shape[1:] != want or segments.dtype != np.uint8:
        came = f"{segments.dtype} {list(segments.shape)}"
        raise ValueError(f"segments must be uint8 [K {' '.join(map(str, want))}]; got {came}")
