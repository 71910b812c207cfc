"""Ratios that got worse, against the committed results."""

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import changes

BEFORE: dict[str, Any] = {
    "commit": "abc1234",
    "bars": [
        {"what": "times the loop", "reached": 10.0, "bar": 9.0, "better": "higher"},
        {"what": "times the floor", "reached": 1.5, "bar": 1.25, "better": "lower"},
        {"what": "difference", "reached": 3e-16, "bar": 1e-9, "better": "lower"},
    ],
    "greedy": {"ours": {"median": 20.0}, "loop": {"median": 90.0}, "floor": {"median": 16.0}},
}


def changed(loop: float, ours: float, bars: tuple[float, float, float] = (10.0, 1.5, 3e-16)) -> dict[str, Any]:
    after = deepcopy(BEFORE)
    after["greedy"]["loop"]["median"], after["greedy"]["ours"]["median"] = loop, ours
    for bar, reached in zip(after["bars"], bars, strict=True):
        bar["reached"] = reached
    return after


def test_what_is_as_good_or_a_little_worse_is_not_named() -> None:
    assert changes.worse(BEFORE, BEFORE) == []
    assert changes.worse(BEFORE, changed(82.0, 20.0, (9.0, 1.7, 9e-16))) == []
    # A machine half as fast, and ratios that are better.
    assert changes.worse(BEFORE, changed(200.0, 32.0, (20.0, 1.0, 3e-16))) == [
        "greedy: times the floor: 2, was 1.25 (lower is better)"
    ]


def test_each_ratio_that_is_worse_is_named_with_both_values() -> None:
    assert changes.worse(BEFORE, changed(70.0, 20.0, (8.0, 1.8, 9e-16))) == [
        "times the loop: 8, was 10 (higher is better)",
        "times the floor: 1.80, was 1.50 (lower is better)",
        "greedy: loop, times ours: 3.50, was 4.50 (higher is better)",
    ]


def test_what_only_one_result_has_is_not_compared() -> None:
    assert changes.worse({"bars": []}, BEFORE) == []
    assert changes.worse(BEFORE, {}) == []


def test_the_committed_result_is_read_and_none_is_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(changes, "RESULTS", tmp_path)
    path = tmp_path / "edges.json"
    path.write_text(json.dumps(BEFORE))
    assert changes.committed("edges") is None  # no repository
    for words in ("init", "add edges.json", "-c user.name=a -c user.email=b commit --message=c"):
        subprocess.run(["git", "-C", str(tmp_path), *words.split()], check=True, capture_output=True)
    path.write_text("{}")
    assert changes.committed("edges") == BEFORE
    assert changes.committed("store") is None


def test_the_command_reports_and_does_not_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "committed", lambda name: BEFORE if name == "edges" else None)
    monkeypatch.setattr(command, "measure_apart", lambda name, **_: None)
    for name in ("edges", "store"):
        (tmp_path / f"{name}.json").write_text(json.dumps(changed(70.0, 20.0)))
    assert command.main(["edges", "store"]) == 0
    told = capsys.readouterr().out
    assert "edges: worse by more than 15 % than at abc1234: greedy: loop, times ours: 3.50, was 4.50" in told
    assert "store: worse" not in told
