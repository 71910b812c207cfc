"""How CPU seconds and memory grow with the number of items: extraction, store, training, evaluation and pages.

Each part (`benchmarks.growth_work`) is done at 1x, 4x and 16x of its size, each time in a process of its own that is
forked from one which has loaded the libraries and done nothing. Measured is the work alone: user and system time, and
the most memory above that of the start. ``own`` is memory of the process itself, looked at every 5 ms; ``mapped``
counts the pages of files that it has mapped, too, such as those of a store, which the system takes back when it needs
them. The exponent is that of ``seconds = a * size ** b``; below 1, a fixed cost is part of the seconds.

Not one of the suite, as it takes minutes and writes nothing: ``python -m benchmarks.growth --graphs 200000`` writes as
many made graphs into a store and takes it through its life (`benchmarks.growth_dry_run`).
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.growth_dry_run import dry_run
from benchmarks.growth_work import PARTS
from benchmarks.memory import Memory, seconds
from benchmarks.timing import bar, growth, write

TIMES = (1, 4, 16)
QUICK = (1, 2)


def done(part: str, size: int) -> dict[str, float]:
    """Do a part once in this process; CPU seconds and MiB of it.

    Raises:
        AssertionError: it did not do as many items as it was given.
    """
    prepare, _ = PARTS[part]
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(Path(folder), size)
        with Memory() as memory:
            start = seconds()
            items = work()
            taken = seconds() - start
    if items != size:
        raise AssertionError(f"{part} did {items} of {size} items")
    return {"cpu_s": round(taken, 3), "own": round(memory.own, 1), "mapped": round(memory.mapped, 1)}


def apart(part: str, size: int) -> dict[str, float]:
    """The same in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    # Forked, so that the libraries, which take longer than the work, are loaded once.
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(send, part, size))
    process.start()
    send.close()
    try:
        found: dict[str, float] = receive.recv()
    except EOFError as error:
        raise RuntimeError(f"{part} with {size} items failed") from error
    finally:
        process.join()
    return found


def _send(pipe: Connection, part: str, size: int) -> None:
    torch.set_num_threads(1)
    pipe.send(done(part, size))


def measured() -> dict[str, list[dict[str, float]]]:
    """Every part at every size; the sizes of a part one after another."""
    return {
        part: [{"items": times * least, **apart(part, times * least)} for times in TIMES]
        for part, (_, least) in PARTS.items()
    }


def results(found: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """What is written: bars, exponents, and all rows."""
    exponents = {part: growth([row["items"] for row in rows], [row["cpu_s"] for row in rows])
                 for part, rows in found.items()}  # fmt: skip
    kibibyte = {part: kibibytes_an_item(rows) for part, rows in found.items()}
    return {
        "bars": [
            bar("largest exponent of CPU seconds, 1x to 16x", max(exponents.values()), 1.1, "lower"),
            bar("memory of a further item, KiB, most of all parts", max(kibibyte.values()), 8, "lower"),
        ],
        "growth_of_CPU_seconds": exponents,
        "kibibytes_of_a_further_item": kibibyte,
        "rows": found,
    }


def kibibytes_an_item(rows: list[dict[str, float]]) -> float:
    """Memory of its own that a part takes for each further item, from 4x to 16x: at 1x buffers fill up."""
    middle, last = rows[-2:]
    return round(max(0.0, 1024 * (last["own"] - middle["own"]) / (last["items"] - middle["items"])), 2)


def table(result: Mapping[str, Any]) -> Table:
    """Seconds, exponents and memory of each part."""
    shown = Table("part", "items", "CPU s", "exponent", "MiB, own", "MiB, mapped", "KiB a further item", title="Growth")
    for part, rows in result["rows"].items():
        shown.add_row(
            part,
            *("  ".join(f"{row[name]:{form}}" for row in rows) for name, form in (("items", "d"), ("cpu_s", ".2f"))),
            f"{result['growth_of_CPU_seconds'][part]:.2f}",
            *("  ".join(f"{row[name]:.0f}" for row in rows) for name in ("own", "mapped")),
            f"{result['kibibytes_of_a_further_item'][part]:.2f}",
        )
    return shown


def main(quick: bool = False) -> None:
    """Measure and write ``results/growth.json``; ``quick``: see that each part does all of its items, of few."""
    if quick:
        for part in PARTS:
            for size in QUICK:
                done(part, size)
        print("growth: all parts do all of their items")
        return
    result = results(measured())
    console = Console()
    console.print(table(result))
    console.print(f"written: {write('growth', result).name}")


def from_command_line() -> None:
    """The dry run, or what the suite measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--graphs", type=int, help="a dry run of so many made graphs instead; it writes no result")
    parser.add_argument("--width", type=int, default=64, help="of their features (default: 64)")
    parser.add_argument("--folder", type=Path, help="where their store lies meanwhile (default: the system's)")
    options = parser.parse_args()
    if options.graphs is None:
        main()
    else:
        dry_run(options.graphs, options.width, options.folder)


if __name__ == "__main__":
    from_command_line()
