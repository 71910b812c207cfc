"""JSON for standard output."""

import io
import json
import sys

import pytest

from stg.runtime.output import json_line


@pytest.mark.parametrize(
    ("encoding", "text", "line"),
    [
        ("utf-8", "größer 😀", '"größer 😀"'),
        ("utf-8", "no \udcff text", '"no \\udcff text"'),
        ("utf-8", "a\x1b[2J\x7f\x9b31m\u2028\u202e\u00a0 b", '"a\\u001b[2J\\u007f\\u009b31m\\u2028\\u202e\\u00a0 b"'),
        ("ascii", "größer 😀", '"gr\\u00f6\\u00dfer \\ud83d\\ude00"'),
        ("cp1252", "größer", '"gr\\u00f6\\u00dfer"'),
    ],
)
def test_names_stand_as_they_are_where_they_can(
    encoding: str, text: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert json_line(text) == line
    assert json.loads(line) == text
    assert line.encode(encoding)
