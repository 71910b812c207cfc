"""Networks by the names that options and manifests give them, and where their files are. Imports no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stg.config.extraction import NONE, ExecutionConfig, NetworkConfig
from stg.config.plugins import near
from stg.runtime.errors import UserError
from stg.vision.model_folders import find_model_folder, find_onnx_file
from stg.vision.published import BACKBONE_NAMES, DETECTOR_NAMES, PUBLISHED
from stg.vision.weights import WeightFile, download, find_weights, load_state_dict

if TYPE_CHECKING:
    from stg.vision.backbones import Backbone
    from stg.vision.detectors import Detector
    from stg.vision.motion import MotionNetwork
    from stg.vision.vggish import SoundNetwork

Network = TypeVar("Network")

Files = Mapping[str, WeightFile]
"""File of each network by its role, see :class:`WeightSlot`."""

RAFT = "raft_large"

MOTION_BATCH = 4
"""Segments that go to the motion network in one call; it cuts them into its own batches."""


@dataclass(frozen=True)
class ExecutionSettings:
    """How networks run: what changes no feature.

    Args:
        batch: images in one pass.
        device: cpu, cuda, cuda:1.
        threads: of ONNX networks; 0 for all cores.
        detector_batch: frames in one pass of a detector, which takes 800x1333 pixels (1 to 2 GB a frame).
        segments: segments in one pass of a motion network.
        time_limit: seconds that one pass of an ONNX network may take.
    """

    batch: int = 10
    device: str = "cpu"
    threads: int = 0
    detector_batch: int = 2
    segments: int = 1
    time_limit: float = 600.0


@dataclass(frozen=True)
class WeightSlot:
    """A file of weights that a network needs.

    Args:
        role: what the file is called among the :data:`Files` that a network is built from.
        network: whose published weights fit, a key of :data:`stg.vision.published.PUBLISHED` or ``UNPUBLISHED``.
        options: fields of :class:`stg.config.extraction.NetworkConfig` that may give the file, the first one set; by
            default the one of its kind, such as ``backbone_weights``.
        part: of the network's entry in a manifest, where its name and hash stand; empty: in the entry itself.
    """

    role: str
    network: str = ""
    options: tuple[str, ...] = ()
    part: str = ""


@dataclass(frozen=True)
class NetworkSpec(Generic[Network]):
    """How a network is made, and how a manifest says that it was used.

    Args:
        build: (files by role, execution, settings by name) -> network. The settings: ``min_score`` and ``features``
            (whether to describe the boxes) for a detector, ``objects`` (whether boxes are described) for a backbone,
            ``span`` and ``whole`` (the whole frame instead of a crop) for a motion network, none for sound.
        weight_files: the files that it needs. A manifest records ``weights`` and ``sha256`` of each.
        from_manifest: whether the entry of a manifest is of this network; by default, whether its ``name`` is the
            registered one.
        describes_boxes: a detector whose boxes come with features.
        find: for names that stand for a file or a folder: (name, kind, whether to fetch it) -> the file of the role
            ``kind``.
        takes_words: a detector that is built with ``words`` where these are given.
    """

    build: Callable[..., Network]
    weight_files: tuple[WeightSlot, ...] = ()
    from_manifest: Callable[[Mapping[str, Any]], bool] | None = None
    describes_boxes: bool = False
    find: Callable[[str, str, bool], WeightFile] | None = None
    takes_words: bool = False


# --- makers of the built-in networks; they import torch, so only when one is made


def _torch_detector(
    name: str, files: Files, execution: ExecutionSettings, *, min_score: float, features: bool
) -> "Detector":
    from stg.vision.torch_detectors import TorchDetector

    return TorchDetector(
        name,
        weights=files["detector"],
        batch=execution.detector_batch,
        device=execution.device,
        features=features,
        min_score=min_score,
    )


def _onnx_detector(files: Files, execution: ExecutionSettings, *, min_score: float, features: bool) -> "Detector":
    from stg.vision.detectors import OnnxYoloX

    limit = execution.time_limit
    return OnnxYoloX(files["detector"], threads=execution.threads, min_score=min_score, time_limit=limit)


def _torch_backbone(name: str, files: Files, execution: ExecutionSettings, *, objects: bool) -> "Backbone":
    from stg.vision.torch_backbones import TorchBackbone

    return TorchBackbone(
        name, weights=files["backbone"], batch=execution.batch, device=execution.device, objects=objects
    )


def _onnx_backbone(files: Files, execution: ExecutionSettings, *, objects: bool) -> "Backbone":
    from stg.vision.backbones import OnnxBackbone

    return OnnxBackbone(
        files["backbone"], threads=execution.threads, batch=execution.batch, time_limit=execution.time_limit
    )


def _s3d(files: Files, execution: ExecutionSettings, *, span: int, whole: bool) -> "MotionNetwork":
    from stg.vision.motion import S3DNetwork

    return S3DNetwork(files["s3d"], span=span, batch=execution.segments, device=execution.device, whole=whole)


def _i3d(stream: str, files: Files, execution: ExecutionSettings, *, span: int, whole: bool) -> "MotionNetwork":
    from stg.vision.flow import RaftFlow
    from stg.vision.motion import I3DNetwork

    flow = None
    if RAFT in files:
        # The pairs of a segment fill a whole number of passes: nothing is computed for padding.
        pairs = max(size for size in range(1, execution.batch + 1) if (span - 1) % size == 0)
        flow = RaftFlow(files[RAFT], size=_raft_size(files[RAFT]), batch=pairs, device=execution.device)
    return I3DNetwork(
        stream,
        weights=tuple(files[role] for role in ("i3d_rgb", "i3d_flow") if role in files),
        span=span,
        flow=flow,
        batch=execution.segments,
        device=execution.device,
        whole=whole,
    )


def _raft_size(file: WeightFile) -> str:
    """RAFT's size by the first convolution in a file; if that is missing, the large network refuses the file."""
    first = load_state_dict(file).get("feature_encoder.convnormrelu.0.weight")
    return "small" if first is not None and first.ndim == 4 and len(first) == 32 else "large"


