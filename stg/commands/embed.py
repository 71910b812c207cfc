"""Train a video-text embedding, or evaluate one."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.retrieval import EmbedConfig
from stg.config.schema import describe, differences, from_dict, to_dict
from stg.data.feature_check import compare_versions
from stg.datasets.open import open_dataset
from stg.retrieval.embedding import EmbeddingBundle
from stg.retrieval.training import retrieve, sources, train
from stg.runs.folder import defining
from stg.runs.model_file import check_plugins
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.runtime.files import is_leftover, printable, write_atomic
from stg.runtime.locks import FolderWriter
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted, read_json
from stg.runtime.signals import stop_on_signal

SETTINGS = "config.json"
FREE = {
    "plugin",
    "plugin_sha256",
    "out",
    "evaluate",
    "device",
    "threads",
    "data.store",
    "data.root",
    "optim.epochs",
    "optim.patience",
}
"""Options that may differ when training resumes."""


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
        _agree(config, folder)
    writer = FolderWriter(folder, folder / SETTINGS, "--out")
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    read = () if config.evaluate is None else (split,)
    data = settings.data if config.evaluate is None else settings.data.only(None)
    opened = open_dataset(data, settings.world, reporter=reporter, splits=read)
    dataset, store = opened.dataset, opened.store
    if config.evaluate is None:
        with writer:
            begin = partial(_begin, config, folder, writer)
            train(config, folder, dataset, store, reporter=reporter, begin=begin, device=device)
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


def default_folder(config: EmbedConfig) -> Path:
    """``runs/<dataset>-embed-<video>[-shuffle]-seed<seed>``; one's own folder of clips is named, too."""
    control = [config.control] if config.control != "none" else []
    return Path("runs") / "-".join([config.data.names, "embed", config.model.video, *control, f"seed{config.seed}"])


def _settings(folder: Path) -> EmbedConfig:
    path = folder / SETTINGS
    if not path.exists():
        raise UserError(f"{folder} holds no embedding (it has no {SETTINGS}): give the folder that stg.embed printed")
    values = read_json(path)
    # Before the settings are read: names that a plugin adds are not known without it.
    check_plugins(values if isinstance(values, dict) else {}, f"the embedding {folder}")
    try:
        return from_dict(EmbedConfig, values)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not that of an embedding of this version: {error}") from error


def _evaluated(config: EmbedConfig, folder: Path) -> EmbedConfig:
    """The settings of a folder, with another place of its data where one is given."""
    settings = _settings(folder)
    store, root = config.data.store or settings.data.store, config.data.root or settings.data.root
    return dataclasses.replace(settings, data=dataclasses.replace(settings.data, store=store, root=root))


def _agree(config: EmbedConfig, folder: Path) -> None:
    """Refuse a folder that holds something else than this very training."""
    # A new folder, or an empty one; anything else in it would be mixed with the embedding.
    if not (folder / SETTINGS).exists():
        if folder.exists() and not (folder.is_dir() and all(is_leftover(entry.name) for entry in folder.iterdir())):
            raise UserError(f"{folder} is not empty and holds no embedding: choose another folder with --out")
        return
    differing = differences(to_dict(_settings(folder)), to_dict(config))
    if fixed := {key: pair for key, pair in defining(differing).items() if key not in FREE}:
        raise UserError(
            f"{folder} holds an embedding with other settings ({describe(fixed)}): choose another with --out"
        )


def _begin(config: EmbedConfig, folder: Path, writer: FolderWriter) -> None:
    writer.begin()
    write_atomic(folder / SETTINGS, json.dumps(to_dict(config), ensure_ascii=False, indent=1))


def _table(values: dict[str, float], *, title: str) -> Any:

    table = Table("query", "R@1", "R@5", "R@10", "median rank", title=Text(printable(title)))
    for name in ("text_to_video", "video_to_text"):
        recalls = [f"{100 * values[f'{name}_r{cut}']:.1f}" for cut in (1, 5, 10)]
        table.add_row(name.replace("_", " "), *recalls, f"{values[f'{name}_median']:g}")
    return table
