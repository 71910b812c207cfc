"""README's tables: made from results, and those that are committed."""

from pathlib import Path

import pytest

from benchmarks import RESULTS
from benchmarks.tables import BEGIN, END, README, number, read, tables, write_tables


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


def test_a_file_is_rewritten_between_its_marks_only(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    (tmp_path / "made.json").write_text('{"bars": []}')
    for _ in range(2):
        write_tables(readme, tmp_path)
        text = readme.read_text()
        assert text.startswith(f"before\n\n{BEGIN}\n")
        assert text.endswith(f"\n{END}\n\nafter\n")
        assert "old" not in text
        assert text == f"before\n\n{BEGIN}\n{tables({'made': {'bars': []}})}\n{END}\n\nafter\n"


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_file_without_both_marks_is_left_alone(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match=r"README.md must hold <!-- benchmarks --> and after it"):
        write_tables(readme, tmp_path)
    assert readme.read_text() == text


def test_numbers_have_three_telling_digits() -> None:
    found = [number(value) for value in (1234.5, 123.4, 12.34, 1.234, 0.5, 10.0, 2e-16, 0.0)]
    assert found == ["1234", "123", "12.3", "1.23", "0.50", "10", "2e-16", "0"]


def test_readme_holds_what_the_committed_results_say() -> None:
    text = README.read_text()
    block = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert block == f"\n{tables(read(RESULTS))}\n", "run: python -m benchmarks table"