def _vggish(files: Files, execution: ExecutionSettings) -> "SoundNetwork":
    from stg.vision.vggish import VGGishNetwork

    return VGGishNetwork(files["vggish"], device=execution.device)


def _hf_backbone(files: Files, execution: ExecutionSettings, *, objects: bool) -> "Backbone":
    from stg.vision.transformers_networks import TransformersBackbone

    return TransformersBackbone(files["backbone"], batch=execution.batch, device=execution.device, objects=objects)


def _timm_backbone(files: Files, execution: ExecutionSettings, *, objects: bool) -> "Backbone":
    from stg.vision.timm_networks import TimmBackbone

    return TimmBackbone(files["backbone"], batch=execution.batch, device=execution.device, objects=objects)


def _hf_detector(
    files: Files, execution: ExecutionSettings, *, min_score: float, features: bool, words: Sequence[str] = ()
) -> "Detector":
    from stg.vision.transformers_networks import TransformersDetector

    return TransformersDetector(
        files["detector"],
        words=words,
        batch=execution.detector_batch,
        device=execution.device,
        min_score=min_score,
    )


def _hf_motion(files: Files, execution: ExecutionSettings, *, span: int, whole: bool) -> "MotionNetwork":
    from stg.vision.transformers_networks import VideoMAENetwork

    return VideoMAENetwork(files["motion"], span=span, batch=execution.segments, device=execution.device, whole=whole)


def _is_torchvision(name: str, entry: Mapping[str, Any]) -> bool:
    return entry.get("kind") == "torchvision" and entry.get("name") == name


def _is_onnx(entry: Mapping[str, Any]) -> bool:
    return "kind" not in entry


def _is_kind(kind: str, entry: Mapping[str, Any]) -> bool:
    return entry.get("kind") == kind


def _is_i3d(stream: str, entry: Mapping[str, Any]) -> bool:
    return entry.get("kind") == "i3d" and entry.get("stream") == stream


