"""Frozen networks. Names are resolved when they are used: importing this package imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stg.vision.backbones import Backbone
    from stg.vision.detectors import Detector
    from stg.vision.motion import MotionNetwork
    from stg.vision.registry import BACKBONES, DETECTORS, MOTION, SOUND, NetworkSpec, WeightSlot
    from stg.vision.vggish import SoundNetwork
    from stg.vision.weights import WeightFile

__all__ = [
    "BACKBONES",
    "DETECTORS",
    "MOTION",
    "SOUND",
    "Backbone",
    "Detector",
    "MotionNetwork",
    "NetworkSpec",
    "SoundNetwork",
    "WeightFile",
    "WeightSlot",
]

_HOMES = {
    "Backbone": "backbones",
    "Detector": "detectors",
    "MotionNetwork": "motion",
    "SoundNetwork": "vggish",
    "WeightFile": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"stg.vision.{_HOMES.get(name, 'registry')}"), name)
