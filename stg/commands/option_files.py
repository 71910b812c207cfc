"""Files of options: presets of the package, and those of the user; and which of them a command line names."""

import os
import re
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from stg.runtime.errors import UserError
from stg.runtime.yaml_reading import read_yaml

PRESETS = Path(__file__).parents[1] / "presets"
NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}")
"""What the name of an option is made of."""

SECTION = re.compile(r"^(\w+):", re.MULTILINE)


def presets(config_class: type | None = None) -> list[str]:
    """The names that ``--config`` knows without a path; of a command, those whose sections it has."""
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if config_class is None:
        return names
    known = {item.name for item in fields(config_class)}
    return [name for name in names if known.issuperset(SECTION.findall(_text(name)))]


def list_presets(config_class: type) -> str:
    """One line for each preset of a command: its name, and the first line of its file."""
    names = presets(config_class)
    if not names:
        return "this command has no presets: --config takes a YAML file"
    width = max(map(len, names))
    return "\n".join(f"{name:{width}}  {_text(name).splitlines()[0].removeprefix('# ')}" for name in names)


def _text(preset: str) -> str:
    return (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")


def resolve_presets(argv: Sequence[str]) -> list[str]:
    """Let ``--config pan_msvd`` name a preset of the package."""
    resolved = []
    for position, token in enumerate(argv):
        name, sep, value = token.partition("=")
        # Both spellings; a file that has the name of a preset is given as ./name.
        if position and argv[position - 1] == "--config" and token in presets():
            token = str(PRESETS / f"{token}.yaml")
        elif name == "--config" and sep and value in presets():
            token = f"--config={PRESETS / f'{value}.yaml'}"
        resolved.append(token)
    return resolved


def with_preset(argv: Sequence[str], preset: str) -> list[str]:
    """The options with ``--config preset`` in front, where they choose nothing but where and how the run lives."""
    chosen = (option for option, _ in given_options([*argv, ""]))
    if all(option.startswith("run.") or option in ("debug", "print_config") for option in chosen):
        return ["--config", preset, *argv]
    return list(argv)


def given_options(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Each option without its dashes, with the word that follows it, or that is glued to it."""
    words = list(argv)[: list(argv).index("--")] if "--" in argv else argv
    after = [(option[2:], value) for option, value in pairwise(words) if option.startswith("--") and "=" not in option]
    glued = [word[2:].partition("=") for word in words if word.startswith("--") and "=" in word]
    return after + [(option, value) for option, _, value in glued]


def config_files(argv: Sequence[str]) -> list[str]:
    """The values of ``--config``."""
    return [value for option, value in given_options(argv) if option == "config"]


def option_files(argv: Sequence[str], sections: list[str]) -> dict[str, list[str]]:
    """The files of options that are there, and the sections that each may have.

    They are those of ``--config``, and those that stand for a section (``--optim optim.yaml``).

    Args:
        argv: the command line.
        sections: the dotted names of all sections of the command.
    """
    found = dict[str, list[str]]()
    for option, value in given_options(argv):
        if os.path.exists(value) and not (option == "config" and value in presets()):
            if option == "config":
                found[value] = sections
            elif option in sections:
                found[value] = [name.removeprefix(f"{option}.") for name in sections if name.startswith(f"{option}.")]
    return found


def check_file(file: str, sections: Sequence[str]) -> None:
    """Refuse a file that holds no options, before the parser shows what it does hold.

    Args:
        file: with the options.
        sections: the dotted names of what must be objects in it; the parser would open another file in their place.

    Raises:
        UserError: it cannot be read, or holds something else; nothing of its text is shown.
    """
    nested = [("", read_yaml(file))]
    while nested:
        prefix, inside = nested.pop()
        if not isinstance(inside, dict) or not all(isinstance(key, str) and NAME.fullmatch(key) for key in inside):
            raise UserError(f"{file} is no file of options: expected YAML with lines such as 'optim: {{lr: 0.001}}'")
        if "config" in inside:
            raise UserError(f"{file} has the key 'config': a file of options names no other")
        for key, value in inside.items():
            if isinstance(value, dict):
                nested.append((f"{prefix}{key}.", value))
            elif prefix + key in sections:
                raise UserError(f"{file}: {prefix}{key} must be an object of options, such as {{name: value}}")
