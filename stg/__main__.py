"""Spatio-temporal object graphs for video captioning.

`stg NAME OPTIONS` and `python -m stg NAME OPTIONS` run a command; `stg NAME --help` lists its options,
`stg --version` the version.
"""

import ast
import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import stg
from stg.commands import MODULES

COMMANDS = (
    "extract", "import_features", "store", "fit", "evaluate", "caption", "report",
    "compare", "ablate", "probe", "predictions", "words", "embed", "fuse", "models", "ship", "bench",
)  # fmt: skip
"""In the order in which one meets them."""

SYNONYMS = {
    "train": "fit", "training": "fit", "eval": "evaluate", "test": "evaluate", "score": "evaluate",
    "validate": "evaluate", "predict": "caption", "infer": "caption", "inference": "caption", "generate": "caption",
    "describe": "caption", "features": "extract", "preprocess": "extract", "visualize": "report",
    "visualise": "report", "plot": "report", "show": "report", "merge": "store", "verify": "store",
    "ensemble": "fuse", "retrieve": "embed", "ablation": "ablate", "pretrained": "models", "zoo": "models",
    "publish": "ship", "benchmark": "bench", "questions": "bench",
}  # fmt: skip
"""What other programs call a command -> its name here."""


def summary(name: str) -> str:
    """The first line of a command's help, read without importing it."""
    source = (Path(__file__).parent / f"{MODULES.get(name, name)}.py").read_text(encoding="utf-8")
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
        runpy.run_module(f"stg.{MODULES.get(name, name)}", run_name="__main__")
    if name in ("help", "-h", "--help"):
        print(f"usage: {prog} NAME [options]\n\ncommands ({prog} NAME --help lists the options):\n{listing()}")
        return 0
    if name == "--version":
        print(f"stg {stg.__version__}")
        return 0
    plain = name.lower().replace("-", "_")
    near = [SYNONYMS[plain]] if plain in SYNONYMS else difflib.get_close_matches(plain, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? The" if near else "the"
    print(f"error: unknown command {name!r}; {hint} commands are:\n{listing()}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
