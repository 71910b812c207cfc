"""Networks by the names that options and manifests give them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stg.config.extraction import NONE, ExecutionConfig, NetworkConfig, SamplingConfig
from stg.runtime.errors import UserError
from stg.vision.weights import DETECTORS, IMAGES, PUBLISHED, download, find_weights, load_state_dict

if TYPE_CHECKING:
    from stg.vision.backbones import Backbone
    from stg.vision.detectors import Detector
    from stg.vision.motion import MotionNetwork
    from stg.vision.vggish import SoundNetwork


RAFT = "raft_large"

MOTION = {
    "s3d": ("s3d",),
    "i3d": ("i3d_rgb",),
    "i3d_flow": ("i3d_flow", RAFT),
    "i3d_two_stream": ("i3d_rgb", "i3d_flow", RAFT),
}
"""Motion networks by their options, and the weights that each needs."""


MIN_SCORE = 0.05
"""Boxes with a lower score, or below the threshold if that is lower still, are dropped before the suppression."""


STREAMS = {"i3d": "rgb", "i3d_flow": "flow", "i3d_two_stream": "two_stream"}


SPAN = 16
"""Frames of a segment (Pan et al., 2020; Cherian et al., 2020); 32 in Chen et al., 2019."""


@dataclass(frozen=True)
class ExecutionSettings:
    """How networks run: what changes no feature.

    Args:
        batch: images in one pass.
        device: cpu, cuda, cuda:1.
        threads: of ONNX networks; 0 for all cores.
        detector_batch: frames in one pass of a detector, which looks at 800x1333 pixels (1 to 2 GB a frame).
        segments: segments in one pass of a motion network.
    """

    batch: int = 10
    device: str = "cpu"
    threads: int = 0
    detector_batch: int = 2
    segments: int = 1


Files = Mapping[str, Path]
"""File of each network by its role: detector, backbone, or the name of a motion or sound network."""


def locate(choice: NetworkConfig, *, fetch: bool = False) -> Files:
    """Find all files that the networks of a choice need, at once and without loading torch.

    Args:
        choice: the networks.
        fetch: download published weights that are not there.

    Raises:
        UserError: an unknown network; or files that are not there, all of them, and what to do about each.
    """
    files: dict[str, Path] = {}
    missing: list[str] = []

    def weights(role: str, network: str, given: str | None, option: str) -> None:
        try:
            published = given is None or not Path(given).is_file()
            files[role] = download(network, given) if fetch and published else find_weights(network, given)
        except UserError as error:
            hint = f" (--{option} FILE" + (", or --download)" if network in PUBLISHED and not fetch else ")")
            missing.append(f"{error}{hint}")

    for role, name, given, known in (
        ("detector", choice.detector, choice.detector_weights, DETECTORS),
        ("backbone", choice.backbone, choice.backbone_weights, IMAGES),
    ):
        if name in known:
            weights(role, name, given, f"{role}_weights")
        elif name.endswith(".onnx"):
            files[role] = _onnx_file(name, role)
        elif role == "backbone" or name != NONE:
            more = " or none" if role == "detector" else ""
            raise UserError(f"{role} must be one of {', '.join(known)}, the path of an .onnx file{more}; got {name!r}")
    if choice.motion in MOTION:
        given_by = {
            "raft_large": (choice.raft_weights, "raft_weights"),
            "i3d_flow": (choice.flow_weights, "flow_weights"),
        }
        if choice.motion == "i3d_flow" and choice.flow_weights is None:
            given_by["i3d_flow"] = (choice.motion_weights, "motion_weights")
        for network in MOTION[choice.motion]:
            weights(network, network, *given_by.get(network, (choice.motion_weights, "motion_weights")))
    elif choice.motion != NONE and not choice.motion.endswith(".npz"):
        raise UserError(
            f"motion must be one of {', '.join(MOTION)}, none, or the path of an .npz file; got {choice.motion!r}"
        )
    if choice.sound == "vggish":
        weights("vggish", "vggish", choice.sound_weights, "sound_weights")
    if missing:
        raise UserError("; and ".join(missing))
    return files


def _onnx_file(name: str, role: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise UserError(f"network {path} does not exist; --{role} takes the path of an ONNX file (none is downloaded)")
    return path


def _detector(name: str, files: Files, running: ExecutionSettings, sampling: SamplingConfig) -> "Detector | None":
    if name == NONE:
        return None
    path, min_score = files["detector"], min(MIN_SCORE, sampling.threshold)
    if name in DETECTORS:
        from stg.vision.torch_detectors import TorchDetector

        return TorchDetector(
            name,
            weights=path,
            batch=running.detector_batch,
            device=running.device,
            features=sampling.objects in ("auto", "detector"),
            min_score=min_score,
        )
    from stg.vision.detectors import OnnxYoloX

    return OnnxYoloX(path, threads=running.threads, min_score=min_score)


def _backbone(name: str, files: Files, running: ExecutionSettings, *, objects: bool) -> "Backbone":
    path = files["backbone"]
    if name in IMAGES:
        from stg.vision.torch_backbones import TorchBackbone

        return TorchBackbone(name, weights=path, batch=running.batch, device=running.device, objects=objects)
    from stg.vision.backbones import OnnxBackbone

    return OnnxBackbone(path, threads=running.threads, batch=running.batch)


def _motion(choice: NetworkConfig, files: Files, running: ExecutionSettings, *, whole: bool) -> "MotionNetwork | None":
    if choice.motion not in MOTION:
        return None
    from stg.vision.flow import RaftFlow
    from stg.vision.motion import I3DNetwork, S3DNetwork

    span, batch, device = choice.motion_span or SPAN, running.segments, running.device
    if choice.motion == "s3d":
        return S3DNetwork(files["s3d"], span=span, batch=batch, device=device, whole=whole)
    flow = None
    if RAFT in files:
        # The pairs of a segment fill a whole number of passes: nothing is computed for padding.
        pairs = max(size for size in range(1, running.batch + 1) if (span - 1) % size == 0)
        flow = RaftFlow(files[RAFT], size=_raft_size(files[RAFT]), batch=pairs, device=device)
    weights = tuple(files[name] for name in MOTION[choice.motion] if name != RAFT)
    return I3DNetwork(
        STREAMS[choice.motion], weights=weights, span=span, flow=flow, batch=batch, device=device, whole=whole
    )


def _raft_size(path: Path) -> str:
    """RAFT's size by the first convolution in a file; where there is none, the large network will say so."""
    first = load_state_dict(path).get("feature_encoder.convnormrelu.0.weight")
    return "small" if first is not None and first.ndim == 4 and len(first) == 32 else "large"


def _sound(files: Files, running: ExecutionSettings) -> "SoundNetwork":
    from stg.vision.vggish import SoundNetwork

    return SoundNetwork(files["vggish"], device=running.device)


def running(work: ExecutionConfig, num_frames: int) -> ExecutionSettings:
    """The device that is there, and the batches that suit it; one that was asked for holds for all networks."""
    from stg.runtime.device import pick_device

    device = pick_device(work.device)
    cpu = device.type == "cpu"
    batch = work.batch or num_frames * (1 if cpu else work.group)
    return ExecutionSettings(
        batch=batch,
        device=str(device),
        threads=work.threads,
        detector_batch=work.batch or (2 if cpu else 10),
        segments=max(1, batch // 5) if work.batch else 1 if cpu else TOGETHER,
    )


TOGETHER = 4
"""Segments that go to the motion network in one call; it cuts them into its own batches."""
