"""From settings to an extractor."""

from dataclasses import replace
from typing import Any

from stg.config.extraction import NONE, NetworkConfig, SamplingConfig
from stg.features.extractor import Extractor
from stg.features.precomputed.motion_table import SPAN as TABLE_SPAN
from stg.features.precomputed.motion_table import MotionFeatures
from stg.runtime.errors import UserError
from stg.vision.registry import DETECTORS, ExecutionSettings, Files, network_spec

SPAN = 16
"""Frames of a segment (Pan et al., 2020; Cherian et al., 2020); 32 in Chen et al., 2019."""

MIN_SCORE = 0.05
"""Boxes with a lower score, or below the threshold if that is lower still, are dropped before the suppression."""


def make_extractor(
    choice: NetworkConfig, sampling: SamplingConfig, execution: ExecutionSettings, files: Files
) -> tuple[Extractor, MotionFeatures | None]:
    """The networks of a choice, ready to work; and the motion features, where these come from a file.

    Raises:
        UserError: networks or settings that do not go together, or files that are not of their networks.
    """
    finder = network_spec("detector", choice.detector) if choice.detector != NONE else None
    describes_boxes = finder is not None and finder.describes_boxes
    if choice.words() and (finder is None or not finder.takes_words):
        raise UserError(f"--detector_words needs a detector that takes words, such as hf:MODEL; got {choice.detector}")
    if sampling.objects == "detector" and not describes_boxes:
        able = ", ".join(name for name, spec in DETECTORS.items() if spec.describes_boxes)
        raise UserError(f"--objects detector needs one of {able}; got --detector {choice.detector}: use image")
    # Pan et al. read objects off the detector's own map, which not every detector shows.
    objects = sampling.objects
    if objects == "auto":
        objects = "detector" if describes_boxes else "image"

    def make(kind: str, name: str, **settings: Any) -> Any:
        return None if name == NONE else network_spec(kind, name).build(files, execution, **settings)

    # A table of motion features is joined to the frames when they are stored, not by a network.
    from_table = choice.motion.endswith(".npz")
    extractor = Extractor(
        make(
            "detector",
            choice.detector,
            min_score=min(MIN_SCORE, sampling.threshold),
            features=sampling.objects in ("auto", "detector"),
            **({"words": choice.words()} if choice.words() else {}),
        ),
        make("backbone", choice.backbone, objects=choice.detector != NONE and objects != "detector"),
        replace(sampling, objects=objects),
        motion=make(
            "motion",
            NONE if from_table else choice.motion,
            span=choice.motion_span or SPAN,
            whole=objects == "image+motion",
        ),
        sound=make("sound", choice.sound),
    )
    _load(extractor.detector, extractor.backbone)
    return extractor, MotionFeatures(choice.motion, choice.motion_span or TABLE_SPAN) if from_table else None


def _load(*networks: object) -> None:
    """Read the weights that are else read at first use, so that no store is begun with files that do not fit."""
    for network in networks:
        getattr(network, "network", None)
