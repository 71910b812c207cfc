"""How the help of a command is set: a first page with what most users need, and all of it by ``--help_all``."""

import re
import shutil
import textwrap
from argparse import SUPPRESS, Action, ArgumentParser, Namespace, _HelpAction
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import DefaultHelpFormatter

from stg.commands.manuals import MANUALS, Manual

LINES = 60
"""Most lines of a first page."""

WIDEST = 100
"""Columns of a first page, where the terminal has as many."""

COLUMN = 30
"""Where the sentences of a first page begin."""

SENTENCE = re.compile(r"(?<!al)(?<!Eq)(?<!Fig)\.\s+(?=\S)")
"""Where a sentence ends, unless in "et al."."""


class Paragraphs(DefaultHelpFormatter):
    """Keeps the paragraphs of a description, and the lines of those that are indented, which are examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        parts = text.strip("\n").split("\n\n")
        return "\n\n".join(part if part[:2].isspace() else fill(part, width, indent) for part in parts)


class FirstHelp(_HelpAction):
    """``--help``: the first page, and the end of the process."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Print and exit."""
        print(first_page(parser))
        parser.exit()


class FullHelp(_HelpAction):
    """``--help_all``: every option in full, and the end of the process."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: Any = None) -> None:
        """Print and exit."""
        parser.print_help()
        parser.exit()


def described(config_class: type, description: str, prog: str) -> str:
    """A description with the examples of the command behind its first line."""
    purpose, _, rest = (description or "").strip().partition("\n\n")
    if (manual := MANUALS.get(config_class.__name__)) is None:
        return description
    return f"{purpose}\n\n{examples(manual, prog)}\n\n{rest}".rstrip()


def examples(manual: Manual, prog: str) -> str:
    """The examples of a command: what to type, and below it what that does."""
    return "\n".join(f"  {prog} {words}".rstrip() + f"\n      {does}" for words, does in manual.examples)


def sorted_options(parser: ArgumentParser) -> tuple[dict[str, list[Action]], dict[str, list[Action]]]:
    """The common and the rare options of a parser, by heading; options that no help shows are left out."""
    manual = manual_of(parser)
    actions = {action.dest: action for action in parser._actions if action.help != SUPPRESS}
    common = {title: [actions[name] for name in names.split()] for title, names in manual.groups.items()}
    rare: dict[str, list[Action]] = {}
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.help != SUPPRESS and action.dest not in manual.common:
                # The parser's own title of what belongs to no section of settings.
                title = "Every command" if group.title == "options" else group.title or ""
                rare.setdefault(title, []).append(action)
    return common, rare


def manual_of(parser: ArgumentParser) -> Manual:
    """The manual of a command, by what its parser was made for; one without examples and groups if there is none."""
    return getattr(parser, "stg_manual", None) or Manual("", (), {})


def first_page(parser: ArgumentParser) -> str:
    """Purpose, examples, usage, and the common options with a sentence each; paragraphs on the command where they fit.

    A parser without a manual shows all that it has.
    """
    manual = manual_of(parser)
    if not manual.groups:
        return parser.format_help().rstrip()
    width = min(shutil.get_terminal_size().columns, WIDEST)
    purpose, shown, *about = (parser.description or "").split("\n\n")
    common, rare = sorted_options(parser)
    options = [line for title, actions in common.items() for line in ("", f"{title}:", *_rows(manual, actions, width))]
    count = sum(map(len, rare.values()))
    end = ["", f"{count} more options, and these in full: --help_all"]
    page = [*_wrap(purpose, width), "", shown, "", parser.format_usage().strip()]
    free = LINES - "\n".join([*page, *options, *end]).count("\n") - 1
    for paragraph in about:
        lines = ["", *(paragraph.split("\n") if paragraph[:2].isspace() else _wrap(paragraph, width))]
        if len(lines) > free:
            break
        page += lines
        free -= len(lines)
    return "\n".join([*page, *options, *end])


def brief(manual: Manual, action: Action) -> str:
    """One sentence on an option: what the manual says of it, or the first sentence of its help."""
    if said := manual.brief(action.dest):
        return said
    sentence = SENTENCE.split(" ".join((action.help or "").split()), maxsplit=1)[0]
    return sentence if sentence.endswith(".") else f"{sentence}."


def spelled(action: Action) -> str:
    """An option as it is typed, with a word for its value: ``--beam BEAM``; the name of a positional argument."""
    if not action.option_strings or action.nargs == 0:
        return max(action.option_strings or [action.dest], key=len)
    if action.dest == "print_config":
        return "--print_config[=skip_default]"
    if getattr(action, "_typehint", None) is bool:
        return f"{action.option_strings[0]} {{true,false}}"
    return f"{action.option_strings[0]} {re.split(r'[._]', action.dest)[-1].upper()}"


def default_of(action: Action) -> str:
    """The default as it would be typed; empty where an option has none to speak of."""
    value = action.default
    if not action.option_strings or value in (None, False, SUPPRESS, "") or value in ((), [], {}):
        return ""
    return "true" if value is True else str(value)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _rows(manual: Manual, actions: Sequence[Action], width: int) -> Iterator[str]:
    for action in actions:
        default = default_of(action)
        words = f"  {spelled(action)}"
        said = brief(manual, action) + (f" ({default})" if default else "")
        lines = _wrap(said, width - COLUMN)
        if len(words) > COLUMN - 2:
            yield words
            words = ""
        yield f"{words:{COLUMN}}{lines[0]}"
        yield from (" " * COLUMN + line for line in lines[1:])
