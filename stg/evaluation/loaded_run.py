"""A finished run with what it was trained on: its model, its captions, its graphs."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from graphs import GraphSource, GraphStore
from stg.config.evaluation import EvaluateConfig
from stg.config.report import ReportConfig
from stg.config.training import FitConfig
from stg.data.batches import BatchSource
from stg.data.feature_check import compare_versions
from stg.datasets.base import CaptionDataset
from stg.datasets.open import open_dataset
from stg.models.statistics import classes_read
from stg.runs.bundle import CaptionerBundle
from stg.runs.folder import RunFolder, load_config
from stg.runs.model_file import MODEL_FILE
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.runtime.reporter import SILENT, Reporter


@dataclass(frozen=True)
class LoadedRun:
    """What :func:`load_run` opens; the model is on ``device`` and fits ``store``.

    Args:
        part: the name of ``dataset`` among those that the run has learned from; None: it is the first.
    """

    folder: Path
    settings: FitConfig
    trained: CaptionerBundle
    dataset: CaptionDataset
    store: GraphStore
    device: torch.device
    part: str | None = None

    def require_split(self, split: str) -> None:
        """Refuse a split that the data set does not have.

        Raises:
            UserError: naming those that it has.
        """
        if split not in self.dataset.splits:
            known = ", ".join(self.dataset.splits)
            raise UserError(f"{self.dataset.name} has no split {split!r}: choose one of {known}")


def batch_source(trained: CaptionerBundle, store: GraphSource, dataset: CaptionDataset) -> BatchSource:
    """What a model reads of a data set when it captions: its own edges and, if it reads classes, those of the videos.

    Raises:
        UserError: the data set has more classes than the model knows.
    """
    category = None
    if "category" in trained.captioner.decoder.reads and dataset.category:
        category = classes_read(trained.captioner, dataset.category, trained.model.stats.categories, dataset.name)
    return BatchSource(store, trained.graph.variant, trained.graph.time_flow, category=category)


def load_run(
    folder: str | Path,
    *,
    store: str | None = None,
    root: str | None = None,
    device: str = "auto",
    splits: Collection[str] = (),
    dataset: str | None = None,
    reporter: Reporter = SILENT,
) -> LoadedRun:
    """Open a run folder of ``stg.fit`` for captioning the videos of its data set.

    Args:
        dataset: which, of a run that has learned from several: ``msvd``; ``all`` for all together; None: the first.
        store, root: other places of the graphs and of the annotation files than those of the training; the latter a
            folder, or NAME:FOLDER of each data set that has moved (`DataConfig.only`).
        splits: those that are read; by default all must be there as for training.
        reporter: as in :func:`stg.datasets.open.open_dataset`.

    Raises:
        UserError: no such run, no such store, or features that were made otherwise than in training.
    """
    folder = Path(folder)
    settings = load_config(folder)
    trained = CaptionerBundle.load(folder / MODEL_FILE)
    where = pick_device(device)
    trained.captioner.to(where)
    # Store and folder may lie elsewhere than when the run was trained.
    data = RunFolder(folder).data_of(dataset, root)
    data = dataclasses.replace(data, store=store or data.store)
    opened = open_dataset(data, settings.world, reporter=reporter, splits=splits)
    # Features that were made otherwise would give captions too, only worse ones.
    trained.check(opened.store)
    compare_versions(trained.made_with, opened.store, str(folder), reporter)
    return LoadedRun(folder, settings, trained, opened.dataset, opened.store, where, dataset)


def load_run_as(config: EvaluateConfig | ReportConfig, split: str, *, reporter: Reporter) -> LoadedRun:
    """:func:`load_run` of what a command names, for one split."""
    run = load_run(
        config.run,
        store=config.store,
        root=config.root,
        device=config.device,
        splits=(split,),
        dataset=config.dataset,
        reporter=reporter,
    )
    say_other_sets(run, reporter)
    return run


def say_other_sets(run: LoadedRun, reporter: Reporter) -> None:
    """Say of a run that has learned from several data sets that it is looked at on the first, which nobody chose."""
    first, *others = run.settings.data.sets
    if run.part is None and others:
        reporter.say(f"{run.folder} has also learned from {', '.join(others)}: this is {first} alone; see --dataset")
