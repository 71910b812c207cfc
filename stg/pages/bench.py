"""The page of a model's scores on a bench."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stg.pages.html import render
from stg.runtime.files import page_file, write_atomic

EXAMPLES = 20
"""Wrong answers on a page, and right ones."""


def write_bench_page(out: str | Path, record: Mapping[str, Any]) -> Path:
    """Write the page; returns its file.

    Args:
        out: the file, or a folder that gets ``index.html``.
        record: of `stg.benchmark.scoring.score_file`.

    Raises:
        UserError: ``out`` cannot be a file.
    """
    file = page_file(Path(out))
    rows = [
        (
            name,
            f"{100 * found['accuracy']:.1f}",
            f"{100 * found['low']:.1f} .. {100 * found['high']:.1f}",
            f"{100 * found['chance']:.0f}" if "chance" in found else "",
            f"{100 * found['twins']:.1f}" if found.get("twins") is not None else "",
            str(found["questions"]),
        )
        for name, found in record["kinds"].items()
    ]
    wrong = [one for one in record["examples"] if one["answer"] != one["truth"]]
    right = [one for one in record["examples"] if one["answer"] == one["truth"]]
    consistency = record.get("consistency")
    page = render(
        "bench.html",
        title=f"{record['name']} on a bench",
        rows=rows,
        consistency=None if consistency is None else f"{100 * consistency:.1f}",
        examples=[("Differs from the truth", wrong[:EXAMPLES]), ("As the truth", right[:EXAMPLES])],
        notes=record["notes"],
    )
    write_atomic(file, page)
    return file
