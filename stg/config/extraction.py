"""Which frames of a clip are taken, and which networks describe them."""

from dataclasses import dataclass, field
from typing import Literal

from stg.config.plugins import check_name

NONE = "none"
STRIDE = 32
"""Frames that one sampled frame represents (Chen et al., 2019); 16 in Cherian et al., 2020."""

OPTIONS_OF = {
    "scene": "a --backbone",
    "motion": "--motion i3d",
    "objects": "a --detector",
    "grid": "--motion i3d --grid true",
    "audio": "--sound vggish",
}
"""Kind of features -> the options of ``stg.extract`` that make them, for errors that say what is missing."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The frozen networks. Weights are never downloaded unless `download` says so."""

    detector: str = "fasterrcnn_resnet50_fpn_v2"
    """Finds objects: fasterrcnn_resnet50_fpn(_v2), maskrcnn_resnet50_fpn(_v2), fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnext101_fpn (needs your own weights), the path of a YOLOX .onnx file, hf:MODEL (D-FINE, RT-DETR, DETR,
    Grounding DINO, ... as transformers saves them: a folder, or owner/name on a hub; extra `hf`), or none. An ONNX file
    is a program, which may loop or ask for any memory: use those whose source you trust."""
    detector_words: str | None = None
    """What Grounding DINO looks for, with commas: 'a person, a ball'."""
    detector_weights: str | None = None
    """A file, or a name that torchvision gives to published weights (COCO_V1); default: the published ones."""
    backbone: str = "resnet101"
    """Describes frames: resnet101, resnet152, resnext101_32x8d, resnext101_64x4d, the path of an .onnx file that ends
    in a feature map (a JSON file next to it states its preprocessing), hf:MODEL (CLIP, SigLIP, DINOv2, DINOv3, ... as
    transformers saves them) or timm:MODEL; MODEL is a folder, or owner/name on a hub (extra `hf`)."""
    backbone_weights: str | None = None
    """A file, or a name such as IMAGENET1K_V1; default: the published ones."""
    motion: str = NONE
    """Describes all frames: i3d (RGB), i3d_flow, i3d_two_stream, s3d, hf:MODEL (VideoMAE: a folder, or owner/name on a
    hub; extra `hf`), none, or an .npz file of features made elsewhere with clip [V] and feat [V L M]."""
    motion_weights: str | None = None
    """A file (needed by i3d: Kinetics weights under their published names), or a name such as KINETICS400_V1."""
    flow_weights: str | None = None
    """A file with the weights of the flow stream of i3d_two_stream (or of i3d_flow)."""
    raft_weights: str | None = None
    """A file with the weights of RAFT, which computes the optical flow that i3d_flow and i3d_two_stream read."""
    motion_span: int | None = None
    """Frames that one row of motion features covers; default: 16 for networks, 32 for a file."""
    sound: str = NONE
    """Describes the sound: vggish, or none."""
    sound_weights: str | None = None
    """A file with the weights of VGGish, which sound vggish needs."""

    def __post_init__(self) -> None:
        check_name("sound", "sound", self.sound)
        if self.detector_words is not None and not self.words():
            raise ValueError(f"detector_words names what to look for, with commas; got {self.detector_words!r}")
        if self.motion_span is not None and self.motion_span < 1:
            raise ValueError(f"motion_span must be at least 1; got {self.motion_span}")

    def words(self) -> tuple[str, ...]:
        """What the detector looks for."""
        return tuple(word.strip() for word in (self.detector_words or "").split(",") if word.strip())


