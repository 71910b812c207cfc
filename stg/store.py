"""List, verify or merge stores of video graphs, rebuild their edges, or join their objects to tracks.

Info prints what a store holds, verify whether every record is whole.

`store info STORE` and `store verify STORE` only read; `store merge STORE.rank* --out STORE` joins what several
processes wrote, `store edges STORE --tau_time 0.1 --out SHARP` draws other edges, and `store tracks STORE --out NEW`
adds the track of each object.

Merge copies the records of stores made with the same settings, such as one of each process, byte by byte into the store
--out, in the order of their keys; what is there already is not copied again. The lists next to them (.clips.jsonl,
.skipped.jsonl) are joined too.

Edges rebuilds the edges of a store's graphs, sharper or fewer, into the store --out. Nothing is extracted again. Models
trained on the one store refuse the other.

Tracks finds out which objects of a video's frames are the same, by appearance and overlap, as model.readout tracks and
edges along tracks need it, into the store --out. Models that were trained without tracks take either store.
"""

from stg.commands.parser import command
from stg.config.store import MAKING, StoreConfig


def main(config: StoreConfig) -> None:
    """The command."""
    from stg.commands.store import main as run

    run(config)


if __name__ == "__main__":
    command("store", StoreConfig, main, __doc__ or "", resumes=lambda config: config.action in MAKING)
