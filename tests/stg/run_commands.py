"""Commands in the process of a test, with options as on the command line."""

from collections.abc import Sequence
from importlib import import_module
from typing import get_type_hints

from stg.commands.parser import run_command


def run_stg(name: str, argv: Sequence[str]) -> int:
    """The exit code of ``python -m stg.NAME ARGV``."""
    main = import_module(f"stg.commands.{name}").main
    return run_command(get_type_hints(main)["config"], main, "", argv)


def store_command(argv: Sequence[str]) -> int:
    """The exit code of ``python -m stg.store ARGV``."""
    return run_stg("store", argv)
