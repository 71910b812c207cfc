"""What a store of video graphs holds (info), whether every record is whole (verify), many stores as one (merge), and
other edges for its graphs (edges).

Merging copies the records of stores made alike, such as one of each process, byte by byte into the store --out, in the
order of their keys; what is there already is not copied again. The lists beside them (.clips.jsonl, .skipped.jsonl) are
joined too.

Edges draws the edges of a store's graphs anew, into the store --out: sharper ones, or fewer. Nothing is extracted
again. Models trained on the one store refuse the other.
"""

from stg.commands.parser import command
from stg.config.store import StoreConfig


def main(config: StoreConfig) -> None:
    """The command."""
    from stg.commands.store import main as run

    run(config)


if __name__ == "__main__":
    command(StoreConfig, main, __doc__ or "")
