"""How benchmarks measure, on a clock that is made up: nothing here takes a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import timing
from benchmarks.timing import bar, growth, measure, quartiles, write


class Clock:
    """Seconds that pass only when a rival works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def rival(self, name: str, seconds: Iterator[float]):
        def run() -> None:
            self.calls.append(name)
            self.now += next(seconds)

        return run


def test_rivals_take_turns_and_warm_up_counts_for_nothing() -> None:
    clock = Clock()
    slow, fast = iter([100.0, 100.0, 1, 2, 3, 4, 5, 6, 7]), iter([50.0, 50.0] + [0.001] * 7)
    times = measure({"slow": clock.rival("slow", slow), "fast": clock.rival("fast", fast)}, repetitions=7, clock=clock)
    assert clock.calls == ["slow"] * 2 + ["fast"] * 2 + ["slow", "fast"] * 7
    assert times["slow"] == {"low": 2500.0, "median": 4000.0, "high": 5500.0, "runs": 7}
    assert times["fast"]["median"] == 1.0


def test_of_what_takes_long_few_runs_are_made() -> None:
    clock = Clock()
    # Whether it takes long is settled after the first turns.
    long, once = iter([5.0, 9.0, 7.0]), iter([60.0, 4.9, 60.0, 60.0, 60.0, 60.0, 60.0])
    rivals = {
        "long": clock.rival("long", long),
        "once": clock.rival("once", once),
        "short": clock.rival("short", iter([1.0] * 7)),
    }
    times = measure(rivals, repetitions=7, warm_up=0, clock=clock)
    assert [clock.calls.count(name) for name in rivals] == [3, 7, 7]
    assert times["long"] == {"low": 6000.0, "median": 7000.0, "high": 8000.0, "runs": 3}
    clock = Clock()
    measure({"long": clock.rival("long", iter([5.0] * 7))}, repetitions=7, warm_up=0, few=7, clock=clock)
    assert len(clock.calls) == 7


def test_measuring_uses_one_thread_and_puts_the_number_back() -> None:
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        measure({"a": lambda: seen.append(torch.get_num_threads())}, repetitions=7, warm_up=0, clock=Clock())
        assert torch.get_num_threads() == 2

        def broken() -> None:
            raise RuntimeError("a rival broke")

        with pytest.raises(RuntimeError, match="a rival broke"):
            measure({"a": broken}, clock=Clock())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_fewer_repetitions_than_quartiles_need_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 7 repetitions, got 6"):
        measure({"a": lambda: None}, repetitions=6)


def test_quartiles_worked_by_hand() -> None:
    assert quartiles([5.0, 1.0, 4.0, 2.0, 3.0]) == {"low": 2.0, "median": 3.0, "high": 4.0}


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_growth_of_a_power_law_is_its_exponent(exponent: float) -> None:
    sizes = [10.0, 30.0, 100.0, 700.0]
    assert growth(sizes, [3 * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-3)


def test_results_are_written_with_machine_commit_and_day(tmp_path: Path) -> None:
    bars = [bar("times a rival", 8.3126, 9.0), bar("times the floor", 1.2, 1.25, "lower")]
    path = write("made", {"bars": bars, "size": 3}, folder=tmp_path / "results")
    found = json.loads(path.read_text())
    assert path == tmp_path / "results" / "made.json"
    assert found["size"] == 3
    assert found["bars"][0] == {"what": "times a rival", "reached": 8.313, "bar": 9.0, "better": "higher"}
    assert set(found["machine"]) == {"cpu", "vector_unit", "python", "torch", "threads"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert re.fullmatch(r"[0-9a-f]{7,}( \(changed\))?|unknown", found["commit"])


def test_the_commit_is_unknown_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert timing.commit() == "unknown"


def test_a_bar_is_better_higher_or_lower() -> None:
    with pytest.raises(ValueError, match="better must be higher or lower, got 'less'"):
        bar("x", 1.0, 2.0, "less")
