"""The tables of README and docs/results.md: made from results, and those that are committed."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import RESULTS
from benchmarks.measured import fraction, measured, model_families, score, speed
from benchmarks.tables import (
    BENCH,
    BENCHMARKS,
    FAMILIES,
    GUIDE,
    MEASURED,
    PAGE,
    README,
    bench_lines,
    bench_rows,
    between,
    families,
    families_lines,
    number,
    read,
    tables,
    write_between,
)


def times(median: float) -> dict[str, float]:
    return {"low": median - 1, "median": median, "high": median + 1}


RESULT = {
    "machine": {"cpu": "a processor", "vector_unit": "AVX2", "python": "3.11", "torch": "2.9", "threads": "1"},
    "commit": "abc1234",
    "date": "2026-01-02",
    "bars": [
        {"what": "times the loop", "reached": 12.34, "bar": 10.0, "better": "higher"},
        {"what": "times the floor", "reached": 1.5, "bar": 1.25, "better": "lower"},
        {"what": "difference", "reached": 3e-16, "bar": 1e-9, "better": "lower"},
    ],
    "growth": {"videos": 1.0312},
    "cases": [
        {
            "videos": 2,
            "frames": 10,
            "boxes": 5,
            "ragged": True,
            "milliseconds": {"ours": times(20.0), "loop": times(90.0), "floor": times(16.0)},
        }
    ],
    "wall_s": {"a part": times(2.5)},
}
EXPECTED = """
| benchmark | what | reached | bar | |
|---|---|---|---|---|
| made | times the loop | 12.3 | ≥ 10 | met |
| made | times the floor | 1.50 | ≤ 1.25 | **missed** |
| made | difference | 3e-16 | ≤ 1e-09 | met |

Cost grows with size to the power of (1: in proportion):

- made: videos 1.03

<details><summary>All workloads</summary>

| workload | ours | / floor | rivals, times ours |
|---|---|---|---|
| made, 2 x 10 x 5, ragged | 20 ms | 1.25 | loop 4.50 |
| made | - | - | a part 2.50 s |

</details>

Measured on a processor, AVX2, torch 2.9, commit abc1234, 2026-01-02: made.
"""


def test_tables_worked_by_hand() -> None:
    found = tables({"made": RESULT})
    assert [line.rstrip() for line in found.split("\n")] == EXPECTED.split("\n")


def test_results_without_bars_growth_or_commit_make_a_table_too() -> None:
    found = tables({"old": {"machine": {"cpu": "a processor"}, "reward": {"ours": times(2.0), "rival": times(3.0)}}})
    assert "| old, reward | 2 ms | - | rival 1.50 |" in found
    assert "Measured on a processor, an earlier commit: old." in found
    assert "| bar |" not in found
    assert "power" not in found


BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def test_a_file_is_rewritten_between_its_marks_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        write_between(page, BENCHMARKS, "new")
        assert page.read_text() == f"before\n\n{BEGIN}\nnew\n{END}\n\nafter\n"
        assert between(page, BENCHMARKS) == "new"


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_file_without_both_marks_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page.md must hold <!-- benchmarks --> and after it"):
        write_between(page, BENCHMARKS, "new")
    assert page.read_text() == text


def test_numbers_have_three_telling_digits() -> None:
    found = [number(value) for value in (1234.5, 123.4, 12.34, 1.234, 0.5, 10.0, 2e-16, 0.0)]
    assert found == ["1234", "123", "12.3", "1.23", "0.50", "10", "2e-16", "0"]


def test_scores_have_three_digits_and_a_deviation_if_there_is_one() -> None:
    assert [fraction(value) for value in (0.0626, 0.8165, 4.2262)] == [".063", ".817", "4.226"]
    assert score({"mean": 0.3, "deviation": 0.0093}) == ".300 ± .009"
    assert score({"mean": 0.0628, "deviation": None}) == ".063"


def test_bars_of_speed_are_counted() -> None:
    bars = [bar for bar in RESULT["bars"] if isinstance(bar, dict)]
    assert speed({"made": {"bars": bars}, "activity": {"bars": bars}, "old": {}})[1:4] == (
        "3 bars to clear",
        "2 met",
        "1 missed",
    )


def family(title: str, cider: float, apart: float | None, control: bool = False) -> dict[str, Any]:
    found = {"mean": cider, "deviation": 0.01}
    interval = None if apart is None else {"value": apart, "low": apart - 0.02, "high": apart + 0.02}
    return {
        "title": title,
        "seeds": [0, 1],
        "control": control,
        "weights": {"trained": 3_242_871},
        "scores": {"greedy": {"cider": found}, "beam 5": {"cider": found, "bleu4": found, "rouge": found}},
        "apart": {"beam 5": interval},
    }


def test_families_worked_by_hand() -> None:
    rows = [
        family("Pan et al., full", 0.25, None),
        family("ours: a scene", 0.27, 0.015),
        family("Chen et al., vanilla", 0.2, -0.05),
        family("Pan et al., scene", 0.26, 0.01),
        family("Pan et al., scene", 0.5, None, control=True),
    ]
    lines = families_lines({"rows": rows})
    assert lines[3:5] == [
        "| ours: a scene | 2 | .270 ± .010 | .270 ± .010 | +0.015 (-0.005 to +0.035) | .270 ± .010 "
        "| .270 ± .010 | 3.2 M |",
        "| Chen et al., vanilla | 2 | .200 ± .010 | .200 ± .010 | -0.050 (-0.070 to -0.030) | .200 ± .010 "
        "| .200 ± .010 | 3.2 M |",
    ]
    assert lines[6].startswith("| Pan et al., scene, features shuffled | 2 | .500 ± .010 | .500 ± .010 | - |")
    assert model_families({"videos": 1000, "rows": rows})[1:] == (
        "1,000 MSR-VTT stills",
        "ours .270 ± .010",
        "Pan .260, Chen .200",
        "2 seeds",
    )


def test_rows_of_the_bench_worked_by_hand() -> None:
    def row(name: str, **kinds: list[float]) -> dict[str, Any]:
        made = {kind: {"accuracy": sum(seeds) / len(seeds), "seeds": seeds} for kind, seeds in kinds.items()}
        return {"name": name, "kinds": made}

    rows = [row("guessing", verb=[0.25], order=[0.5]), row("a graph", verb=[0.9, 1.0, 0.98], agent=[0.7, 0.7])]
    assert bench_lines({"rows": rows})[2:] == [
        "| guessing | 25 | 50 | - | - | - | - |",
        "| a graph | 96 ± 5 | - | - | - | - | 70 ± 0 |",
    ]


def test_readme_and_page_hold_what_the_committed_results_say() -> None:
    assert between(PAGE, BENCHMARKS) == tables(read(RESULTS)), "run: python -m benchmarks table"
    assert between(PAGE, FAMILIES) == families(), "run: python -m benchmarks table"
    assert between(GUIDE, BENCH) == bench_rows(), "run: python -m benchmarks table"
    assert between(README, MEASURED) == measured(), "run: python -m benchmarks table"
