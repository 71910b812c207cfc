"""A page for each command, like a man page, made of the parser: nothing here has to be kept up by hand."""

import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_type_hints

from page_files import write

import stg.config
from stg.commands import MODULES
from stg.commands.manual_pages import ManualOption, ManualPage, escaped, manual_pages
from stg.commands.option_files import PRESETS, presets

EXIT_CODES = """\
| code | meaning |
|---:|---|
| 0 | done |
| 1 | failed: a damaged file, no memory, no space, a fault of the program |
| 2 | wrong input: an option, a path, data that do not fit; one line says what to change |
| 3 | more was skipped than `--max_skip` allows |
| 75 | preempted: a checkpoint is saved, and the same command resumes |
| 130 | interrupted by Ctrl-C |
"""


def page_text(page: ManualPage) -> str:
    """A page in Markdown (MyST)."""
    config = config_of(page.name)
    parts = [f"# stg {page.name}", escaped(page.purpose), "## Examples", example_block(page.examples)]
    parts += ["## Usage", f"```text\n{page.usage}\n```"]
    parts += [f"```text\n{text}\n```" if text[:2].isspace() else escaped(text) for text in page.about]
    if config.__name__ in stg.config.__all__:
        parts += [f"In Python the options are the fields of {{py:class}}`stg.config.{config.__name__}`."]
    # Links to options name the command: {option}`stg fit --optim.lr`.
    parts += [f"```{{program}} stg {page.name}\n```"]
    for heading, groups in (("Common options", page.common), ("More options", page.rare)):
        parts += [f"## {heading}"] if groups else []
        for title, options in groups.items():
            parts += [f"### {title}", *map(option_block, options)]
    parts += preset_table(config)
    return "\n\n".join(parts) + "\n"


def example_block(examples: Sequence[tuple[str, str]]) -> str:
    """Command lines to copy, each below what it does."""
    return "```sh\n" + "\n\n".join(f"# {does}\n{command}" for command, does in examples) + "\n```"


def option_block(option: ManualOption) -> str:
    """An option that can be linked to, with its default and all that there is to say."""
    default = f"\n\nDefault: `{option.default}`" if option.default else ""
    return f"````{{option}} {option.words}\n{escaped(option.text)}{default}\n````"


def config_of(name: str) -> type:
    """The class of a command's options. Its module is run apart, not imported: `stg.fit` stays the function."""
    entry = runpy.run_module(f"stg.{MODULES.get(name, name)}", run_name="page")
    return get_type_hints(entry["main"])["config"]


def preset_table(config: type) -> Iterator[str]:
    """The presets that the command takes, each with the first line of its file."""
    if not (names := presets(config)):
        return
    yield "## Presets"
    yield "`--config NAME` takes one of these files, and options after it override it."
    rows = [f"| `{name}` | {escaped(first_line(PRESETS / f'{name}.yaml'))} |" for name in names]
    yield "\n".join(["| preset | what it is |", "|---|---|", *rows])


def first_line(path: Path) -> str:
    """The comment that a file of options begins with."""
    return path.read_text("utf-8").partition("\n")[0].removeprefix("# ")


def index_text(pages: Sequence[ManualPage]) -> str:
    """The list of all commands, and what they have in common."""
    rows = [
        f"| [{page.name.replace('_', chr(92) + '_')}]({page.name}.md) | {escaped(page.purpose)} |" for page in pages
    ]
    return "\n".join(
        [
            "# Commands", "",
            "`stg NAME`, `python -m stg NAME` and `./run NAME` (in a checkout) are the same command.",
            "`--help` shows the common options, `--help_all` all of them.", "",
            "| command | what it does |", "|---|---|", *rows, "",
            "## Exit codes", "", EXIT_CODES,
            "```{toctree}", ":hidden:", "", *(page.name for page in pages), "```", "",
        ]
    )  # fmt: skip


def write_pages(folder: Path) -> list[Path]:
    """Write the page of every command, and their list; returns the files."""
    folder.mkdir(exist_ok=True)
    pages = list(manual_pages())
    texts = {page.name: page_text(page) for page in pages} | {"index": index_text(pages)}
    return [write(folder / f"{name}.md", text) for name, text in texts.items()]
