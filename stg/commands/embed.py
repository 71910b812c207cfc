"""Train a video-text embedding, or evaluate one."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.retrieval import EmbedConfig
from stg.data.feature_check import compare_versions
from stg.datasets.open import open_dataset
from stg.retrieval.embedding import EmbeddingBundle
from stg.retrieval.folder import check_folder, default_folder, read_settings, train_in
from stg.retrieval.training import retrieve, sources
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.runtime.files import printable, write_atomic
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted
from stg.runtime.signals import stop_on_signal


def main(config: EmbedConfig) -> int:
    """The command."""

    if config.evaluate is not None:
        embed(config, console=Console())
    else:
        with stop_on_signal() as stop:
            embed(config, console=Console(), stop=stop)
    return 0


def embed(config: EmbedConfig, *, console: Console, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Train, or only evaluate, as ``config`` says; returns the recalls and median ranks (`Retrieval.values`).

    Raises:
        Preempted: ``stop`` said so; what is done is saved.
        UserError: settings, data and folder do not fit each other.
    """

    reporter = ConsoleReporter(console, stop)
    folder = Path(config.out) if config.out else default_folder(config)
    split = config.evaluate or "val"
    settings = _evaluated(config, folder) if config.evaluate is not None else config
    if config.evaluate is None:
        check_folder(config, folder)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    read = () if config.evaluate is None else (split,)
    data = settings.data if config.evaluate is None else settings.data.only(None)
    opened = open_dataset(data, settings.world, reporter=reporter, splits=read)
    dataset, store = opened.dataset, opened.store
    if config.evaluate is None:
        train_in(config, folder, dataset, store, reporter=reporter, device=device)
    # The best one, from disk: the weights in memory are those of the last epoch.
    trained = EmbeddingBundle.load(folder)
    trained.check(store)
    compare_versions(trained.made_with, store, str(folder), reporter)
    captions = dataset.references(split)
    if not captions:
        raise UserError(f"the captions of split {split!r} of {dataset.name} are withheld: evaluate another split")
    source = sources(settings, dataset.groups(list(captions)))
    values = retrieve(trained, store, captions, source=source, device=device).values
    about: dict[str, Any] = {"split": split, "videos": len(captions), "captions": sum(map(len, captions.values()))}
    write_atomic(
        folder / f"{printable(split)}-recalls.json", json.dumps({**about, **values}, ensure_ascii=False, indent=1)
    )
    numbers = f"{counted(len(captions), 'video')}, {counted(about['captions'], 'caption')}"
    console.print(_table(values, title=f"{split}: {numbers}: {folder}"))
    return values


def _evaluated(config: EmbedConfig, folder: Path) -> EmbedConfig:
    """The settings of a folder, with another place of its data where one is given."""
    settings = read_settings(folder)
    store, root = config.data.store or settings.data.store, config.data.root or settings.data.root
    return dataclasses.replace(settings, data=dataclasses.replace(settings.data, store=store, root=root))


def _table(values: dict[str, float], *, title: str) -> Any:

    table = Table("query", "R@1", "R@5", "R@10", "median rank", title=Text(printable(title)))
    for name in ("text_to_video", "video_to_text"):
        recalls = [f"{100 * values[f'{name}_r{cut}']:.1f}" for cut in (1, 5, 10)]
        table.add_row(name.replace("_", " "), *recalls, f"{values[f'{name}_median']:g}")
    return table