MOST_FRAMES = 10_000
"""Most frames that are sampled from one clip: all are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Which frames of a clip are read, and what is kept of them."""

    num_frames: int = 10
    """Frames sampled from each clip; with sampling=stride the most frames."""
    sampling: Literal["centres", "linspace", "stride"] = "centres"
    """centres: middle of each of num_frames equal parts; linspace: from the first frame to the last; stride: middle of
    each `stride` frames (a clip that would give more than num_frames is sampled by centres). Parts are equal in frames,
    and where the rate of a clip varies by more than a frame, equal in time."""
    stride: int = STRIDE
    """Frames for which one is sampled, with sampling=stride (32 in VATEX, 16 in STaTS); motion_span of the same value
    gives each sampled frame its own row of motion features."""
    threshold: float = 0.5
    """Least score of an object, in 0..1; 0.5 in the paper, which suits large detectors."""
    max_objects: int = 5
    """Objects kept in each frame, the best (5 in Pan et al.; 10 in STaTS and VATEX)."""
    objects: Literal["auto", "image", "detector", "image+motion"] = "auto"
    """The map that object features are read off: the image network's, the detector's own (Pan et al.), or the image and
    the motion network's together (VATEX). auto: the detector's where it has one, else the image network's."""
    grid: bool = False
    """Keep motion features of all places too, as STaTS needs them (400 kB a segment, held for `group` clips at once;
    clips of more than 1024 segments are skipped)."""
    min_frames: int = 1
    """Clips with fewer readable frames are skipped."""
    max_pixels: int = 2**25
    """Clips with larger pictures (width times height) are skipped before any is decoded."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "stride", "max_objects", "min_frames", "max_pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.num_frames > MOST_FRAMES:
            raise ValueError(f"num_frames must be at most {MOST_FRAMES}; got {self.num_frames}")
        if self.sampling != "stride" and self.stride != STRIDE:
            raise ValueError(f"stride={self.stride} needs sampling=stride; got sampling={self.sampling}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in 0..1; got {self.threshold}")


REFRESH_HELP = (
    "Make the graphs of clips that have been replaced again; clips without a hash in the list of the store are taken "
    "for the same files."
)


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the work is done; nothing here changes a feature (but threads and batch its last bits)."""

    workers: int = 1
    """Processes that decode clips; a crash or a hang costs one clip. 0 decodes in the command's own process."""
    time_limit: float = 600.0
    """Seconds to wait for one clip before it is skipped; and for one pass of an ONNX network, which ends the work."""
    memory_gb: float = 4.0
    """Memory that a decoding process may take, in GiB."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps. ONNX networks run on the CPU."""
    threads: int = 0
    """Threads of the networks; 0 for all cores."""
    batch: int = 0
    """Frames in one pass through the networks, five a segment of motion; 0: what suits the device (num_frames on a CPU,
    where detectors take 2 and motion networks 1 segment, and eight times num_frames on a GPU)."""
    group: int = 4
    """Clips whose frames are batched together."""
    refresh: bool = field(default=False, metadata={"flag": True, "help": REFRESH_HELP})
    download: bool = field(
        default=False, metadata={"flag": True, "help": "Fetch published weights that are not there."}
    )

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "batch"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")
        if self.group < 1:
            raise ValueError(f"group must be at least 1; got {self.group}")
        for name in ("time_limit", "memory_gb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0; got {getattr(self, name)}")


RECURSIVE_HELP = "Search the subfolders of folders, too."


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(NetworkConfig, SamplingConfig, ExecutionConfig):
    """What to extract, with which networks, into which store."""

    clips: tuple[str, ...] = field(
        metadata={"positional": True, "help": "Video files, or folders of them; put -- before names that start with -."}
    )
    out: str
    """The store: made if absent, continued if it was made with the same settings. Under torchrun each process writes a
    shard OUT.rank0of2, ...: join them with stg.store merge."""
    recursive: bool = field(default=False, metadata={"flag": True, "help": RECURSIVE_HELP})
    engine: Literal["local", "ray"] = "local"
    """ray: as a Ray Data job of `workers` actors (needs the extra `ray`)."""
    features_dtype: Literal["float16", "float32"] | None = None
    """How the store keeps features; default: as it does, float16 if it is new."""
    max_skip: float = 0.01
    """Share of the clips that may be skipped, in 0..1; above it the command ends with code 3, all others being done."""
    strict: bool = False
    """Refuse to write on a network file system, where a store can be damaged, instead of warning."""

    def __post_init__(self) -> None:
        for base in (NetworkConfig, SamplingConfig, ExecutionConfig):
            base.__post_init__(self)
        if not 0 <= self.max_skip <= 1:
            raise ValueError(f"max_skip must lie in 0..1; got {self.max_skip}")


IMPORT_AGAIN_HELP = "Make the graphs of videos again whose features have changed, or that have no note of them."


@dataclass(frozen=True)
class ImportConfig:
    """Which features to import, into which store."""

    description: str = field(
        metadata={
            "positional": True,
            "help": "JSON or YAML file that describes the features; put -- before a name that starts with -.",
        }
    )
    out: str
    """The store: made if absent, continued if it was made with the same description."""
    features_dtype: Literal["float16", "float32"] | None = None
    """How the store keeps features; default: as it does, float16 if it is new. Features beyond 65504 need float32."""
    refresh: bool = field(default=False, metadata={"flag": True, "help": IMPORT_AGAIN_HELP})
    download: bool = field(
        default=False, metadata={"flag": True, "help": "Fetch the backbone that DESCRIPTION names, if it is not here."}
    )
    max_skip: float = 0.01
    """Share of videos that may be skipped, in 0..1; above it the command ends with code 3, the others being done."""
    strict: bool = False
    """Refuse to write on a network file system, where a store can be damaged, instead of warning."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_skip <= 1:
            raise ValueError(f"max_skip must lie in 0..1; got {self.max_skip}")
