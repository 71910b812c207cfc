"""What a store of video graphs holds (info), and whether every record is whole (verify)."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stg.cli import run_command
from stg.errors import StgError

if TYPE_CHECKING:
    from rich.console import Console

    from graphs import GraphStore

ACTIONS = ("info", "verify")
LISTED = 50


@dataclass(frozen=True)
class StoreConfig:
    """What to do with which store."""

    action: str = field(metadata={"positional": True, "help": "info or verify"})

    path: str = field(metadata={"positional": True, "help": "the store's file; after -- if it starts with a dash"})

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action must be one of {', '.join(ACTIONS)}, got '{self.action}'")


def run(config: StoreConfig) -> None:
    """Look at the store and print what there is to say.

    Raises:
        StgError: broken records (exit code 1).
        ValueError: no store there, or one that is damaged as a whole (exit code 2).
    """
    from rich.console import Console

    from graphs import GraphStore

    console = Console(soft_wrap=True, highlight=False, markup=False)
    with GraphStore(config.path) as store:
        if config.action == "info":
            info(store, console)
        else:
            verify(store, console)


def info(store: "GraphStore", console: "Console") -> None:
    """Print count, sizes, fields with their widths, and the manifest."""
    sizes = sorted(store.sizes())
    console.print(f"{store.path}: {len(sizes)} videos, {store.path.stat().st_size / 2**20:.1f} MiB on disk")
    if sizes:
        mean = sum(sizes) / len(sizes)
        console.print(f"bytes a video: {mean:.0f} on average, from {sizes[0]} to {sizes[-1]}")
    fields = ", ".join(f"{name} [{width}]" if width else name for name, width in store.fields.items())
    console.print(f"fields: {fields or 'none yet'}; features in {store.features_dtype}")
    console.print(f"manifest: {json.dumps(store.manifest, indent=2, ensure_ascii=False) if store.manifest else 'none'}")


def verify(store: "GraphStore", console: "Console") -> None:
    """Read every record again and list the broken ones.

    Raises:
        StgError: there are broken records.
    """
    broken = store.verify()
    for video, reason in broken[:LISTED]:
        console.print(f"{video!r}: {reason}")
    if len(broken) > LISTED:
        console.print(f"... and {len(broken) - LISTED} more")
    if broken:
        raise StgError(
            f"{len(broken)} of {len(store)} records in {store.path} are broken: extract these videos again into a new "
            "store, or restore the file from a copy"
        )
    console.print(f"{store.path}: all {len(store)} records are whole")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse ``argv`` and run; errors become one line and the exit code 1 or 2."""
    return run_command(StoreConfig, run, __doc__ or "", sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
