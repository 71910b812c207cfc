"""The curves of a run: loss and its parts, rewards, scores of validation, gradient norm; and the same as numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from stg.metrics.columns import CAPTIONS, HEADINGS
from stg.pages.run.charts import MOST_POINTS, Chart, Series, draw
from stg.pages.run.record import RunRecord
from stg.pages.run.views import Grid
from stg.runtime.reading import counted, number

REWARDS = ("reward", "baseline")
MOST_ROWS = 60


def curves(run: RunRecord) -> tuple[Chart, ...]:
    """The charts that a run has values for; the best epoch is marked in each."""
    when = Clock(run)
    marks = [] if run.best is None else [(when(run.best["step"]), f"best: {when.named(run.best)}")]
    loss = run.steps.get("loss")
    parts = [name for name in run.steps if name not in ("step", "epoch", "norm", *REWARDS)]
    # A single part is the loss itself.
    parts = [name for name in parts if name == "loss" or loss is None or not _same(run.steps[name], loss)]
    # The loss itself first, whatever the order in which it is logged.
    parts.sort(key=lambda name: name != "loss")
    made = [
        draw(
            "Training loss and its parts" if len(parts) > 1 else "Training loss",
            _steps(run, when, parts),
            x_name=when.name,
            marks=marks,
            crosses=[(when(step), hint) for step, hint in run.broken],
            note=_smoothed(run),
        ),
        draw("Reward of drawn captions", _steps(run, when, REWARDS), x_name=when.name, marks=marks),
        _scores(run, when, ("cider",), "Validation, CIDEr", marks),
        _scores(run, when, ("bleu4", "meteor", "rouge"), "Validation, other scores", marks),
        draw(
            "Gradient norm",
            _steps(run, when, ["norm"]),
            x_name=when.name,
            marks=marks,
            # In one run the norm spans several powers of ten.
            logarithmic=True,
            note="Before clipping; powers of ten go up evenly.",
        ),
    ]
    return tuple(chart for chart in made if chart is not None)


def numbers(run: RunRecord) -> Grid | None:
    """The validations as a table, at most ``MOST_ROWS`` of them, the best and the last among them."""
    rows = run.validations
    if not rows:
        return None
    when = Clock(run)
    # Spread evenly over the run: what happened late must be seen as well as the beginning.
    kept = (
        set((np.arange(MOST_ROWS) * len(rows) // MOST_ROWS).tolist())
        if len(rows) > MOST_ROWS
        else set(range(len(rows)))
    )
    kept |= {len(rows) - 1, *(place for place, row in enumerate(rows) if row is run.best)}
    scores = [name for name in CAPTIONS if any(name in row for row in rows)]
    # Numbered as rows of the table, not of the log.
    strong = [place for place, number_of in enumerate(sorted(kept)) if rows[number_of] is run.best]
    lines = [
        (
            when.named(row, short=True),
            str(row["step"]),
            decimal(row.get("loss")),
            *(decimal(row.get(name)) for name in scores),
            str(row.get("broken_endings", "-")),
        )
        for row in (rows[place] for place in sorted(kept))
    ]
    return Grid(
        title="Validations",
        heads=("epoch", "step", "mean loss", *(HEADINGS[name] for name in scores), "broken endings"),
        rows=tuple(lines),
        strong=tuple(strong),
        note="In bold the best epoch, whose weights were kept."
        + (f" {len(kept)} of {len(rows)} validations are listed." if len(kept) < len(rows) else ""),
    )


def decimal(value: object) -> str:
    """Three decimals, or a dash for what is not a finite number."""
    known = number(value)
    return "-" if known is None else f"{known:.3f}"


class Clock:
    """From steps to epochs done, by the steps at which validations followed an epoch.

    A run without any validation yet is counted in steps.
    """

    def __init__(self, run: RunRecord) -> None:
        known = {0.0: 0.0}
        for row in run.validations:
            if (epoch := number(row.get("epoch"))) is not None:
                known[float(row["step"])] = epoch + 1
        self._steps, self._epochs = (
            np.array(values, dtype=float) for values in zip(*sorted(known.items()), strict=True)
        )
        self.name = "epochs done" if self._epochs[-1] > 0 else "steps"

    def __call__(self, step: int | float) -> float:
        """Epochs done at a step."""
        return float(self.of(np.array([float(step)]))[0])

    def of(self, steps: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        """The same for many; what comes after the last validation continues as fast as before it."""
        if self.name == "steps":
            return steps
        pace = (self._epochs[-1] - self._epochs[-2]) / max(self._steps[-1] - self._steps[-2], 1.0)
        beyond = np.maximum(steps - self._steps[-1], 0) * pace
        return np.interp(steps, self._steps, self._epochs) + beyond

    @staticmethod
    def named(row: Any, short: bool = False) -> str:
        """The epoch of a validation, as `stg.fit` prints it."""
        epoch = number(row.get("epoch"))
        if epoch is None:
            return "-" if short else f"step {row['step']}"
        if epoch < 0:
            return "start" if short else "at the start"
        return f"{epoch + 1:g}" if short else f"epoch {epoch + 1:g}"


def _steps(run: RunRecord, when: Clock, names: Sequence[str]) -> list[Series]:
    there = [name for name in names if name in run.steps]
    return [Series(name.replace("_", " "), when.of(run.steps["step"]), run.steps[name]) for name in there]


def _scores(
    run: RunRecord, when: Clock, names: Sequence[str], title: str, marks: Sequence[tuple[float, str]]
) -> Chart | None:
    rows = run.validations
    x = when.of(np.array([float(row["step"]) for row in rows]))
    series = []
    for name in names:
        y = np.array([np.nan if (value := number(row.get(name))) is None else value for row in rows])
        hints = tuple(f"{HEADINGS[name]} {value:.3f}, {when.named(row)}" for row, value in zip(rows, y, strict=True))
        series.append(Series(HEADINGS[name], x, y, hints))
    return draw(title, series, x_name=when.name, marks=marks)


def _same(one: Float[np.ndarray, " P"], other: Float[np.ndarray, " P"]) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def _smoothed(run: RunRecord) -> str:
    count = len(run.steps.get("step", ()))
    note = ""
    if count > MOST_POINTS:
        note = f"Lines: means over about {count / MOST_POINTS:.0f} steps; shade: from the least to the greatest."
    if run.broken:
        broken = counted(len(run.broken), "step", "was", "were")
        note += f" {broken} not applied (crosses): loss or gradient was not finite."
    return note.strip()
