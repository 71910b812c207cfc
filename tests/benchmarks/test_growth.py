"""How growth is measured: memory is seen, exponents and further items are counted, parts do all of their work."""

from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.growth_dry_run import dry_run
from benchmarks.memory import Memory


def row(items: int, cpu: float, own: float) -> dict[str, float]:
    return {"items": items, "cpu_s": cpu, "own": own, "mapped": own}


ROWS = {
    "linear": [row(10, 1.0, 5.0), row(40, 4.0, 6.0), row(160, 16.0, 6.0)],
    "square": [row(10, 1.0, 5.0), row(40, 16.0, 6.0), row(160, 256.0, 126.0)],
}


def test_exponents_and_the_memory_of_a_further_item() -> None:
    found = growth.results(ROWS)
    assert found["growth_of_CPU_seconds"] == pytest.approx({"linear": 1.0, "square": 2.0})
    assert found["kibibytes_of_a_further_item"] == {"linear": 0.0, "square": 1024.0}
    assert [(bar["reached"], bar["bar"], bar["better"]) for bar in found["bars"]] == [
        (2.0, 1.1, "lower"),
        (1024.0, 8.0, "lower"),
    ]
    assert growth.table(found).row_count == 2


def test_memory_that_a_block_takes_and_gives_back_is_seen() -> None:
    with Memory() as memory:
        taken = bytearray(b"x") * (64 * 2**20)
        memory.look()
        del taken
    assert 64 <= memory.own < 96
    with Memory() as memory:
        pass
    assert memory.own < 8


def test_a_part_that_does_not_do_all_of_its_items_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PARTS", {"store": (lambda folder, size: lambda: size - 1, 8)})
    with pytest.raises(AssertionError, match="store did 7 of 8 items"):
        growth.done("store", 8)


def test_a_part_runs_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PARTS", {"store": (lambda folder, size: lambda: sum(range(10**6)) and size, 8)})
    found = growth.apart("store", 8)
    assert set(found) == {"cpu_s", "own", "mapped"}
    assert found["cpu_s"] > 0


def test_a_part_that_fails_in_its_process_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "PARTS", {"store": (lambda folder, size: lambda: 0, 8)})
    with pytest.raises(RuntimeError, match="store with 8 items failed"):
        growth.apart("store", 8)
    assert "store did 0 of 8 items" in capfd.readouterr().err


def test_the_dry_run_goes_through_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(70, 4, tmp_path)
    printed = capsys.readouterr().out
    assert "make and write 70 graphs" in printed
    assert "70 videos" in printed
    assert "greedy captions" in printed
    assert list(tmp_path.iterdir()) == []
