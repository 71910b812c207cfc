"""The list of models: what ships, from its cards and files, and what was measured, from result files."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from page_files import write

from stg.metrics.columns import EVENTS, PUBLISHED, heading, spread_text
from stg.runs.shipped import CARD, NETWORKS, ORIGINS, PRETRAINED, ShippedModel, read_origins, shipped_models
from stg.runtime.files import sha256_file
from stg.runtime.reading import read_text

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
NOTES = """\
MB are units of 2^20 bytes; the number in brackets counts the networks that the captioner reads, too. Seconds are CPU \
seconds of one thread for a clip of {seconds:.0f} seconds ({frames} frames of {pixels} x {pixels}), start-up apart \
(`python -m benchmarks captioner`)."""

EVENTS_NOTE = """\
Share of the captions that name the event: of all videos, of those with two objects, and of those whose event only \
places, only their order in time, or both tell from similar events."""


def zoo_text(results: Path = RESULTS, pretrained: Path = PRETRAINED) -> str:
    """The page in Markdown (MyST)."""
    models = shipped_models(pretrained)
    parts = ["# Zoo", "Every number on this page is read from a result file or from the card of a model at build time."]
    parts += ["## Captioners that come with the installation", *model_table(models, results)]
    for model in models:
        parts += [f"### {model.name}", f"```sh\nstg caption clip.mp4 --model {model.name}\n```", *score_table(model)]
        parts += [f"[The whole card](cards/{model.name}.md): confidence, what it gets wrong, cost, how to repeat it."]
    parts += ["## Files", "`stg models` compares them with their hashes.", hash_list(models)]
    parts += ["## Networks", network_list(pretrained / NETWORKS / ORIGINS)]
    parts += [
        "## Measured, to be trained by you",
        "No file of these ships: the command makes one, within minutes on the built-in world.",
    ]
    parts += measured_tables(results)
    parts += ["```{toctree}\n:hidden:\n\n" + "\n".join(f"cards/{model.name}" for model in models) + "\n```"]
    return "\n\n".join(parts) + "\n"


def model_table(models: list[ShippedModel], results: Path) -> Iterator[str]:
    """One row a captioner."""
    file = results / "captioner" / "seconds.json"
    timed = json.loads(file.read_text("utf-8")) if file.is_file() else {"captioners": {}}
    head = ["name", "reads", "trained on", "weights", "MB (with networks)", "s a clip"]
    yield table(head, [model_row(model, timed["captioners"].get(model.name, {})) for model in models])
    if "clip" in timed:
        yield NOTES.format(**timed["clip"])


def model_row(model: ShippedModel, timed: Mapping[str, Any]) -> list[str]:
    """A captioner; its seconds only where they were measured of this very file."""
    facts = model.facts
    own = next(path for path in model.files if path.parent == model.folder)
    seconds = f"{timed['seconds']['median']:.2f}" if timed.get("sha256") == facts["sha256"] else "not measured"
    name = f"[{model.name}](cards/{model.name}.md)" + (" (default)" if facts.get("default") else "")
    reads = "frames and detected objects" if facts.get("needs_detector") else "frames"
    size = f"{own.stat().st_size / 2**20:.1f} ({model.megabytes:.1f})"
    return [name, reads, str(facts.get("data", "-")), f"{facts.get('weights', 0):,}", size, seconds]


def score_table(model: ShippedModel) -> Iterator[str]:
    """The test scores of a captioner, and below them those of its control."""
    rows = []
    for search, values in model.facts["scores"].items():
        if ", test, " in search:
            rows.append([search, *(spread_text(values.get(name)) for name in PUBLISHED)])
            if control := (model.facts.get("control") or {}).get(search):
                rows.append([f"{search}, *control*", *(spread_text(control.get(name)) for name in PUBLISHED)])
    yield table(["data and search", *map(heading, PUBLISHED)], rows)
    yield "Mean ± deviation over the seeds that were trained. The control saw the features of other videos."


def hash_list(models: list[ShippedModel]) -> str:
    """Each file that ships, once, with the hash that its card has."""
    files = {path: digest for model in models for path, digest in model.files.items()}
    return "\n".join(
        f"- `{path.parent.name}/{path.name}`, {path.stat().st_size:,} bytes, SHA-256 `{digest}`"
        for path, digest in files.items()
    )


def network_list(origins: Path) -> str:
    """The networks that ship, and those that models which ship were made with."""
    lines = []
    for name, origin in read_origins(origins).items():
        here = "ships" if (origins.parent / name).is_file() else "does not ship"
        what = f"`{name}` ({here}): {origin['what']}; [source]({origin['source']})"
        lines.append(f"- {what}. {origin['copyright']} {origin['licence']}. SHA-256 `{origin['sha256']}`")
    return "\n".join(lines)


def measured_tables(results: Path) -> Iterator[str]:
    """Tables for each file that ``stg compare --json`` wrote: its rows with mean and deviation over seeds.

    Events have a table of their own, as all columns next to each other are wider than a page.
    """
    for file in sorted(results.glob("**/*.json")):
        found = json.loads(file.read_text("utf-8"))
        if not {"dataset", "split", "search", "rows", "differences_of"} <= set(found):
            continue
        scores = [name for name in PUBLISHED if any(name in row["scores"] for row in found["rows"])]
        events = [name for name in EVENTS if any(name in row.get("events", {}) for row in found["rows"])]
        yield f"### {found['dataset']}, {found['split']} ({found['videos']:,} videos), {found['search']} search"
        rows = [
            [row["name"], str(len(row["seeds"])), *(short(row["scores"].get(name)) for name in scores)]
            for row in found["rows"]
        ]
        yield table(["model", "seeds", *map(heading, scores)], rows)
        if events:
            yield EVENTS_NOTE
            rows = [
                [row["name"], *(short(row.get("events", {}).get(name)) for name in events)] for row in found["rows"]
            ]
            yield table(["model", *map(heading, events)], rows)
        yield f"Source: `benchmarks/results/{file.relative_to(results)}`, commit {found.get('commit', 'unknown')}."
        if made := found.get("made_by"):
            yield f"Made by: {made.replace('|', chr(92) + '|')}"


def short(values: Mapping[str, Any] | None) -> str:
    """Mean and deviation without the zeros before the points, so that six columns fit a page."""
    return re.sub(r"\b0\.", ".", spread_text(values))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = (f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
    return unbroken("\n".join(lines))


def unbroken(text: str) -> str:
    """A number and its deviation, kept on one line by no-break spaces."""
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def write_zoo(folder: Path) -> list[Path]:
    """Write ``zoo.md`` and the card of each model under ``cards``; returns the files.

    Raises:
        ValueError: a file that ships is not what its card says.
    """
    for model in shipped_models():
        for path, digest in model.files.items():
            if sha256_file(path) != digest:
                raise ValueError(f"{path} is not the file whose hash the card of {model.name} has")
    (folder / "cards").mkdir(exist_ok=True)
    cards = [write(folder / "cards" / f"{model.name}.md", card_body(model.folder / CARD)) for model in shipped_models()]
    return [write(folder / "zoo.md", zoo_text()), *cards]


def card_body(card: Path) -> str:
    """A card without the facts at its head."""
    return unbroken(read_text(card).split("\n---\n", 1)[1].lstrip())
