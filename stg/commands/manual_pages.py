"""The manual of every command as plain values, of which a site makes its pages.

Nothing is written down twice: purpose and paragraphs are the docstring of the entry point, options and their texts are
those of the parser, examples and the choice of common options those of `stg.commands.manuals`. Imports no torch.
"""

import re
import runpy
from argparse import Action
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_type_hints

from stg.commands import MODULES
from stg.commands.help_format import brief, default_of, manual_of, sorted_options, spelled
from stg.commands.manuals import MANUALS
from stg.commands.parser import build_parser

MARKS = re.compile(r"([\\*_<>\[\]$|~#])")
"""Characters that Markdown may take for marks."""

OPTION = re.compile(r"(?<![\w-])(--(?:\w[\w.]*\w)?)(?![\w-])")
"""An option within a text, of which typography would make a dash."""


@dataclass(frozen=True)
class ManualOption:
    """An option of a command."""

    words: str
    """As it is typed, with a word for its value: ``--beam BEAM``."""
    brief: str
    """One sentence, as ``--help`` has it."""
    text: str
    """All that ``--help_all`` says of it."""
    default: str
    """As it would be typed; empty where there is none to speak of."""


@dataclass(frozen=True)
class ManualPage:
    """The page of a command."""

    name: str
    """``stg NAME`` runs it."""
    purpose: str
    """One line."""
    examples: Sequence[tuple[str, str]]
    """A command line, and what it does."""
    usage: str
    """The form of the command line."""
    about: Sequence[str]
    """Paragraphs on what it does; an indented one is to be shown as it stands."""
    common: Mapping[str, Sequence[ManualOption]]
    """Heading -> the options that most users need, commonest first."""
    rare: Mapping[str, Sequence[ManualOption]]
    """Heading -> all others."""


def manual_page(name: str) -> ManualPage:
    """The page of a command, by the name that ``python -m stg`` lists."""
    # Read without being run, and not imported: `stg.fit` stays the function.
    entry = runpy.run_module(f"stg.{MODULES.get(name, name)}", run_name="manual")
    config_class, description = get_type_hints(entry["main"])["config"], (entry["__doc__"] or "").strip()
    parser = build_parser(config_class, prog=f"stg {name}", description=description)
    manual = manual_of(parser)

    def shown(groups: Mapping[str, Sequence[Action]]) -> dict[str, list[ManualOption]]:
        return {
            title: [
                ManualOption(spelled(item), brief(manual, item), " ".join((item.help or "").split()), default_of(item))
                for item in options
            ]
            for title, options in groups.items()
        }

    purpose, *about = description.split("\n\n")
    common, rare = map(shown, sorted_options(parser))
    examples = [(f"stg {name} {words}".rstrip(), does) for words, does in manual.examples]
    usage = parser.format_usage().removeprefix("usage:").strip()
    return ManualPage(name, " ".join(purpose.split()), examples, usage, about, common, rare)


def manual_pages() -> Iterator[ManualPage]:
    """The pages of all commands, in the order in which one meets them."""
    for manual in MANUALS.values():
        yield manual_page(manual.name)


def escaped(text: str) -> str:
    """Plain text for Markdown: options become code, and what stands between backticks stays as it is."""
    parts = re.split(r"(`+[^`]+`+)", "".join(_as_code(part) for part in re.split(r"(`+[^`]+`+)", text)))
    return "".join(part if part.startswith("`") else MARKS.sub(r"\\\1", part) for part in parts)


def _as_code(part: str) -> str:
    return part if part.startswith("`") else OPTION.sub(r"`\1`", part)
