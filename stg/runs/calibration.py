"""What a model's confidence is worth: the chance that a caption is right, and whether a clip is like the training data.

Fitted to validation captions (`stg.evaluation.calibrating`), kept next to their scores and in the header of a shipped
model. Imports no torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stg.config.data import ALL
from stg.config.schema import from_dict
from stg.runs.evaluations import file_stem
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.runtime.reading import read_json

Level = Literal["high", "middle", "low"]

HIGH, LOW = 0.5, 0.25
"""Chance of being right from which confidence is high, and below which it is low."""

SUFFIX = "-calibration.json"
"""End of the name of its file, which :func:`calibration_file` makes."""


@dataclass(frozen=True)
class Curve:
    """A reliability curve (`stg.metrics.calibration`): mean confidence of each bin, share of right captions, captions.

    Args:
        error: expected calibration error.
    """

    confidence: tuple[float, ...]
    right: tuple[float, ...]
    captions: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class Calibration:
    r"""How the captions of one search are calibrated: :math:`P(\mathrm{right}) = \sigma(\mathrm{slope} \cdot
    \log p + \mathrm{intercept})`, with the log-probability of the whole caption.

    Args:
        search: as `stg.evaluate` calls it: ``beam 5``.
        model: SHA-256 of the model's file.
        videos: how many validation captions it was fitted to.
        right: the share of them that are right.
        slope, intercept: of the curve.
        before, after: reliability of the geometric mean of the words' probabilities, and of the calibrated chance, each
            caption by a fit to others.
        feature: of which features distances are taken, by their name in a batch; empty: of none.
        mean, deviation: of these features, averaged over each validation video, ``[D]``.
        farthest: distance that one validation video in a hundred exceeds, by mean and deviation of the others.

    Raises:
        ValueError: numbers that cannot be.
    """

    search: str
    model: str
    videos: int
    right: float
    slope: float
    intercept: float
    before: Curve
    after: Curve
    feature: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    farthest: float = 0.0

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or not all(value > 0 for value in self.deviation):
            raise ValueError("a calibration needs a mean and a deviation above 0 for each feature")

    def chance(self, log_prob: float) -> float:
        """The chance that a caption of this log-probability is right, in 0..1."""
        logit = self.slope * log_prob + self.intercept
        # Without overflow for captions of many words.
        return math.exp(-math.log1p(math.exp(-abs(logit)))) * (1.0 if logit >= 0 else math.exp(-abs(logit)))

    def distance(self, features: Sequence[float]) -> float:
        """How far the features of a clip, averaged over it, lie from those of the validation videos; about 1 for these.

        The root of the mean squared deviation in units of the validation videos' own.
        """
        parts = zip(features, self.mean, self.deviation, strict=True)
        return math.sqrt(math.fsum(((value - mean) / spread) ** 2 for value, mean, spread in parts) / len(self.mean))


def level(chance: float) -> Level:
    """A chance in a word: high, where a caption is right more often than not; low, where at most one in four is."""
    return "high" if chance >= HIGH else "low" if chance < LOW else "middle"


def calibration_file(folder: Path, search: str) -> Path:
    """Where in the folder of its evaluations the calibration of a search lies; search as in ``beam 5, no class``."""
    return folder / f"{file_stem('val', search)}{SUFFIX}"


def read_calibration(path: Path) -> Calibration:
    """What `stg.evaluate` kept of a search.

    Raises:
        UserError: the file is something else.
    """
    try:
        return from_dict(Calibration, read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not what stg.evaluate writes: evaluate the run's val again ({error})") from error


def run_calibrations(model: Path) -> tuple[dict[str, Calibration], list[str]]:
    """Search -> calibration of a model in a run folder, and what there is to say of calibrations of other weights.

    Raises:
        UserError: a file is not what `stg.evaluate` writes.
    """
    evaluation = model.parent / "evaluation"
    # Of a run that has learned from several data sets, what was fitted to all speaks for any clip: it comes last.
    paths = [path for folder in (evaluation, evaluation / ALL) for path in sorted(folder.glob(f"val-*{SUFFIX}"))]
    digest = sha256_file(model) if paths and model.exists() else ""
    found = [read_calibration(path) for path in paths]
    of_this = {one.search: one for one in found if one.model == digest}
    if all(one.model == digest for one in found):
        return of_this, []
    return of_this, [
        f"the calibration in {model.parent} is of other weights: python -m stg.evaluate {model.parent} makes a new one"
    ]
