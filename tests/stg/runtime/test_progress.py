"""What bars show on terminals of several widths."""

import io
import re

import pytest
from rich.console import Console

from stg.runtime.progress import ConsoleReporter


def last_lines(width: int) -> list[str]:
    """The two lines of the training bar after forty steps, a second each, in the third of twenty epochs."""
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, color_system=None)
    clock = iter(range(10**6))
    console.get_time = lambda: float(now[0])  # type: ignore[method-assign]
    now = [0.0]
    with ConsoleReporter(console).training_bar(20) as show:
        for batch in range(1, 41):
            now[0] = float(next(clock))
            show(2, batch, 140, {"loss": 3.2, "scene": 2.1, "object": 1.2, "kl": 0.3})
    lines = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]|\r", "\n", text.getvalue()).split("\n")
    return [next(line for line in reversed(lines) if name in line) for name in ("epoch 3/20", "all epochs")]


def test_each_epoch_has_times_of_its_own() -> None:
    text, now = io.StringIO(), [0.0]
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    console.get_time = lambda: now[0]  # type: ignore[method-assign]
    with ConsoleReporter(console).training_bar(2) as show:
        for epoch in range(2):
            for batch in range(1, (100, 41)[epoch] + 1):
                now[0] += 1.0
                show(epoch, batch, 100, {})
    lines = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]|\r", "\n", text.getvalue()).split("\n")
    line = next(line for line in reversed(lines) if "epoch 2/2" in line)
    # A step a second: 40 seconds since the first of this epoch, and about 59 to go.
    assert re.search(r"41/100 +0:00:4\d 0:0[01]:[05]\d", line)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_count_elapsed_and_remaining_stay_and_the_note_gives_way(width: int) -> None:
    epoch, run = last_lines(width)
    assert max(len(epoch), len(run)) <= width
    assert re.search(r"40/140 +0:00:\d\d 0:01:\d\d", epoch)
    # A step a second, and 2,480 of them are left: the end of the whole run is told.
    assert re.search(r"320/2800 +0:00:\d\d 0:4[01]:\d\d", run)
    assert ("kl 0.300" in epoch) == (width == 120)