# --- the registries

DETECTORS: "dict[str, NetworkSpec[Detector]]" = {
    name: NetworkSpec(
        partial(_torch_detector, name),
        (WeightSlot("detector", name, ("detector_weights",)),),
        partial(_is_torchvision, name),
        describes_boxes=True,
    )
    for name in DETECTOR_NAMES
} | {
    ".onnx": NetworkSpec(_onnx_detector, (WeightSlot("detector"),), _is_onnx, find=find_onnx_file),
    "hf:": NetworkSpec(
        _hf_detector,
        (WeightSlot("detector"),),
        partial(_is_kind, "transformers"),
        find=find_model_folder,
        takes_words=True,
    ),
}
"""Detectors. In this registry and the next two, ``.onnx`` means every file with this suffix, and ``hf:`` and ``timm:``
every folder, or model of a hub, that is named after it."""

BACKBONES: "dict[str, NetworkSpec[Backbone]]" = {
    name: NetworkSpec(
        partial(_torch_backbone, name),
        (WeightSlot("backbone", name, ("backbone_weights",)),),
        partial(_is_torchvision, name),
    )
    for name in BACKBONE_NAMES
} | {
    ".onnx": NetworkSpec(_onnx_backbone, (WeightSlot("backbone"),), _is_onnx, find=find_onnx_file),
    "hf:": NetworkSpec(
        _hf_backbone, (WeightSlot("backbone"),), partial(_is_kind, "transformers"), find=find_model_folder
    ),
    "timm:": NetworkSpec(_timm_backbone, (WeightSlot("backbone"),), partial(_is_kind, "timm"), find=find_model_folder),
}
"""Image networks."""

_RGB = WeightSlot("i3d_rgb", "i3d_rgb", ("motion_weights",))
_FLOW = WeightSlot("i3d_flow", "i3d_flow", ("flow_weights", "motion_weights"))
_FLOW_OF_TWO = WeightSlot("i3d_flow", "i3d_flow", ("flow_weights",))
_RAFT = WeightSlot(RAFT, RAFT, ("raft_weights",), part="flow")

MOTION: "dict[str, NetworkSpec[MotionNetwork]]" = {
    "s3d": NetworkSpec(_s3d, (WeightSlot("s3d", "s3d", ("motion_weights",)),), partial(_is_kind, "s3d")),
    "i3d": NetworkSpec(partial(_i3d, "rgb"), (_RGB,), partial(_is_i3d, "rgb")),
    "i3d_flow": NetworkSpec(partial(_i3d, "flow"), (_FLOW, _RAFT), partial(_is_i3d, "flow")),
    "i3d_two_stream": NetworkSpec(
        partial(_i3d, "two_stream"), (_RGB, _FLOW_OF_TWO, _RAFT), partial(_is_i3d, "two_stream")
    ),
    "hf:": NetworkSpec(_hf_motion, (WeightSlot("motion"),), partial(_is_kind, "transformers"), find=find_model_folder),
}
"""Networks over segments of consecutive frames."""

SOUND: "dict[str, NetworkSpec[SoundNetwork]]" = {
    "vggish": NetworkSpec(_vggish, (WeightSlot("vggish", "vggish", ("sound_weights",)),), partial(_is_kind, "vggish"))
}
"""Networks over the sound."""

REGISTRIES: Mapping[str, Mapping[str, NetworkSpec[Any]]] = {
    "detector": DETECTORS,
    "backbone": BACKBONES,
    "motion": MOTION,
    "sound": SOUND,
}
"""Each registry by its field in :class:`stg.config.extraction.NetworkConfig`, which is its part of a manifest, too."""

_OTHERS = {
    "detector": "the path of an .onnx file, hf:MODEL (a folder, or owner/name on a hub) or none",
    "backbone": "the path of an .onnx file, hf:MODEL or timm:MODEL (a folder, or owner/name on a hub)",
    "motion": "hf:MODEL (a folder, or owner/name on a hub), none, or the path of an .npz file",
    "sound": "none",
}
"""What else than a name of its registry an option takes."""


