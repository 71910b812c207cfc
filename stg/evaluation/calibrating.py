"""Calibrate the confidence of captions on validation videos, and measure how well it is calibrated on others.

A caption counts as right where each of its content words stands in a reference of its video (`stg.text.support`): what
it says has been said by a person who saw the video. CIDEr above a threshold asks for the common wording too, and half
of the captions of people fail it by definition; this asks for what a reader of one caption wants to know. With few
references it is strict.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy import ndarray

from stg.config.schema import from_dict
from stg.data.batches import BatchSource
from stg.metrics.calibration import calibration_error, cross_fitted, fit_platt, reliability
from stg.models.captioner import Captioner
from stg.models.feature_kinds import clip_feature, clip_means
from stg.models.generation import Caption
from stg.runs.calibration import Calibration, Curve
from stg.runtime.files import write_atomic
from stg.text.support import is_borne_out
from stg.text.tagging import LexiconTagger
from stg.text.tokenizer import tokenize_captions

LEAST = 20
"""Validation captions below which nothing is calibrated."""

FARTHEST = 0.99
"""Share of validation videos that are nearer than what counts as far."""


def right_captions(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Bool[ndarray, " videos"]:
    """Whether each caption is right: every content word stands in a reference of its video."""
    tagger, said = LexiconTagger(), tokenize_captions({video: [text] for video, text in captions.items()})
    # Of the scored videos alone, and each once.
    written = tokenize_captions({video: references[video] for video in captions})
    return np.array(
        [
            is_borne_out(said[video][0].split(), [text.split() for text in written[video]], tagger)
            for video in captions
        ]
    )  # fmt: skip


def calibrate(
    found: Mapping[str, Caption],
    references: Mapping[str, Sequence[str]],
    *,
    search: str,
    model: str,
    features: Float64[ndarray, "videos D"] | None = None,
    feature: str = "",
) -> Calibration | None:
    """Fit the calibration of a search to its captions of validation videos; None where these are too few.

    Args:
        found: the caption of each video.
        references: captions of people.
        search, model: as :class:`stg.runs.calibration.Calibration` keeps them.
        features: of each video, averaged over it, in the order of ``found``; None: without distances.
        feature: their name in a batch.
    """
    if len(found) < LEAST:
        return None
    right = right_captions({video: caption.text for video, caption in found.items()}, references)
    scores = np.array([caption.log_prob for caption in found.values()])
    slope, intercept = fit_platt(scores, right)
    distances: dict[str, Any] = {} if features is None else {"feature": feature, **_distances(features)}
    values = {
        "search": search,
        "model": model,
        "videos": len(found),
        "right": float(right.mean()),
        "slope": slope,
        "intercept": intercept,
        "before": asdict(_curve(np.array([caption.confidence for caption in found.values()]), right)),
        "after": asdict(_curve(cross_fitted(scores, right), right)),
        **distances,
    }
    return from_dict(Calibration, _rounded(values))


def measure(
    calibration: Calibration, found: Mapping[str, Caption], references: Mapping[str, Sequence[str]]
) -> tuple[Curve, Curve]:
    """Reliability of captions of other videos than those calibrated on, before and after calibration."""
    right = right_captions({video: caption.text for video, caption in found.items()}, references)
    chances = np.array([calibration.chance(caption.log_prob) for caption in found.values()])
    return _curve(np.array([caption.confidence for caption in found.values()]), right), _curve(chances, right)


def read_features(
    model: Captioner, source: BatchSource, videos: Sequence[str], *, batch_videos: int = 64
) -> tuple[str, Float64[ndarray, "videos D"]] | None:
    """The features of each video that distances are taken of, averaged over it; None where the model reads none."""
    name = clip_feature(model.reads)
    if name is None:
        return None
    with torch.inference_mode():
        blocks = [
            clip_means(source.batch(videos[at : at + batch_videos]), name)
            for at in range(0, len(videos), batch_videos)
        ]  # fmt: skip
    return name, torch.cat(blocks).double().numpy()


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write it where `stg.runs.calibration.run_calibrations` finds it."""
    write_atomic(path, json.dumps(asdict(calibration)))


def _curve(confidence: Float64[ndarray, " n"], right: Bool[ndarray, " n"]) -> Curve:
    bins = reliability(confidence, right)
    columns = zip(*((part.confidence, part.right, part.captions) for part in bins), strict=True)
    means, shares, captions = map(tuple, columns)
    return Curve(means, shares, captions, calibration_error(bins))


def _distances(features: Float64[ndarray, "videos D"], folds: int = 10) -> dict[str, Any]:
    """Mean, deviation, and the distance that few videos exceed by the mean and deviation of the others."""
    fold = np.arange(len(features)) % folds
    apart = np.empty(len(features))
    for each in range(folds):
        mean, deviation = _statistics(features[fold != each])
        apart[fold == each] = np.sqrt((((features[fold == each] - mean) / deviation) ** 2).mean(1))
    mean, deviation = _statistics(features)
    farthest = float(np.quantile(apart, FARTHEST, method="higher"))
    return {"mean": tuple(mean.tolist()), "deviation": tuple(deviation.tolist()), "farthest": farthest}


def _statistics(features: Float64[ndarray, "videos D"]) -> tuple[Float64[ndarray, " D"], Float64[ndarray, " D"]]:
    deviation = features.std(0)
    # What hardly varies would find every other clip far away, as in `Standardise`.
    return features.mean(0), np.maximum(np.maximum(deviation, 0.01 * deviation.mean()), 1e-6)


def _rounded(value: Any) -> Any:
    """Six digits are enough, and keep the header of a model small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, tuple | list):
        return tuple(map(_rounded, value))
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value
