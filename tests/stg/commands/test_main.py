"""``python -m stg`` and ``stg``: the list of commands, and one of them by its name."""

import runpy
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import stg
from stg.__main__ import COMMANDS, SYNONYMS, main, summary
from stg.commands import MODULES


def call(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", list(argv))
    if len(argv) > 1:  # as in a new process, whatever other tests have imported
        monkeypatch.delitem(sys.modules, f"stg.{MODULES.get(argv[1], argv[1])}", raising=False)
    return main()


def test_every_entry_point_is_listed_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.stem for path in Path(stg.__file__).parent.glob("[!_]*.py")}
    assert {MODULES.get(name, name) for name in COMMANDS} == files
    assert call(monkeypatch, "bin/stg") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: stg NAME [options]"
    for name in COMMANDS:
        assert summary(name).endswith((".", ":")), name
        assert f"  {name:15}  {summary(name)}" in lines


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reprot", "did you mean report? The commands are:"),
        ("import-feature", "did you mean import_features? The commands are:"),
        ("Train", "did you mean fit? The commands are:"),
        ("nosuch", "the commands are:"),
    ],
)
def test_an_unknown_command_names_the_near_one_and_all(
    name: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "stg/__main__.py", name) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: unknown command {name!r}; {words}"
    assert [line.split()[0] for line in lines[1:]] == list(COMMANDS)


def test_what_other_programs_call_a_command_is_none_of_this_one() -> None:
    assert set(SYNONYMS.values()) <= set(COMMANDS)
    assert set(SYNONYMS).isdisjoint(COMMANDS)


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)])
def test_every_command_says_its_version(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        code = call(monkeypatch, "bin/stg", *words, "--version")
    except SystemExit as ended:  # of the parser of a command
        code = ended.code
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert said.out == f"stg {version('stg-video')}\n"


@pytest.mark.parametrize(("called", "prog"), [("bin/stg", "stg fit"), ("stg/__main__.py", "python -m stg fit")])
def test_a_command_by_its_name_says_how_it_was_called(
    called: str, prog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, called, "fit", "--help")
    assert ended.value.code == 0
    assert f"usage: {prog} [" in capsys.readouterr().out


def test_a_command_as_a_module_names_the_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["stg/words.py", "--help"])
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("stg.words", run_name="__main__")
    assert ended.value.code == 0
    assert "usage: python -m stg.words [" in capsys.readouterr().out
    # Code with jaxtyping's checks must not lie where an interpreter without them takes it for its own.
    assert not [*tmp_path.rglob("words.cpython-*.pyc")]