def network_spec(kind: str, name: str) -> NetworkSpec[Any]:
    """The network of this name.

    Args:
        kind: a key of :data:`REGISTRIES`.
        name: its name there, or a file.

    Raises:
        UserError: unknown; the known ones are listed.
    """
    registry = REGISTRIES[kind]
    key = _pattern(registry, name) or name
    if key not in registry:
        known = ", ".join([*names_of(registry), _OTHERS[kind]])
        raise UserError(f"{kind} must be one of {known}; got {name!r}{near(name, names_of(registry))}")
    return registry[key]


def network_of(kind: str, entry: Mapping[str, Any]) -> tuple[str, NetworkSpec[Any]] | None:
    """The network that the entry of a manifest is of, with its name; None if it is not known here."""
    for name, spec in REGISTRIES[kind].items():
        if spec.from_manifest(entry) if spec.from_manifest is not None else entry.get("name") == name:
            # What stands for many networks is completed by the name of the file or folder.
            named = {".": str(entry.get("weights")), ":": f"{name}{entry.get('model')}"}
            return named.get(name[0], named.get(name[-1], name)), spec
    return None


def names_of(registry: Iterable[str]) -> list[str]:
    """The names of a registry, without those that stand for many: suffixes of files, beginnings of names."""
    return [name for name in registry if not name.startswith(".") and not name.endswith(":")]


def _pattern(registry: Iterable[str], name: str) -> str | None:
    """The suffix, or the beginning, under which networks like this one are registered."""
    begun = next((key for key in registry if key.endswith(":") and name.startswith(key)), None)
    return begun or next((key for key in registry if key.startswith(".") and name.endswith(key)), None)


def locate(choice: NetworkConfig, *, fetch: bool = False) -> Files:
    """Find all files that the networks of a choice need, at once and without loading torch.

    Args:
        choice: the networks.
        fetch: download published weights that are missing.

    Raises:
        UserError: an unknown network; or files that are missing, all of them, and what to do about each.
    """
    files: dict[str, WeightFile] = {}
    missing: list[str] = []
    # Missing files of all networks are gathered, so that the user can fetch them at once.
    for kind in REGISTRIES:
        name: str = getattr(choice, kind)
        if (name == NONE and kind != "backbone") or (kind == "motion" and name.endswith(".npz")):
            continue
        spec = network_spec(kind, name)
        if spec.find is not None:
            try:
                files[kind] = spec.find(name, kind, fetch)
            except UserError as error:
                missing.append(str(error))
            continue
        for slot in spec.weight_files:
            options = slot.options or (f"{kind}_weights",)
            option = next((option for option in options if getattr(choice, option) is not None), options[-1])
            given: str | None = getattr(choice, option)
            try:
                # A path that is there is taken as it is; anything else names published weights.
                published = given is None or not Path(given).is_file()
                find = download if fetch and published else find_weights
                files[slot.role] = find(slot.network, given)
            except UserError as error:
                fetchable = slot.network in PUBLISHED and not fetch
                missing.append(f"{error} (--{option} FILE{', or --download' if fetchable else ''})")
    if missing:
        raise UserError("; and ".join(missing))
    return files


def execution_for(work: ExecutionConfig, num_frames: int) -> ExecutionSettings:
    """The device at hand, and the batches that suit it; a batch that was asked for holds for all networks."""
    from stg.runtime.device import pick_device

    device = pick_device(work.device)
    cpu = device.type == "cpu"
    # A GPU takes the frames of a whole group at once; a CPU gains nothing from more than those of one clip.
    batch = work.batch or num_frames * (1 if cpu else work.group)
    return ExecutionSettings(
        batch=batch,
        device=str(device),
        threads=work.threads,
        time_limit=work.time_limit,
        detector_batch=work.batch or (2 if cpu else 10),
        segments=max(1, batch // 5) if work.batch else 1 if cpu else MOTION_BATCH,
    )
