"""How often captions of a given confidence are right: reliability curves, calibration error, Platt scaling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.optimize import minimize

BINS = 10
"""Of a reliability curve, each with as many captions."""

FOLDS = 10


@dataclass(frozen=True)
class Bin:
    """Captions of about one confidence.

    Args:
        confidence: their mean.
        right: the share of them that are right.
        captions: how many they are.
    """

    confidence: float
    right: float
    captions: int


def reliability(
    confidence: Float64[ndarray, " n"], right: Bool[ndarray, " n"], bins: int = BINS
) -> list[Bin]:  # fmt: skip
    """The reliability curve: captions in the order of their confidence, in bins of (nearly) equal size.

    Bins of equal size, not of equal width (Nixon et al., 2019): confidences crowd together, and a bin of three captions
    says nothing. Captions of the same confidence may be parted.

    Args:
        confidence: of each caption, in 0..1.
        right: whether each is right.

    Raises:
        ValueError: no captions.
    """
    if not len(right):
        raise ValueError("got no captions: a curve needs at least one")
    order = np.argsort(confidence, kind="stable")
    return [
        Bin(float(confidence[part].mean()), float(right[part].mean()), len(part))
        for part in np.array_split(order, min(bins, len(order)))
    ]


def calibration_error(curve: Sequence[Bin]) -> float:
    r"""The expected calibration error (Naeini et al., 2015; Guo et al., 2017) of a reliability curve, in 0..1.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} |\mathrm{right}_b - \mathrm{confidence}_b|
    """
    total = sum(part.captions for part in curve)
    return sum(part.captions * abs(part.right - part.confidence) for part in curve) / total


def fit_platt(scores: Float64[ndarray, " n"], right: Bool[ndarray, " n"]) -> tuple[float, float]:
    r"""Platt scaling (Platt, 1999): :math:`P(\mathrm{right}) = \sigma(a s + b)`, fitted by likelihood.

    Two numbers, as a few hundred validation captions bear no more: isotonic regression overfits below a thousand
    (Niculescu-Mizil and Caruana, 2005). The targets are Platt's, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), so that scores
    which separate all captions do not become certainty. A falling curve would call the surer caption the worse one:
    there the slope is 0, and all captions get the same probability.

    Args:
        scores: of each caption, the larger the surer.

    Returns:
        ``a >= 0`` and ``b``.
    """
    positive, negative = int(right.sum()), int((~right).sum())
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    mean, deviation = scores.mean(), scores.std() or 1.0
    standard = (scores - mean) / deviation

    def loss(weights: Float64[ndarray, " 2"]) -> tuple[float, Float64[ndarray, " 2"]]:
        logits = weights[0] * standard + weights[1]
        slope = probability(logits) - target
        value = np.logaddexp(0, logits) - target * logits
        return float(value.mean()), np.array([(slope * standard).mean(), slope.mean()])

    start = np.array([0.0, np.log(target.mean() / (1 - target.mean()))])
    found = minimize(loss, start, jac=True, bounds=[(0, None), (None, None)], options={"ftol": 1e-14, "gtol": 1e-10}).x
    return float(found[0] / deviation), float(found[1] - found[0] * mean / deviation)


def probability(logits: Float64[ndarray, "*any"]) -> Float64[ndarray, "*any"]:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -logits))


def cross_fitted(
    scores: Float64[ndarray, " n"], right: Bool[ndarray, " n"], folds: int = FOLDS
) -> Float64[ndarray, " n"]:
    """The calibrated confidence of each caption by a fit to the others: what a fit to all promises of new clips.

    Args:
        scores, right: as :func:`fit_platt`; caption i is in fold i modulo ``folds``.
    """
    fold = np.arange(len(scores)) % min(folds, len(scores))
    found = np.empty(len(scores))
    for each in np.unique(fold):
        inside = fold == each
        slope, intercept = fit_platt(scores[~inside], right[~inside])
        found[inside] = probability(slope * scores[inside] + intercept)
    return found
