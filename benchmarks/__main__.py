"""``python -m benchmarks [NAME ...] [--quick]`` measures; ``python -m benchmarks table`` writes the tables."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import CLIPS, RESULTS
from benchmarks.changes import WORSE, committed, worse
from benchmarks.tables import write_tables

BENCHMARKS = {
    "edges": "building graphs, against a loop over frames",
    "convolution": "the graph convolution, against a dense matrix, PyG's gather-scatter and GCNConv",
    "encoders": "a step of an encoder with boxes, kinds and geometry, against the paper's",
    "store": "reading batches from the store, against pickle, .pt, safetensors and HDF5",
    "dataset": "a DataLoader over a store, against the OnDiskDataset of PyG",
    "decoding": "cached greedy and beam search, against running the whole prefix again for each word",
    "scores": "scores and rewards, against pycocoevalcap and the usual CIDEr-D",
    "rewards": "a step of training on rewards, part by part",
    "training": "a training step, against the usual way and its matrix products",
    "extraction": "from clips to graphs by the clock, against one clip after the other",
    "startup": "CPU seconds of help, of a wrong path, of captioning one clip, of evaluating 200 videos",
    "waiting": "what people wait for: captions of clips, an epoch, an evaluation, METEOR, a page, against other ways",
    "growth": "CPU seconds and memory of extraction, store, training, evaluation, pages at 1x, 4x, 16x",
    "captioner": "CPU seconds that the captioners of the installation take for a clip",
    "activity": "which activity a clip of CAD-120 shows: no edges, spatial, temporal, both, against a random forest",
    "graph_text": "which events of the built-in world survive when a graph is written as text, read by rules",
    "gpu": "convolution, decoding and training on a GPU, if there is one",
}
TABLE = "table"


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    width = max(map(len, BENCHMARKS))
    described = "\n".join(f"  {name:{width}}  {what}" for name, what in BENCHMARKS.items())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure against named rivals, each benchmark in a process of its own, and write "
        "benchmarks/results/NAME.json.\nRivals must give the same results, or their times are not compared.",
        epilog=f"benchmarks:\n{described}\n"
        f"  {TABLE:{width}}  measures nothing: writes the tables of README and docs from the results\n\n"
        "examples:\n  python -m benchmarks                      all, an hour or less; then the tables\n"
        "  python -m benchmarks scores decoding      these two\n"
        "  python -m benchmarks --quick              only see that the rivals agree: no times, nothing written\n\n"
        "Times are CPU time of one thread, medians with quartiles (benchmarks/timing.py): compare ratios, not times.\n"
        "Ratios that are worse than in the committed results by more than 15 % are named at the end.",
    )
    made.add_argument(
        "names", nargs="*", metavar="NAME", help="all, if none is given; table: the tables of README and docs"
    )
    made.add_argument("--quick", action="store_true", help="small sizes, only to see that the rivals' results agree")
    made.add_argument(
        "--clips", metavar="FILE", type=Path, default=CLIPS,
        help="the clips of CAD-120 as JSON (graphs.read_cad120 says what it holds), for activity; default: "
        "cad120/clips.json.gz in the research data",
    )  # fmt: skip
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; returns how the process is to end."""
    command = parser()
    options = command.parse_args(arguments)
    unknown = [name for name in options.names if name not in (*BENCHMARKS, TABLE)]
    if unknown:
        command.error(f"no benchmark {', '.join(map(repr, unknown))}; there are: {', '.join((*BENCHMARKS, TABLE))}")
    if TABLE in options.names and options.quick:
        command.error(f"{TABLE} writes tables and --quick writes nothing: give one of them")
    names = [name for name in dict.fromkeys(options.names) if name != TABLE] or (
        [] if TABLE in options.names else list(BENCHMARKS)
    )
    if not options.quick and "activity" in names and not options.clips.is_file():
        if "activity" in options.names:
            command.error(
                f"activity reads the clips of CAD-120, and {options.clips} is no file: give it by --clips FILE"
            )
        names.remove("activity")
        print(f"activity is left out: {options.clips}, the clips of CAD-120, is no file (--clips FILE)")
    more = {"activity": {"clips": str(options.clips)}}
    failed = main_first(names, check if options.quick else lambda name: measure_apart(name, **more.get(name, {})))
    if not options.quick:
        tell_worse([name for name in names if name not in failed])
    if not failed and not options.quick and (TABLE in options.names or not options.names):
        print(f"tables written: {', '.join(path.name for path in write_tables())}")
    return 1 if failed else 0


def main_first(names: Sequence[str], run: Callable[[str], str | None]) -> list[str]:
    """Run each, tell how it went, and at the end of all; returns those that failed.

    Args:
        names: of benchmarks.
        run: does one of them; returns why it failed, or None.
    """
    outcomes: dict[str, str] = {}
    failed = []
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}: {BENCHMARKS[name]}", flush=True)
        start = time.perf_counter()
        why = run(name)
        if why:
            failed.append(name)
        outcomes[name] = f"{f'FAILED: {why}' if why else 'done'} ({time.perf_counter() - start:.0f} s)"
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome}", flush=True)
    return failed


def tell_worse(names: Sequence[str]) -> None:
    """Tell which ratios are worse than in the committed results; that is a report, and no failure."""
    for name in names:
        before, path = committed(name), RESULTS / f"{name}.json"
        if before is None or not path.is_file():
            continue
        lines = worse(before, json.loads(path.read_text("utf-8")))
        where = f"{name}: worse by more than {100 * WORSE:.0f} % than at {before.get('commit', 'an earlier commit')}"
        for line in lines:
            print(f"{where}: {line}", flush=True)


def measure_apart(name: str, **more: str) -> str | None:
    """Measure in a process of its own, so that neither memory nor the state of threads reaches the next."""
    code = f"from benchmarks.{name} import main; main(quick=False, **{more!r})"
    done = subprocess.run([sys.executable, "-W", "ignore::FutureWarning", "-c", code], check=False)
    return f"its process ended with code {done.returncode}" if done.returncode else None


def check(name: str) -> str | None:
    """See in this process, where nothing is timed and libraries load once, that the results of all rivals agree."""
    before = {path: path.read_bytes() for path in RESULTS.glob("*.json")}
    try:
        import_module(f"benchmarks.{name}").main(quick=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    written = [path.name for path in RESULTS.glob("*.json") if before.get(path) != path.read_bytes()]
    return f"it wrote {', '.join(written)} where only results are compared" if written else None


if __name__ == "__main__":
    sys.exit(main())
