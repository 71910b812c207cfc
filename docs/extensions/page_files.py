"""Files of pages that are written when the site is built."""

import re
from pathlib import Path


def write(path: Path, text: str) -> Path:
    """Write a file where it does not hold the text yet, so that Sphinx reads only what is new."""
    text = re.sub(r"\n{3,}", "\n\n", text)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
    return path
