"""The reliability of a model's confidence, before and after calibration, as a chart for each search."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from stg.pages.run.charts import Chart, Series, draw
from stg.runs.calibration import Calibration, Curve

GREY = 5
"""Style of the line on which confidence means what it says."""


def reliability_charts(calibrations: Iterable[Calibration]) -> tuple[Chart, ...]:
    """How many captions of a confidence are right, as `stg.evaluate` recorded it of validation videos."""
    return tuple(_chart(one) for one in calibrations)


def _chart(one: Calibration) -> Chart:
    ends = np.array([0.0, 1.0])
    series = [
        _series("before calibration", one.before),
        _series("after", one.after),
        Series("confidence that means what it says", ends, ends),
    ]
    chart = draw(
        f"Captions that are right, {one.search}",
        series,
        x_name="confidence",
        note=f"{100 * one.right:.0f} % of {one.videos} validation captions are right.",
    )
    assert chart is not None  # the straight line is there
    errors = [f"error {curve.error:.3f}" for curve in (one.before, one.after)]
    lines = [replace(line, last=last) for line, last in zip(chart.lines, [*errors, ""], strict=True)]
    about = f"{chart.title}, against confidence: before calibration {errors[0]}, after {errors[1]}."
    return replace(chart, lines=(*lines[:2], replace(lines[2], style=GREY)), about=about)


def _series(name: str, curve: Curve) -> Series:
    parts = zip(curve.confidence, curve.right, curve.captions, strict=True)
    hints = tuple(f"{count} captions, confidence {mean:.2f}: {100 * share:.0f} % right" for mean, share, count in parts)
    return Series(name, np.array(curve.confidence), np.array(curve.right), hints)
