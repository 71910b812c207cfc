"""The Python of README.md, block by block."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def block(*words: str) -> str:
    """The one block that holds all these words."""
    (found,) = (code for code in CODE.findall(README.read_text("utf-8")) if all(word in code for word in words))
    return found
