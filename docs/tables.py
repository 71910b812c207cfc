"""Write the lists of the cheat sheet that follow from the code: commands and presets.

    ./run py docs/tables.py

``tests/test_docs.py`` fails, and names this command, where the page differs from what this would write.
"""

import re
import textwrap
from pathlib import Path

from stg.__main__ import COMMANDS, summary

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "cheat_sheet.md"
PRESETS = DOCS.parent / "stg" / "presets"


def commands() -> str:
    """One line a command: the first of its help."""
    return _items({f"`{name}`": summary(name) for name in COMMANDS})


def presets() -> str:
    """One line a preset: the first of its file."""
    files = sorted(PRESETS.glob("*.yaml"))
    return _items({f"`{file.stem}`": file.read_text("utf-8").partition("\n")[0].lstrip("# ") for file in files})


def _items(rows: dict[str, str]) -> str:
    return "\n".join(textwrap.fill(f"- {name}: {text}", 118, subsequent_indent="  ") for name, text in rows.items())


def written(page: str) -> str:
    """The page with its lists as they are now."""
    for name, text in {"commands": commands(), "presets": presets()}.items():
        begin, end = f"<!-- {name}: written by docs/tables.py -->", f"<!-- /{name} -->"
        pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
        page, count = re.subn(pattern, lambda _, all_=f"{begin}\n{text}\n{end}": all_, page, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"{PAGE} must hold {begin!r} and {end!r} once; found {count}")
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
