"""``python -m stg`` and ``stg``: the list of commands, and one of them by its name."""

import runpy
import sys
from pathlib import Path

import pytest

import stg
from stg.__main__ import COMMANDS, main, summary


def call(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", list(argv))
    return main()


def test_every_entry_point_is_listed_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.stem for path in Path(stg.__file__).parent.glob("[!_]*.py")}
    assert set(COMMANDS) == files
    assert call(monkeypatch, "bin/stg") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: stg NAME [options]"
    for name in COMMANDS:
        assert summary(name).endswith((".", ":")), name
        assert f"  {name:15}  {summary(name)}" in lines


def test_an_unknown_command_lists_the_nearest_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "stg/__main__.py", "reprot") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: unknown command 'reprot'; the commands are:"
    assert lines[1].split()[0] == "report"
    assert {line.split()[0] for line in lines[1:]} == set(COMMANDS)


@pytest.mark.parametrize(("called", "prog"), [("bin/stg", "stg fit"), ("stg/__main__.py", "python -m stg fit")])
def test_a_command_by_its_name_says_how_it_was_called(
    called: str, prog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, called, "fit", "--help")
    assert ended.value.code == 0
    assert f"usage: {prog} [" in capsys.readouterr().out


def test_a_command_as_a_module_names_the_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stg/words.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("stg.words", run_name="__main__")
    assert ended.value.code == 0
    assert "usage: python -m stg.words [" in capsys.readouterr().out
