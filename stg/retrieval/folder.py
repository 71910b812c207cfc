"""The folder of a video-text embedding: its settings, and training in it."""

import json
from functools import partial
from pathlib import Path

import torch

from graphs import GraphStore
from stg.config.retrieval import EmbedConfig
from stg.config.schema import describe, differences, from_dict, to_dict
from stg.datasets.base import CaptionDataset
from stg.retrieval.training import train
from stg.runs.folder import defining
from stg.runs.model_file import check_plugins
from stg.runtime.errors import UserError
from stg.runtime.files import is_leftover, write_atomic
from stg.runtime.locks import FolderWriter
from stg.runtime.reading import read_json
from stg.runtime.reporter import SILENT, Reporter

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


def default_folder(config: EmbedConfig) -> Path:
    """``runs/<dataset>-embed-<video>[-shuffle]-seed<seed>``; one's own folder of clips is named, too."""
    control = [config.control] if config.control != "none" else []
    return Path("runs") / "-".join([config.data.names, "embed", config.model.video, *control, f"seed{config.seed}"])


def read_settings(folder: Path) -> EmbedConfig:
    """The settings that an embedding was begun with.

    Raises:
        UserError: there is none, or it is of another version.
    """
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


def check_folder(config: EmbedConfig, folder: Path) -> None:
    """Refuse a folder that holds something else than this very training.

    Raises:
        UserError: it does.
    """
    # A new folder, or an empty one; anything else in it would be mixed with the embedding.
    if not (folder / SETTINGS).exists():
        if folder.exists() and not (folder.is_dir() and all(is_leftover(entry.name) for entry in folder.iterdir())):
            raise UserError(f"{folder} is not empty and holds no embedding: choose another folder with --out")
        return
    differing = differences(to_dict(read_settings(folder)), to_dict(config))
    if fixed := {key: pair for key, pair in defining(differing).items() if key not in FREE}:
        raise UserError(
            f"{folder} holds an embedding with other settings ({describe(fixed)}): choose another with --out"
        )


def train_in(
    config: EmbedConfig,
    folder: Path,
    dataset: CaptionDataset,
    store: GraphStore,
    *,
    reporter: Reporter = SILENT,
    device: torch.device,
) -> None:
    """Train, or resume, in a folder that :func:`check_folder` has nothing against, as its only writer.

    Raises:
        Preempted, UserError, StgError: as `stg.retrieval.training.train`.
    """
    with FolderWriter(folder, folder / SETTINGS, "--out") as writer:
        begin = partial(_begin, config, folder, writer)
        train(config, folder, dataset, store, reporter=reporter, begin=begin, device=device)


def _begin(config: EmbedConfig, folder: Path, writer: FolderWriter) -> None:
    writer.begin()
    write_atomic(folder / SETTINGS, json.dumps(to_dict(config), ensure_ascii=False, indent=1))
