"""The code of README.md and of the pages in docs/, block by block."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str = "python") -> list[str]:
    """The blocks of a page in a language, one after another."""
    return [code for found, code in BLOCK.findall(page.read_text("utf-8")) if found == language]


def block(*words: str) -> str:
    """The one block of Python, in README or a page, that holds all these words."""
    pages = [README, *sorted((ROOT / "docs").rglob("*.md"))]
    (found,) = {code for page in pages for code in blocks(page) if all(word in code for word in words)}
    return found
