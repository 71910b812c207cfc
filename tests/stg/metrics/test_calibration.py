"""Reliability, calibration error and Platt scaling, against references written from their definitions in float64."""

import math

import numpy as np
import pytest
from scipy.optimize import brute

from stg.metrics.calibration import Bin, calibration_error, cross_fitted, fit_platt, probability, reliability


def drawn(n: int = 400, slope: float = 1.5, intercept: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores such as log-probabilities, and captions that are right as a logistic curve of them has it."""
    rng = np.random.default_rng(0)
    scores = rng.normal(-5.0, 1.5, n)
    return scores, rng.random(n) < 1 / (1 + np.exp(-(slope * scores + intercept)))


def slow_error(confidence: list[float], right: list[bool], bins: int) -> float:
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    sizes = [len(order) // bins + (k < len(order) % bins) for k in range(bins)]
    total, at = 0.0, 0
    for size in sizes:
        part, at = order[at : at + size], at + size
        gap = math.fsum(right[i] for i in part) / size - math.fsum(confidence[i] for i in part) / size
        total += size / len(order) * abs(gap)
    return total


def test_the_error_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    for n, bins in ((1, 10), (7, 3), (103, 10)):
        confidence, right = rng.random(n), rng.random(n) < 0.4
        expected = slow_error(confidence.tolist(), right.tolist(), min(bins, n))
        assert calibration_error(reliability(confidence, right, bins)) == pytest.approx(expected, abs=1e-15)


def test_a_curve_by_hand() -> None:
    curve = reliability(np.array([0.9, 0.1, 0.8, 0.3]), np.array([True, False, False, True]), bins=2)
    assert curve == [Bin(0.2, 0.5, 2), Bin((0.9 + 0.8) / 2, 0.5, 2)]
    assert calibration_error(curve) == pytest.approx((2 * 0.3 + 2 * 0.35) / 4)
    with pytest.raises(ValueError, match="got no captions: a curve needs at least one"):
        reliability(np.array([]), np.array([], bool))


def test_platt_scaling_has_the_largest_likelihood() -> None:
    scores, right = drawn()
    slope, intercept = fit_platt(scores, right)
    positive, negative = right.sum(), (~right).sum()
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(weights: np.ndarray) -> float:
        logits = weights[0] * scores + weights[1]
        return float((np.logaddexp(0, logits) - target * logits).sum())

    found = brute(loss, ((0.5, 3), (0, 12)), Ns=40)  # a grid, then Nelder and Mead: another way to the same place
    assert [slope, intercept] == pytest.approx(found.tolist(), abs=2e-3)
    # The curve from which they were drawn.
    assert slope == pytest.approx(1.5, abs=0.35)
    assert probability(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]


def test_what_tells_nothing_gets_one_chance() -> None:
    scores, right = drawn()
    slope, intercept = fit_platt(-scores, right)
    assert slope == 0
    assert probability(np.array([intercept]))[0] == pytest.approx(right.mean(), abs=0.005)
    # All right, or all of one score: no division by nothing, and no certainty.
    for scores, right in ((np.arange(5.0), np.ones(5, bool)), (np.zeros(5), np.arange(5) < 2)):
        slope, intercept = fit_platt(scores, right)
        assert 0 < probability(slope * scores + intercept).max() < 1


def test_calibration_shrinks_the_error_on_captions_that_were_not_fitted() -> None:
    scores, right = drawn()
    overconfident = probability(0.2 * scores + 3)
    before = calibration_error(reliability(overconfident, right))
    chances = cross_fitted(scores, right)
    assert before > 0.25
    assert calibration_error(reliability(chances, right)) < 0.07
    # Each by a fit to the others: another outcome of caption 3 does not change its own chance.
    other = right.copy()
    other[3] = not other[3]
    again = cross_fitted(scores, other)
    assert again[3] == chances[3]
    assert again[4] != chances[4]
