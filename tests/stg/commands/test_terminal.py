"""What commands print of others' names and words: as it is, and nothing that a terminal would obey."""

import ast
import builtins
import io
import sys
import warnings
from pathlib import Path

import pytest
from rich.console import Console

import stg
from graphs.storage.file_systems import NetworkFileSystem
from stg.captioning import ClipCaption
from stg.commands import caption, report
from stg.commands.evaluate import score_table
from stg.commands.parser import PACKAGES, warnings_as_lines
from stg.config.plugins import PluginChanged
from stg.config.report import ReportConfig
from stg.metrics.scorer import Scores
from stg.runtime.progress import ConsoleReporter

NAME = "[bold]a\x1b[2J\x9b1A\u2028b"
SHOWN = "[bold]a\\x1b[2J\\x9b1A\\u2028b"


def console() -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)


def printed(shown: Console) -> str:
    return shown.file.getvalue()  # type: ignore[attr-defined]


def test_captions_and_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    caption._print(ClipCaption(NAME, caption=f"a {NAME}"), False, 1)
    caption._print(ClipCaption(NAME, error=f"{NAME}: no video"), False, 1)
    said = capsys.readouterr()
    assert said.out == f"{SHOWN}: a {SHOWN}   (confidence 0.00, 0.0 s)\n"
    assert said.err == f"skipped: {SHOWN}: no video\n"


def test_pages_that_were_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "report_run", lambda config, reporter: Path(NAME))
    assert report.main(ReportConfig("run")) == 0
    assert capsys.readouterr().out == f"{SHOWN}\n"


def test_tables_of_scores() -> None:
    shown = console()
    scores = Scores({"cider": 1.0, NAME: 0.5}, {}, {}, 1)
    shown.print(score_table({NAME: scores}, title=f"test: {NAME}"))
    text = printed(shown)
    assert text.count("[bold]a\\x1b") == 3
    assert "\x9b" not in text


def test_bars() -> None:
    shown = console()
    with ConsoleReporter(shown).bar(f"captioning, {NAME}") as progress:
        progress(1, 2)
    assert f"captioning, {SHOWN}" in printed(shown)


def test_results_go_to_their_file_while_a_bar_is_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """As in ``stg.caption --json CLIPS > captions.jsonl``, whose bar is on standard error."""
    shown = console()
    with ConsoleReporter(shown).bar("captioning") as progress:
        progress(1, 2)
        print('{"video": "a.mp4"}')
        print("skipped: b.mp4", file=sys.stderr)
    assert capsys.readouterr() == ('{"video": "a.mp4"}\n', "skipped: b.mp4\n")
    assert "captioning" in printed(shown)
    assert ".mp4" not in printed(shown)


@pytest.mark.filterwarnings("default:of the store:graphs.storage.file_systems.NetworkFileSystem")
def test_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_as_lines():
        warnings.warn(f"the plugin {NAME} changed", PluginChanged, stacklevel=1)
        warnings.warn(f"of the store {NAME}", NetworkFileSystem, stacklevel=1)
    assert capsys.readouterr().err == f"warning: the plugin {SHOWN} changed\nwarning: of the store {SHOWN}\n"


def test_every_warning_of_this_project_has_a_kind_that_commands_print_as_a_line() -> None:
    """One without a kind would reach the terminal as Python prints it, with a file and a line of code."""
    folder, found = Path(stg.__file__).parents[1], list[tuple[str, str]]()
    for path in (path for name in PACKAGES for path in (folder / name).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "warnings.warn":
                found.append((path.name, " ".join(map(ast.unparse, call.args[1:]))))
    assert ("file_systems.py", "NetworkFileSystem") in found
    assert [(path, kind) for path, kind in found if not kind or kind in vars(builtins)] == []
