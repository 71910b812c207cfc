"""Spatio-temporal object graphs for video captioning.

`stg NAME OPTIONS` and `python -m stg NAME OPTIONS` run a command; `stg NAME --help` lists its options.
"""

import ast
import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = (
    "extract", "import_features", "store", "fit", "evaluate", "caption", "report",
    "compare", "ablate", "probe", "predictions", "words", "embed", "fuse",
)  # fmt: skip
"""In the order in which one meets them."""


def summary(name: str) -> str:
    """The first line of a command's help, read without importing it."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def listing(names: Sequence[str] = COMMANDS) -> str:
    """One line for each command."""
    width = max(map(len, names))
    return "\n".join(f"  {name:{width}}  {summary(name)}" for name in names)


def main() -> int:
    """Run the command that the command line names, or list all commands."""
    prog = "python -m stg" if Path(sys.argv[0]).suffix == ".py" else Path(sys.argv[0]).name
    name, *options = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        # As its own process would: nobody imports an entry point, so `stg.fit` stays the function.
        sys.argv = [f"{prog} {name}", *options]
        runpy.run_module(f"stg.{name}", run_name="__main__")
    if name in ("help", "-h", "--help"):
        print(f"usage: {prog} NAME [options]\n\ncommands ({prog} NAME --help lists the options):\n{listing()}")
        return 0
    # The nearest names come first, the others in their own order.
    nearest = difflib.get_close_matches(name, COMMANDS, n=len(COMMANDS), cutoff=0.5)
    rows = listing([*nearest, *(other for other in COMMANDS if other not in nearest)])
    print(f"error: unknown command {name!r}; the commands are:\n{rows}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
