"""List, verify or merge stores of video graphs, or rebuild their edges.

Info prints what a store holds, verify whether every record is whole.

`store info STORE` and `store verify STORE` only read; `store merge STORE.rank* --out STORE` joins what several
processes wrote, and `store edges STORE --tau_time 0.1 --out SHARP` draws other edges.

Merge copies the records of stores made with the same settings, such as one of each process, byte by byte into the store
--out, in the order of their keys; what is there already is not copied again. The lists next to them (.clips.jsonl,
.skipped.jsonl) are joined too.

Edges rebuilds the edges of a store's graphs, sharper or fewer, into the store --out. Nothing is extracted again. Models
trained on the one store refuse the other.
"""

from stg.commands.parser import command
from stg.config.store import MAKING, StoreConfig


def main(config: StoreConfig) -> None:
    """The command."""
    from stg.commands.store import main as run

    run(config)


if __name__ == "__main__":
    command("store", StoreConfig, main, __doc__ or "", resumes=lambda config: config.action in MAKING)
