"""What can be refused before torch is imported, which takes seconds: one function a command. Imports no torch.

The library refuses the same, in the same words; here it is said sooner.
"""

import os
from collections.abc import Iterable
from functools import singledispatch
from pathlib import Path

from stg.ablation.config import AblateConfig
from stg.config.captioning import CaptionConfig
from stg.config.data import DataConfig
from stg.config.evaluation import EvaluateConfig
from stg.config.extraction import ExtractConfig, ImportConfig
from stg.config.probe import ProbeConfig
from stg.config.report import ReportConfig
from stg.config.results import CompareConfig, PredictionsConfig, WordsConfig
from stg.config.retrieval import EmbedConfig, FuseConfig
from stg.config.store import StoreConfig
from stg.config.training import FitConfig
from stg.datasets.world.extractor import WORLD_BUILDERS
from stg.features.rebuild import FeaturePlan, WeightSearch, features_read, plan_features
from stg.runs.folder import load_config
from stg.runs.fusions import run_settings
from stg.runs.model_file import model_file, model_header
from stg.runs.pretrained import find_model
from stg.runs.shipped import model_and_places
from stg.runtime.errors import UserError
from stg.runtime.files import page_file
from stg.video.clips import find_clips, list_clips
from stg.vision.registry import locate

ANNOTATED = ("msvd", "msrvtt", "vatex", "folder")
"""Data sets with annotation files, and a store that is made before; others may make theirs on the spot."""


@singledispatch
def check(config: object) -> None:
    """Refuse what cannot be done.

    Raises:
        UserError: a path that is not there or cannot be written, a folder that is no run, an unknown name.
    """


@check.register
def _fit(config: FitConfig) -> None:
    _data(config.data)
    for run in (config.run.start, config.run.teacher):
        if run is not None:
            model_file(run)


@check.register
def _ablate(config: AblateConfig) -> None:
    _data(config.data)


@check.register
def _embed(config: EmbedConfig) -> None:
    if config.evaluate is None:
        _data(config.data)


@check.register
def _evaluate(config: EvaluateConfig) -> None:
    settings = load_config(config.run)
    model_header(model_file(config.run))
    store = config.store or settings.data.store
    if settings.data.dataset in ANNOTATED or config.store is not None:
        _stores([store])


@check.register
def _caption(config: CaptionConfig) -> None:
    clips = list_clips(config.videos, config.recursive).paths
    if config.overlay and len(clips) != 1:
        raise UserError(f"overlay takes one clip, and {len(clips)} were given: caption them one by one")
    if config.report:
        page_file(Path(config.report))
    if config.overlay and not Path(config.overlay).absolute().parent.is_dir():
        raise UserError(f"the folder of {config.overlay} is not there: make it, or give another --overlay")
    # By the file, not by the name: a link to a clip is the clip.
    for written in filter(None, (config.report, config.overlay)):
        if any(Path(written).exists() and os.path.samefile(written, path) for path in clips):
            raise UserError(f"{written} is a clip to caption, which would be lost: give another name to write to")
    # For its errors only: weights that are missing are named before torch is imported.
    clip_plan(config)


def clip_plan(config: CaptionConfig) -> tuple[str | Path, FeaturePlan]:
    """The model of stg.caption, and the networks that describe clips for it.

    Raises:
        UserError: no such model, or weights that are not there.
    """
    given = [Path(place) for place in (config.weights.split(os.pathsep) if config.weights else [])]
    model, places = model_and_places(config.model, given)
    header = model_header(find_model(model, download=config.download))
    search = WeightSearch(places, config.download)
    return model, plan_features(header["features"], features_read(header), search, WORLD_BUILDERS)


@check.register
def _extract(config: ExtractConfig) -> None:
    find_clips(config.clips, config.recursive)
    if not config.download:
        locate(config)


@check.register
def _import(config: ImportConfig) -> None:
    _files([config.description])


@check.register
def _report(config: ReportConfig) -> None:
    load_config(config.run)
    page_file(config.target)
    if config.split is not None:
        model_header(model_file(config.run))
        if config.store is not None:
            _stores([config.store])
    if config.clips:
        find_clips(tuple(place for place in config.clips.split(os.pathsep) if place), config.recursive)


@check.register
def _probe(config: ProbeConfig) -> None:
    if config.store is not None and not Path(config.store).parent.is_dir():
        raise UserError(f"there is no folder {Path(config.store).parent} for --store: make it first")


@check.register
def _fuse(config: FuseConfig) -> None:
    for run in config.runs:
        load_config(run)
        model_header(model_file(run))
    _files([config.fallback] if config.fallback else [])
    _stores([store for store in (config.store, config.embedding_store) if store])


@check.register
def _compare(config: CompareConfig) -> None:
    for run in config.runs:
        run_settings(run)


@check.register
def _predictions(config: PredictionsConfig) -> None:
    _files([*config.files, *filter(None, (config.videos, config.references))])
    if config.run is not None:
        load_config(config.run)


@check.register
def _words(config: WordsConfig) -> None:
    _files(config.files)


@check.register
def _store(config: StoreConfig) -> None:
    # The library refuses a store that is also --out.
    _stores(path for path in config.paths if path != config.out)


def _data(data: DataConfig) -> None:
    """The annotation files and the store of data sets that are not made on the spot."""
    if data.dataset not in ANNOTATED:
        return
    if data.root is None:
        raise UserError(f"--data.dataset {data.dataset} needs --data.root: the folder with its annotation files")
    _files(each.root for each in data.sets.values() if each.root is not None)
    if data.store is not None:
        _stores([data.store])


def _files(paths: Iterable[str]) -> None:
    for path in paths:
        if not Path(path).exists():
            raise UserError(f"could not read {path}: {os.strerror(2)}")


def _stores(paths: Iterable[str | None]) -> None:
    for path in paths:
        if path is not None and not Path(path).exists():
            raise UserError(f"there is no store at {Path(path).absolute()}: {os.strerror(2)}")
