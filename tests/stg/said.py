"""A reporter that keeps what it is given to say."""

from stg.runtime.reporter import Reporter


class Said(Reporter):
    """``lines``: what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
