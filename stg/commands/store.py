"""Look at graph stores, verify, merge, rebuild their edges, join objects to tracks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from graphs import GraphStore
from stg.config.store import StoreConfig
from stg.data.edges import rebuild_edges, track_objects
from stg.data.merge import info, merge, stores_among, verify
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter


def main(config: StoreConfig) -> None:
    """The command.

    Raises:
        StgError: broken records (exit code 1).
        ValueError: no store there, or one that is damaged as a whole (exit code 2).
    """
    ACTIONS[config.action](config, ConsoleReporter(Console(soft_wrap=True)))


def print_info(config: StoreConfig, reporter: Reporter) -> None:
    """Print what each store holds."""
    for path in stores_among(config.paths):
        with GraphStore(path) as store:
            info(store, reporter)


def verify_records(config: StoreConfig, reporter: Reporter) -> None:
    """Read every record of the stores again; the first store with a broken one ends the command."""
    for path in stores_among(config.paths):
        with GraphStore(path) as store:
            verify(store, reporter)


def merge_stores(config: StoreConfig, reporter: Reporter) -> None:
    """Copy the records of all stores into one."""
    assert config.out is not None
    merge(stores_among(config.paths), config.out, reporter, strict=config.strict)


def make_edges(config: StoreConfig, reporter: Reporter) -> None:
    """Copy a store with other edges."""
    with _copying(config) as (source, target):
        rebuild_edges(source, target, config.edges, reporter)


def make_tracks(config: StoreConfig, reporter: Reporter) -> None:
    """Copy a store with the track of each object."""
    with _copying(config) as (source, target):
        track_objects(source, target, config.tracks, reporter)


@contextmanager
def _copying(config: StoreConfig) -> Iterator[tuple[GraphStore, GraphStore]]:
    """The store to read, and the one to make."""
    assert config.out is not None
    if Path(config.out).resolve() == Path(config.paths[0]).resolve():
        raise UserError(f"{config.out!r} is --out and the store to read: choose another --out")
    with (
        GraphStore(config.paths[0]) as source,
        GraphStore(config.out, "a", source.features_dtype, strict=config.strict, free=source.free_fields) as target,
    ):
        yield source, target


ACTIONS: Mapping[str, Callable[[StoreConfig, Reporter], None]] = {
    "info": print_info,
    "verify": verify_records,
    "merge": merge_stores,
    "edges": make_edges,
    "tracks": make_tracks,
}
"""What the command does, by the first word after its name."""
