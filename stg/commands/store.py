"""Look at graph stores, verify, merge, rebuild their edges."""

from pathlib import Path

from rich.console import Console

from graphs import GraphStore
from stg.config.store import StoreConfig
from stg.data.edges import rebuild_edges
from stg.data.merge import info, merge, stores_among, verify
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter


def main(config: StoreConfig) -> None:
    """Look at the stores and print what there is to say, or merge them.

    Raises:
        StgError: broken records (exit code 1).
        ValueError: no store there, or one that is damaged as a whole (exit code 2).
    """

    reporter = ConsoleReporter(Console(soft_wrap=True))
    if config.action == "edges":
        assert config.out is not None
        # One file cannot be read and replaced in one go; resolved, as two names may lead to it.
        if Path(config.out).resolve() == Path(config.paths[0]).resolve():
            raise UserError(f"{config.out!r} is --out and the store to read: choose another --out")
        with (
            GraphStore(config.paths[0]) as source,
            GraphStore(config.out, "a", source.features_dtype, strict=config.strict) as target,
        ):
            rebuild_edges(source, target, config.edges, reporter)
        return
    if config.out is not None:
        merge(stores_among(config.paths), config.out, reporter, strict=config.strict)
        return
    for path in stores_among(config.paths):
        with GraphStore(path) as store:
            if config.action == "info":
                info(store, reporter)
            else:
                verify(store, reporter)
