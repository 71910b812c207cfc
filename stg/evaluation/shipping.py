"""From a run to a captioner that comes with the package: half the size where captions stay, and a card."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stg.config.data import ALL
from stg.config.shipping import ShipConfig
from stg.datasets.world.extractor import WORLD_BUILDERS
from stg.evaluation.card import Origins, card
from stg.evaluation.loaded_run import LoadedRun, batch_source, load_run
from stg.evaluation.results import RunResult, data_set, distinct, group, load_result, require_same_videos
from stg.evaluation.scoring import videos_of
from stg.features.rebuild import features_read, plan_features
from stg.metrics.columns import spread
from stg.models.generation import generate
from stg.runs.bundle import CaptionerBundle
from stg.runs.calibration import Calibration, run_calibrations
from stg.runs.evaluations import file_stem
from stg.runs.folder import RunFolder
from stg.runs.model_file import MODEL_FILE, model_file, model_header
from stg.runs.shipped import CARD, NETWORKS, ORIGINS, PRETRAINED, ShippedModel, read_card, read_origins, shipped_models
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file, write_atomic
from stg.runtime.reading import counted, read_text
from stg.runtime.reporter import SILENT, Reporter

CHANGED = 0.01
"""Largest share of validation captions that half precision may change."""

LARGEST = 60.0
"""Megabytes (2**20 bytes) that all captioners of a package may take."""


def ship(config: ShipConfig, *, reporter: Reporter = SILENT) -> ShippedModel:
    """Make the folder of a captioner: its weights, its card, and the networks it reads in the folder of all networks.

    The card is written last: a folder without one is no captioner.

    Raises:
        UserError: no such run, or one that is not evaluated; weights that are not there, or networks without a stated
            origin; the folder is taken; all captioners together would be too large.
    """
    out = PRETRAINED if config.out is None else Path(config.out)
    folder = out / config.name
    if folder.exists():
        raise UserError(f"{folder} is there already: remove it, or give another --name")
    scores, control = _scores(config.runs), _scores([config.control]) if config.control else {}
    notes = read_text(config.notes).strip() if config.notes else ""
    files, reads = _network_files(config)
    origins = _origins(config, files)
    # Of all data sets that it has learned from: captions of clips are to be like those of any.
    run = load_run(
        config.runs[0], store=config.store, root=config.root, splits=("val",), dataset=ALL, reporter=reporter
    )
    half, precision = _precision(run, config, reporter)
    calibration, stale = run_calibrations(model_file(config.runs[0]))
    if not calibration:
        stale = stale or ["its confidence is not calibrated: python -m stg.evaluate RUN --split val does that"]
    for note in stale:
        reporter.say(note)
    facts = {
        "default": config.default,
        "made": datetime.now().date().isoformat(),
        **_about(run),
        "search": config.search.name,
        "needs_detector": "objects" in reads,
        "scores": scores,
        "control": control,
        "confidence": {search: _worth(found) for search, found in calibration.items()},
        "half_precision": precision,
        "networks": {file.name: sha256_file(file) for file in files},
    }
    with ExitStack() as undo:
        folder.mkdir(parents=True)
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        replace(run.trained, calibration=calibration, search=config.search).save(
            folder / MODEL_FILE, half=half, words=bool(config.search.word_weight)
        )
        facts["sha256"] = sha256_file(folder / MODEL_FILE)
        _copy_networks(files, origins, out / NETWORKS)
        _require_size(out, ShippedModel(folder, facts))
        write_atomic(folder / CARD, card(config.name, facts, origins, notes))
        undo.pop_all()
    model = ShippedModel(folder, read_card(folder / CARD))
    reporter.say(f"written: {folder} ({model.megabytes:.1f} MB with its networks)")
    return model


def _scores(folders: Sequence[str]) -> dict[str, Any]:
    """Split and search, of several data sets with their name -> score -> mean and deviation, as stg.evaluate recorded.

    Raises:
        UserError: the runs differ in more than their seed, or one lacks an evaluation of the first.
    """
    distinct(folders)
    found = dict[str, Any]()
    run = RunFolder(folders[0])
    first, *others = run.config.data.sets
    for evaluation in run.evaluations:
        if not evaluation.record.get("scores"):
            continue
        split, dataset = evaluation.split, evaluation.dataset or None
        search = file_stem(split, evaluation.search).removeprefix(f"{split}-")
        runs: list[RunResult] = [load_result(folder, split, search, dataset) for folder in folders]
        require_same_videos(runs)
        if len(rows := group(runs)) > 1:
            raise UserError(f"the runs differ in more than their seed ({'; '.join(row.name for row in rows)})")
        values = {name: [run.recorded[name] for run in runs if name in run.recorded] for name in runs[0].recorded}
        # Of several data sets the first is named, too.
        named = replace(evaluation, dataset=evaluation.dataset or (first if others else ""))
        found[named.title] = {name: _rounded(each) for name, each in values.items()}
    if not found:
        raise UserError(f"{folders[0]} has no scores for a card: run python -m stg.evaluate {folders[0]} --split test")
    return found


def _rounded(values: Sequence[float]) -> dict[str, Any]:
    found = spread([round(value, 4) for value in values])
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def _worth(found: Calibration) -> dict[str, Any]:
    return {"right": found.right, "videos": found.videos, "ece": found.after.error, "ece_before": found.before.error}


def _network_files(config: ShipConfig) -> tuple[list[Path], list[str]]:
    """The files of the networks that captioning with a run reads, and which features it reads."""
    header = model_header(model_file(config.runs[0]))
    reads = features_read(header)
    plan = plan_features(header["features"], reads, [Path(config.weights)], WORLD_BUILDERS)
    networks = [file.path for file in plan.files.values()]
    # What a network of one's own expects stands in a file of its name.
    settings = [side for path in networks if (side := path.with_suffix(".json")).is_file()]
    return [*networks, *settings], reads


def _origins(config: ShipConfig, files: Sequence[Path]) -> Origins:
    """Name of each network -> where it comes from, and the file with its licence.

    Raises:
        UserError: nobody says so: what cannot be passed on must not be shipped by accident.
    """
    known = dict[str, tuple[Mapping[str, str], Path]]()
    for path in [PRETRAINED / NETWORKS / ORIGINS, *([Path(config.origins)] if config.origins else [])]:
        known |= {name: (origin, path.parent / origin["text"]) for name, origin in read_origins(path).items()}
    found = dict[str, tuple[Mapping[str, str], Path]]()
    for file in files:
        if file.suffix == ".json":
            continue
        origin, licence = known.get(file.name, ({}, Path()))
        if not origin or origin["sha256"] != sha256_file(file):
            raise UserError(
                f"nothing says where {file.name} (sha256 {sha256_file(file)}) comes from and under which licence: give "
                f"a JSON file that does with --origins, in the form of {PRETRAINED / NETWORKS / ORIGINS}"
            )
        if not licence.is_file():
            raise UserError(f"the licence of {file.name} is to lie in {licence}, which is not there")
        found[file.name] = (origin, licence)
    return found


def _precision(run: LoadedRun, config: ShipConfig, reporter: Reporter) -> tuple[bool, dict[str, Any]]:
    """Whether to keep weights in half precision, and how many validation captions that changes."""
    if not config.float16:
        return False, {"used": False}
    videos = videos_of(run, "val")
    source = batch_source(run.trained, run.store, run.dataset)
    with TemporaryDirectory() as place:
        path = Path(place) / MODEL_FILE
        run.trained.save(path, half=True)
        rounded = CaptionerBundle.load(path)
    rounded.captioner.to(run.device)
    texts = [
        {
            video: candidates[0].text
            for video, candidates in generate(
                each.captioner, source, videos, each.vocabulary, search=config.search, device=run.device
            ).items()
        }
        for each in (run.trained, rounded)
    ]
    changed = sum(texts[0][video] != texts[1][video] for video in videos)
    used = changed <= CHANGED * len(videos)
    outcome = "weights are kept in half precision" if used else "weights stay in single precision"
    reporter.say(f"half precision changes {changed} of {counted(len(videos), 'validation caption')}: {outcome}")
    return used, {"used": used, "changed": changed, "captions": len(videos)}


def _about(run: LoadedRun) -> dict[str, Any]:
    first = run.settings
    names = [data_set(RunResult(str(run.folder), first, {}, {}, None, name)) for name in first.data.sets]
    described = [
        f"{name}: {' / '.join(str(len(part.splits.get(split, ()))) for split in ('train', 'val', 'test'))} videos"
        for name, part in zip(names, run.dataset.parts or (run.dataset,), strict=True)
    ]
    facts = {
        "data": "; ".join(described),
        "model": f"{first.model.branches}, {first.model.decoder}",
        "weights": run.trained.num_weights,
        "words": len(run.trained.vocabulary),
    }
    times = [datetime.fromisoformat(time) for time in RunFolder(run.folder).times if time]
    return facts | ({"minutes": round((times[1] - times[0]).total_seconds() / 60, 1)} if len(times) == 2 else {})


def _copy_networks(files: Sequence[Path], origins: Origins, folder: Path) -> None:
    """Copy networks, licences and what is known of them into the folder of all networks."""
    folder.mkdir(exist_ok=True)
    for file in [*files, *(licence for _, licence in origins.values())]:
        target = folder / file.name
        if not target.exists():
            write_atomic(target, file.read_bytes())
        elif sha256_file(target) != sha256_file(file):
            raise UserError(f"{target} is there already, and is another file than {file}: rename one of them")
    there = read_origins(folder / ORIGINS) if (folder / ORIGINS).exists() else {}
    named = {name: {**origin, "text": licence.name} for name, (origin, licence) in origins.items()}
    if there | named != there:
        write_atomic(folder / ORIGINS, json.dumps(there | named, indent=1) + "\n")


def _require_size(out: Path, added: ShippedModel) -> None:
    files = {file for model in (*shipped_models(out), added) for file in model.files}
    size = sum(file.stat().st_size for file in files if file.is_file()) / 2**20
    if size > LARGEST:
        raise UserError(f"all captioners in {out} would have {size:.1f} MB, more than {LARGEST:g}: ship a smaller one")
