"""Every command that a guide shows can be given: the command is there, its options too, and their values fit."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from stg.__main__ import COMMANDS, MODULES
from stg.commands.parser import parse
from tests.stg.plug_in import fresh_process

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "guides").glob("*.md"))
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ENDS = {"|", ">", "&&", ";", "&"}
"""Words behind which something else begins."""
NOT_OURS = ("py", "test")
"""What `./run` takes besides the commands."""


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and options of each command in the shell blocks of a page."""
    for line in "".join(SHELL.findall(text)).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        words = words[: next((place for place, word in enumerate(words) if word in ENDS), None)]
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        modules = [place for place, word in enumerate(words) if word.startswith("stg.") and words[place - 1] == "-m"]
        if modules:
            yield words[modules[-1]].removeprefix("stg."), words[modules[-1] + 1 :]
        elif words and words[0] in ("./run", "~/stg/run", "stg") and words[1] not in NOT_OURS:
            yield words[1], words[2:]


def config_of(name: str) -> type:
    """The class of a command's settings, as its module in `stg/` names it."""
    tree = ast.parse((ROOT / "stg" / f"{MODULES.get(name, name)}.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "command"]
    wanted = ast.unparse(calls[0].args[1])
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and wanted in [item.name for item in node.names]:
            return getattr(import_module(str(node.module)), wanted)
    raise LookupError(f"stg/{name}.py imports no {wanted}")


def test_the_words_of_a_command_are_found_behind_other_programs() -> None:
    lines = (
        "A=1 ./run fit --x 1  # no",
        "python -m t.run -m stg.fit --y \\",
        " 2",
        "./run caption C > 'a b'",
        "./run test",
    )
    found = list(commands("\n".join(("```sh", *lines, "```", ""))))
    assert found == [("fit", ["--x", "1"]), ("fit", ["--y", "2"]), ("caption", ["C"])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_can_be_given(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # plugins are named from here
    for name, words in commands(page.read_text("utf-8")):
        assert name in COMMANDS, f"{page.name} shows the command {name}"
        if words in (["--config", "help"], ["--version"], ["--help"]):
            continue
        with fresh_process():
            parse(config_of(name), words, prog=f"stg {name}", description="")
