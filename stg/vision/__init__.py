"""Frozen networks."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.vision.backbones import Backbone
    from stg.vision.detectors import ArrayDetector, Detector
    from stg.vision.motion import MotionNetwork
    from stg.vision.registry import BACKBONES, DETECTORS, MOTION, SOUND, NetworkSpec, WeightSlot
    from stg.vision.vggish import SoundNetwork
    from stg.vision.weights import WeightFile

__all__ = [
    "BACKBONES",
    "DETECTORS",
    "MOTION",
    "SOUND",
    "ArrayDetector",
    "Backbone",
    "Detector",
    "MotionNetwork",
    "NetworkSpec",
    "SoundNetwork",
    "WeightFile",
    "WeightSlot",
]

__getattr__ = lazy_names(
    __name__,
    backbones="Backbone",
    detectors="ArrayDetector Detector",
    motion="MotionNetwork",
    registry="BACKBONES DETECTORS MOTION SOUND NetworkSpec WeightSlot",
    vggish="SoundNetwork",
    weights="WeightFile",
)
