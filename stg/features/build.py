"""From settings to an extractor."""

from stg.config.extraction import NetworkConfig, SamplingConfig
from stg.features.extractor import Extractor
from stg.features.precomputed.motion_table import SPAN as FILE_SPAN
from stg.features.precomputed.motion_table import MotionFeatures
from stg.runtime.errors import UserError
from stg.vision.registry import ExecutionSettings, Files, _backbone, _detector, _motion, _sound
from stg.vision.weights import DETECTORS


def make_extractor(
    choice: NetworkConfig, sampling: SamplingConfig, running: ExecutionSettings, files: Files
) -> tuple[Extractor, MotionFeatures | None]:
    """The networks of a choice, ready to work; and the motion features, where these come from a file."""

    if sampling.objects == "detector" and choice.detector not in DETECTORS:
        raise UserError(
            f"--objects detector needs one of {', '.join(DETECTORS)}; got --detector {choice.detector}: use image"
        )
    detector = _detector(choice.detector, files, running, sampling)
    objects = sampling.objects
    if objects == "auto":
        objects = "detector" if choice.detector in DETECTORS else "image"
    ready = choice.motion.endswith(".npz")
    extractor = Extractor(
        detector,
        _backbone(choice.backbone, files, running, objects=detector is not None and objects != "detector"),
        num_frames=sampling.num_frames,
        threshold=sampling.threshold,
        max_objects=sampling.max_objects,
        sampling=sampling.sampling,
        stride=sampling.stride,
        objects=objects,
        motion=_motion(choice, files, running, whole=objects == "image+motion"),
        sound=_sound(files, running) if choice.sound == "vggish" else None,
        grid=sampling.grid,
    )
    _load(extractor.detector, extractor.backbone)
    return extractor, MotionFeatures(choice.motion, choice.motion_span or FILE_SPAN) if ready else None


def _load(*networks: object) -> None:
    """Read the weights that are else read at first use, so that no store is begun with files that do not fit."""
    for network in networks:
        getattr(network, "network", None)
