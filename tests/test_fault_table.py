"""The table of faults names tests that exist, and has every row that it should."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
TABLE = TESTS / "FAULTS.md"
LIST = {"A": 15, "B": 7, "C": 13, "D": 18, "E": 9, "F": 10}
"""The list of faults that this project set out to survive: letter -> how many rows, numbered from 1; 72 in all."""
ROWS = [
    *(f"{letter}{number}" for letter, count in LIST.items() for number in range(1, count + 1)),
    *(f"G{number}" for number in range(1, 17)),
    *(f"H{number}" for number in range(1, 19)),
    *(f"I{number}" for number in range(1, 8)),
    *(f"K{number}" for number in range(1, 7)),
    *(f"L{number}" for number in range(1, 13)),
    *(f"P{number}" for number in range(1, 8)),
]


def rows(text: str) -> dict[str, list[str]]:
    """Row -> the tests that it names as ``file::test``."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if match := re.fullmatch(r"\| ([A-Z]\d+)", cells[0]):
            assert len(cells) == 3, f"{match[1]} has {len(cells)} cells"
            found[match[1]] = re.findall(r"`([^`]+::[^`]+)`", cells[2])
    return found


def names_in(path: Path) -> set[str]:
    """Names of the test functions in a file, by its syntax tree."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def absent(named: dict[str, list[str]]) -> list[str]:
    """Each row's tests that do not exist, as ``row: file::test``."""
    known: dict[str, set[str]] = {}
    missing = []
    for row, tests in named.items():
        for test in tests:
            file, name = test.split("::")
            if file not in known:
                known[file] = names_in(TESTS / file) if (TESTS / file).is_file() else set()
            if name not in known[file]:
                missing.append(f"{row}: {test}")
    return missing


def test_every_row_is_there_and_names_tests_that_exist() -> None:
    named = rows(TABLE.read_text(encoding="utf-8"))
    assert list(named) == ROWS
    assert sum(name[0] in LIST for name in named) == sum(LIST.values()) == 72
    assert [row for row, tests in named.items() if not tests] == []
    assert absent(named) == []


def test_a_test_that_does_not_exist_is_found() -> None:
    table = (
        "| A1 | words | `test_fault_table.py::rows` `test_fault_table.py::test_a_test_that_does_not_exist_is_found` |"
    )
    assert absent(rows(table)) == ["A1: test_fault_table.py::rows"]
    assert absent({"B1": ["nowhere.py::test_x"]}) == ["B1: nowhere.py::test_x"]
