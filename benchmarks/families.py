"""All model families on the still frames of MSR-VTT: from the cells of an ablation to one result file.

    ./run ablate families --config stg_msrvtt --loss.word_weight 0 --optim.epochs 10 --out runs/families ...
    python -m benchmarks.families runs/families
    python -m benchmarks table

Scores and minutes come from the ablation's own table; the paired bootstrap over videos, of each row against the
reference, from what `stg.compare` does.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.tables import FAMILIES_FILE, families_lines
from stg.config.results import CompareConfig
from stg.evaluation.comparison import compare

SEARCHES = {"greedy": "greedy", "beam 5": "beam5"}
"""As the table calls a search -> as files of captions do."""
METRICS = ("bleu4", "rouge", "cider")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the folder of an ablation, and write the result file."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.families", description="The table of model families.")
    command.add_argument("folder", type=Path, help="that of stg.ablate families (its --out)")
    command.add_argument("--root", help="folder of MSR-VTT's annotation, if it has moved since")
    command.add_argument("--out", type=Path, default=RESULTS / FAMILIES_FILE)
    options = command.parse_args(arguments)
    table = options.folder / "table.json"
    if not table.is_file():
        command.error(f"{table} is not there: give the folder that stg.ablate families has written (its --out)")
    made = json.loads(table.read_text("utf-8"))
    if made["table"] != "families":
        command.error(f"{table} is of the table {made['table']!r}; expected families")
    result = summary(made, options.folder, options.root)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(families_lines(result)))
    return 0


def summary(made: Mapping[str, Any], folder: Path, root: str | None = None) -> dict[str, Any]:
    """What is kept of an ablation's table, with each row's differences from the reference.

    Args:
        made: ``table.json``.
        folder: where it lies, with the runs in ``cells``.
        root: of the annotation.
    """
    rows = [row for row in made["rows"] if row["seeds"]]
    found = {title: paired(rows, folder, made["reference"], name, root) for title, name in SEARCHES.items()}
    first = found[next(iter(SEARCHES))]
    return {
        "benchmark": "families",
        "dataset": made["dataset"],
        "features": made["features"],
        "split": made["split"],
        "videos": first["videos"],
        "epochs": made["settings"]["optim"]["epochs"],
        "reference": made["reference"],
        "samples": first["samples"],
        "machine": made["machine"],
        "commit": made["commit"],
        "rows": [
            {key: row[key] for key in ("name", "title", "control", "seeds", "settings", "weights", "minutes")}
            | {"scores": {title: {metric: row["scores"][title][metric] for metric in METRICS} for title in SEARCHES}}
            | {"apart": {title: found[title]["rows"].get(row["name"]) for title in SEARCHES}}
            for row in rows
        ],
        "missing": made["missing"],
    }


def paired(
    rows: Sequence[Mapping[str, Any]], folder: Path, reference: str, search: str, root: str | None
) -> dict[str, Any]:
    """CIDEr of each row minus the reference's, with the interval of a paired bootstrap over videos."""
    # A comparison names its rows in the order of the runs, and commas part the names.
    plain = [row for row in rows if not row["control"]]
    runs = [str(folder / "cells" / f"{row['row']}-seed{seed}") for row in plain for seed in row["seeds"]]
    names = ",".join(row["name"] for row in plain)
    record = compare(
        CompareConfig(
            tuple(runs), split="test", search=search, names=names, baseline=reference, root=root, meteor=False, show=0
        )
    )
    apart = {row["name"]: row["scores"]["cider"] for row in record["differences"]}
    return {"videos": record["videos"], "samples": record["samples"], "rows": apart}


if __name__ == "__main__":
    raise SystemExit(main())
