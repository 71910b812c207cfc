"""How the help of a command is set."""

from jsonargparse import DefaultHelpFormatter


class Paragraphs(DefaultHelpFormatter):
    """Keeps the paragraphs of a description, and the lines of those that are indented, which are examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        parts = text.strip().split("\n\n")
        return "\n\n".join(part if part[:4].isspace() else fill(part, width, indent) for part in parts)
