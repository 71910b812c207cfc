"""Event classifiers on the built-in world: one for each branch or variant of edges and each seed, and their table."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from graphs import GraphStore
from stg.config.data import DataConfig
from stg.config.probe import HEADS, SHUFFLED, ProbeConfig
from stg.config.schema import describe, differences, fits
from stg.config.store import EdgeConfig
from stg.data.batches import BatchSource, shuffle_features
from stg.data.edges import recorded_edges
from stg.datasets.open import open_dataset
from stg.datasets.world import World
from stg.datasets.world.scores import scores_of
from stg.evaluation.event_classifier import EventClassifier, train_and_test
from stg.evaluation.plots import to_svg
from stg.metrics.columns import spread, spread_text
from stg.models.feature_kinds import FeatureWidths
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import append_jsonl, remove_leftovers, write_atomic
from stg.runtime.locks import lock_folder
from stg.runtime.provenance import commit, machine
from stg.runtime.reading import read_json, read_json_lines, read_text, require
from stg.runtime.reporter import SILENT, Reporter


def probe(config: ProbeConfig, *, reporter: Reporter = SILENT) -> dict[str, dict[int, dict[str, float]]]:
    """Train and test all rows; returns the scores of each row by seed.

    Raises:
        UserError: the folder holds results of other settings, or another process writes there.
        Preempted: the reporter said so; what is done is kept.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    folder = Path(config.out)
    _agree(folder, config.settings)
    with lock_folder(folder):
        remove_leftovers(folder)
        return _probe(config, folder, reporter)


def _probe(config: ProbeConfig, folder: Path, reporter: Reporter) -> dict[str, dict[int, dict[str, float]]]:
    opened = open_dataset(
        DataConfig(store=config.store), config.world, reporter=reporter, splits=("train", "val", "test")
    )
    world = World.of(config.world)
    results = folder / "results.jsonl"
    found: dict[str, dict[int, dict[str, float]]] = {row: {} for row in config.chosen}
    commits: set[str | None] = set()
    # What earlier calls have done is kept. Rows and seeds that are not asked for now stay out of the table.
    for record in _records(results):
        if record["row"] in found and record["seed"] in config.numbers:
            found[record["row"]][record["seed"]] = record["scores"]
            commits.add(record.get("commit"))
    # Seed by seed, so that a stop leaves every row with the seeds that are done.
    for seed in config.numbers:
        for row in config.chosen:
            if seed in found[row]:
                continue
            result = _train_row(config, row, seed, world, opened.store, opened.dataset.splits, reporter)
            if result is None:
                raise Preempted(f"stopped: what is done is in {results}; the same command resumes from there")
            right, scores = result
            found[row][seed] = scores
            # At once: a kill then costs the row at work and no other.
            append_jsonl(results, {"row": row, "seed": seed, "val": right, "scores": scores, "commit": commit()})
            commits.add(commit())
            test = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
            reporter.say(f"{row}, seed {seed}: val {right:.3f}, test {test}")
    _write_table(config, found, recorded_edges(opened.store.manifest), commits, folder)
    reporter.say(f"table.md, table.json and table.svg are in {folder}")
    return found


def _records(path: Path) -> list[dict[str, Any]]:
    """The results so far; a last line that a kill cut short is dropped from the file, and made again."""
    if not path.exists():
        return []
    whole, end, cut = read_text(path).rpartition("\n")
    if cut:
        write_atomic(path, whole + end)
    found = []
    for where, row in read_json_lines(path):
        require(row, "row", str, where)
        require(row, "seed", int, where)
        if not all(fits(float, value) for value in require(row, "scores", dict, where).values()):
            raise UserError(f"{where}: 'scores' must be numbers")
        found.append(row)
    return found


def _agree(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / "settings.json"
    # As the file will give them back, or a tuple would differ from its list.
    settings = json.loads(json.dumps(settings))
    if path.exists():
        if differing := differences(read_json(path), settings):
            listed = describe(differing)
            raise UserError(f"{folder} holds results of other settings ({listed}): choose another --out")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(settings, ensure_ascii=False, indent=1))


