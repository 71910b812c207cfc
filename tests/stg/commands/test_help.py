"""``--help`` of every command: purpose, two examples, the common options on one page; and pages of a site."""

import runpy
import shlex
import sys
from argparse import SUPPRESS
from typing import get_type_hints

import pytest

from stg.__main__ import COMMANDS, MODULES, summary
from stg.commands.help_format import LINES, WIDEST, brief, first_page, manual_of, sorted_options
from stg.commands.manual_pages import escaped, manual_page, manual_pages
from stg.commands.manuals import BRIEFS, MANUALS
from stg.commands.parser import build_parser, parse, run_command
from stg.config.training import FitConfig

CONFIGS = {
    name: get_type_hints(runpy.run_module(f"stg.{MODULES.get(name, name)}", run_name="asked")["main"])["config"]
    for name in COMMANDS
}


def page(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(WIDEST))
    entry = runpy.run_module(f"stg.{MODULES.get(name, name)}", run_name="asked")
    parser = build_parser(CONFIGS[name], prog=f"python -m stg.{name}", description=entry["__doc__"])
    return first_page(parser).splitlines()


def test_every_command_has_a_manual_in_the_order_of_the_commands() -> None:
    assert [manual.name for manual in MANUALS.values()] == list(COMMANDS)
    assert {name: kind.__name__ for name, kind in CONFIGS.items()} == {
        manual.name: kind for kind, manual in MANUALS.items()
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_one_page_that_begins_with_the_purpose_and_two_examples(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = page(name, monkeypatch)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDEST
    start = lines.index("")
    assert " ".join(lines[:start]) == summary(name)
    shown, said = lines[start + 1 : start + 5 : 2], lines[start + 2 : start + 6 : 2]
    assert all(f"{line} ".startswith(f"  python -m stg.{name} ") for line in shown)
    assert all(line.startswith(" " * 6) and line.endswith(".") for line in said)
    assert lines[start + 5 : start + 7] == [
        "",
        f"usage: {manual_page(name).usage.replace('stg ', 'python -m stg.', 1)}",
    ]
    assert lines[-1].endswith("more options, and these in full: --help_all")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_parser_takes_every_example(name: str) -> None:
    config = CONFIGS[name]
    examples = MANUALS[config.__name__].examples
    assert len(examples) == 2
    taken = [parse(config, shlex.split(words), prog="x", description="")[0] for words, _ in examples]
    assert taken[0] != taken[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_common_and_rare_options_are_all_options_once(name: str) -> None:
    parser = build_parser(CONFIGS[name], prog="x", description="")
    common, rare = sorted_options(parser)
    found = [action.dest for groups in (common, rare) for actions in groups.values() for action in actions]
    assert sorted(found) == sorted(action.dest for action in parser._actions if action.help != SUPPRESS)
    assert [action.dest for actions in common.values() for action in actions] == manual_of(parser).common
    assert not [title for title in rare if title in common]
    for actions in common.values():
        for action in actions:
            said = brief(manual_of(parser), action)
            assert said.endswith("."), (action.dest, said)
            assert len(said) < 160, (action.dest, said)


def test_what_is_said_of_an_option_is_said_of_one_that_is_shown() -> None:
    shown = {name for manual in MANUALS.values() for name in manual.common}
    assert BRIEFS.keys() <= shown
    for manual in MANUALS.values():
        assert manual.briefs.keys() <= set(manual.common), manual.name


@pytest.mark.parametrize("asked", ["--help", "-h", "--help_all"])
def test_help_shows_the_common_options_and_help_all_every_one(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(FitConfig, lambda config: 0, "Train.\n\nMore on it.", [asked], prog="stg fit")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    actions = build_parser(FitConfig, prog="x", description="")._actions
    every = [action.option_strings[0] for action in actions if action.help != SUPPRESS]
    missing = [option for option in every if f"  {option}" not in said]
    assert missing == [] if asked == "--help_all" else len(missing) > 100
    assert said.index("stg fit --data.dataset folder") < said.index("More on it.") < said.index("--data.root ROOT")


def test_examples_name_the_command_as_it_was_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STG_CALLED", "./run words")
    monkeypatch.setattr(sys, "argv", ["stg/words.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module("stg.words", run_name="__main__")
    assert "\n  ./run words st.json ts.json\n" in capsys.readouterr().out


def test_manuals_say_something_of_every_option_and_example() -> None:
    pages = list(manual_pages())
    assert [made.name for made in pages] == list(COMMANDS)
    for made in pages:
        options = [option for groups in (made.common, made.rare) for options in groups.values() for option in options]
        assert all(option.words.strip() and option.text.strip() for option in options)
        assert len(made.examples) >= 2
        assert all(command.strip() and does.strip() for command, does in made.examples)


def test_text_for_markdown() -> None:
    assert (
        escaped("the <a> of --out and `--in [x]`; put -- before *")
        == "the \\<a\\> of `--out` and `--in [x]`; put `--` before \\*"
    )
