"""The page of two rows of runs: the videos whose captions one changed most for the better and for the worse."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stg.metrics.columns import HEADINGS
from stg.pages.html import render
from stg.pages.run.captions import Pictures
from stg.runtime.files import page_file, write_atomic


def write_comparison(out: str | Path, record: Mapping[str, Any], *, pictures: Pictures | None = None) -> Path:
    """Write the page; returns its file.

    Args:
        out: the file, or a folder that gets ``index.html``.
        record: as `stg.evaluation.compare` makes it, of two rows at least.
        pictures: a few frames of a video as ``data:`` addresses; None: the page shows captions alone.

    Raises:
        UserError: ``out`` cannot be a file.
    """
    file = page_file(Path(out))
    write_atomic(file, comparison_html(record, pictures=pictures))
    return file


def comparison_html(record: Mapping[str, Any], *, pictures: Pictures | None = None) -> str:
    """One self-contained page: it needs no network, no other file, and no script."""
    names = record["baseline"], record["shown"]
    rows = {row["name"]: row["scores"] for row in record["rows"]}
    (against,) = (row["scores"] for row in record["differences"] if row["name"] == record["shown"])
    scores = [
        (
            HEADINGS[metric],
            *(f"{rows[name][metric]['mean']:.3f}" for name in names),
            f"{found['value']:+.3f}",
            f"{found['low']:+.3f} .. {found['high']:+.3f}",
        )
        for metric, found in against.items()
    ]
    return render(
        "comparison.html",
        title=f"{record['shown']} against {record['baseline']}",
        lead=f"{record['dataset']}, {record['split']}, {record['search']}: {record['videos']} videos.",
        baseline=record["baseline"],
        shown=record["shown"],
        scores=scores,
        note=f"Paired bootstrap over the videos, {record['samples']} resamples; the interval is of the difference.",
        notes=record["notes"],
        **{kind: [_item(found, names, pictures) for found in record[kind]] for kind in ("gains", "losses")},
    )


def _item(found: Mapping[str, Any], names: Sequence[str], pictures: Pictures | None) -> dict[str, Any]:
    before, after = (
        {"name": name, "caption": found[side]["caption"], "score": f"{found[side]['cider']:.2f}"}
        for name, side in zip(names, ("baseline", "row"), strict=True)
    )
    return {
        "video": found["video"],
        "change": f"{found['change']:+.2f}",
        "before": before,
        "after": after,
        "references": found["references"],
        "pictures": [] if pictures is None else pictures(found["video"]),
    }