def _train_row(
    config: ProbeConfig,
    row: str,
    seed: int,
    world: World,
    store: GraphStore,
    splits: Mapping[str, Sequence[str]],
    reporter: Reporter,
) -> tuple[float, dict[str, float]] | None:
    """Share of the validation videos that is right, and scores of the test videos; None if it was stopped."""
    # For weights and dropout; the order of the videos is drawn by a generator of its own.
    torch.manual_seed(seed)
    variant = row.removesuffix(SHUFFLED)
    widths = FeatureWidths.of(store.flat_batch([splits["train"][0]], "none"))
    model = EventClassifier(
        scene=widths.scene if variant == "scene" else None,
        objects=widths.objects,
        classes=len(world.events),
        channels=config.channels,
        layers=config.layers,
        heads=HEADS,
        dropout=config.dropout,
    )
    # Features are exchanged within a split, so that no video of the test was seen in training.
    shuffled = None
    if row.endswith(SHUFFLED):
        shuffled = {k: v for videos in splits.values() for k, v in shuffle_features(videos, seed).items()}
    truth = {video: world.event(video) for videos in splits.values() for video in videos}
    found = train_and_test(
        model,
        # The scene row reads no graph, so no edge is loaded for it.
        BatchSource(store, "none" if variant == "scene" else variant, config.time_flow, shuffled),
        splits,
        {video: event.label for video, event in truth.items()},
        seed=seed,
        epochs=config.epochs,
        batch_videos=config.batch_videos,
        lr=config.lr,
        stop=reporter.should_stop,
    )
    if found is None:
        return None
    right, predicted = found
    correct = {video: label == truth[video].label for video, label in predicted.items()}
    return right, scores_of(correct, {video: truth[video].verb for video in predicted})


def _write_table(
    config: ProbeConfig,
    found: Mapping[str, Mapping[int, Mapping[str, float]]],
    edges: EdgeConfig,
    commits: Collection[str | None],
    folder: Path,
) -> None:
    rows = [
        {
            "name": row,
            "row": row,
            "control": row.endswith(SHUFFLED),
            "seeds": list(seeds),
            "scores": {
                "classifier": {
                    name: spread([scores[name] for scores in seeds.values()]) for name in next(iter(seeds.values()))
                }
            },
        }
        for row, seeds in found.items()
    ]
    record = {
        "table": "probe",
        "title": "which events a branch tells apart, no caption in between",
        "dataset": f"built-in world, seed {config.world.seed}",
        "edges": edges_in_words(edges),
        "split": "test",
        "reference": "scene",
        # The store by its name alone: tables are published, folders are not.
        "settings": {**config.settings, "store": Path(config.store).name if config.store else None},
        "machine": machine(),
        "commits": sorted(name or "unknown" for name in commits),
        "rows": rows,
    }
    write_atomic(folder / "table.json", json.dumps(record, ensure_ascii=False, indent=1))
    write_atomic(folder / "table.md", to_markdown(record))
    # The plot has no line for the edges: they join the one on the data.
    about = {**record, "dataset": f"{record['dataset']}, edges {record['edges']}"}
    write_atomic(folder / "table.svg", to_svg(about, "classifier"))


def edges_in_words(edges: EdgeConfig) -> str:
    """How the edges were computed: what differs from the paper."""
    other = [f"{name} {value}" for name, value in asdict(edges).items() if value != getattr(EdgeConfig(), name)]
    return ", ".join(other) or "as in the paper"


def to_markdown(record: Mapping[str, Any]) -> str:
    """The table: share of the test videos whose event is predicted, mean and sample deviation over seeds."""
    world = record["settings"]["world"]
    sizes = " / ".join(str(world[split]) for split in ("train", "val", "test"))
    names = list(record["rows"][0]["scores"]["classifier"])
    lines = [
        f"# {record['title'][0].upper()}{record['title'][1:]}",
        "",
        f"{record['dataset']}: {sizes} videos. Share of the test videos whose event a classifier predicts: mean ± "
        "deviation of a sample (n - 1) over seeds.",
        "",
        f"Edges: {record['edges']}.",
        "",
        "| row | seeds | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "| --- | ---: |" + " ---: |" * len(names),
    ]
    for row in record["rows"]:
        cells = [spread_text(row["scores"]["classifier"][name]) for name in names]
        lines.append(f"| {row['name']} | {len(row['seeds'])} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Commit {', '.join(record['commits'])}.", ""])
