"""A captioner as a folder that can be exchanged: weights, ``config.json`` and a model card. Imports no torch.

The names are those of ``huggingface_hub.PyTorchModelHubMixin``, so that a hub shows the folder as a model.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stg.config.schema import describe, differences
from stg.features.manifest import Manifest
from stg.features.rebuild import features_read
from stg.runs.model_file import FORMAT, MODEL_FILE, model_file, model_header, weight_count
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.hub import cached_copy, fetch, how_to_fetch, is_hub_id
from stg.runtime.reading import read_json
from stg.text.vocabulary import Vocabulary

CONFIG_FILE, CARD_FILE = "config.json", "README.md"
NEEDED = (MODEL_FILE, "model.sha256")
FILES = (*NEEDED, CONFIG_FILE, CARD_FILE)
"""What is fetched of a model on a hub: never anything that has to be unpickled."""


CARD = """---
library_name: stg
tags:
- video-captioning
- model_hub_mixin
---

# A video captioner

{about}

## Use

```python
import stg

model = stg.load("FOLDER", weights="NETWORKS")  # this folder, and one with the files named below
print(model.caption("clip.mp4"))
```

or `python -m stg.caption clip.mp4 --model FOLDER --weights NETWORKS`.

## What it is

{model}. It reads {sampling}.

{plugins}Its features come from these networks; files with another SHA-256 are refused.

| part | network | file | SHA-256 |
|---|---|---|---|
{networks}

`config.json` has all settings.
"""


def find_model(model: str | Path, *, download: bool = False, revision: str | None = None) -> Path:
    """The file of a trained model.

    Args:
        model: a run folder, a folder of ``save_pretrained``, the ``model.safetensors`` in one; or ``owner/name`` of a
            model on a hub, of which this machine has a copy.
        download: fetch such a model where there is no copy.
        revision: branch, tag or commit of a model on a hub.

    Raises:
        UserError: there is none, with what to fetch and where to put it; or its ``config.json`` was changed.
    """
    path = model_file(_copy(str(model), download, revision) if is_hub_id(model) else model)
    _check_config(path)
    return path


def _copy(model: str, download: bool, revision: str | None) -> Path:
    """The folder with the copy of a model of a hub."""
    if (folder := cached_copy(model, NEEDED, revision)) is not None:
        return folder
    if download:
        return fetch(model, FILES, "the model", revision)
    raise UserError(
        f"{model} holds no trained model ({MODEL_FILE}): give the run folder that stg.fit printed; or, where it is the "
        f"name of a model on a hub, add --download; or {how_to_fetch(model, NEEDED, 'the model')}"
    )


def _check_config(path: Path) -> None:
    """Refuse a folder whose config.json says something else than the model file, which alone is read.

    Raises:
        UserError: names the settings that differ.
    """
    file = path.parent / CONFIG_FILE
    found = read_json(file) if file.is_file() else {}
    # A run folder has the settings of the training under this name.
    if not _is_exchanged(found):
        return
    if changed := differences(model_header(path), found):
        listed = describe(changed, "the model has {old!r}, the file {new!r}")
        raise UserError(
            f"{file} is not of the model next to it ({listed}): fetch both again; settings are not changed here"
        )


def write_config_and_card(folder: Path, about: str) -> None:
    """Write ``config.json``, and ``README.md`` where there is none, next to the model file in a folder."""
    path = folder / MODEL_FILE
    header = model_header(path)
    write_atomic(folder / CONFIG_FILE, json.dumps(header, indent=2, sort_keys=True) + "\n")
    if not (folder / CARD_FILE).exists():
        write_atomic(folder / CARD_FILE, _card(header, weight_count(path), about))


def check_target(folder: Path) -> None:
    """Refuse to write a captioner where something else lies.

    Raises:
        UserError: the folder is a run, or another model.
    """
    file = folder / CONFIG_FILE
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder to save the captioner in")
    if file.is_file() and not _is_exchanged(read_json(file)):
        raise UserError(f"{folder} is a run folder, or holds another model ({CONFIG_FILE}): give another folder")


def _is_exchanged(config: Any) -> bool:
    return isinstance(config, dict) and config.get("format") == FORMAT


def _card(header: Mapping[str, Any], weights: int, about: str) -> str:
    """A model card: how to use the model, what it reads, which networks it needs."""
    model, made = header["model"], Manifest(header["features"])
    words = len(Vocabulary.from_json(header["vocabulary"]))
    rows = [
        f"| {part} | {entry.get('name') or entry.get('kind')} | {_listed(entry.get('weights'))} | "
        f"{_listed(entry.get('sha256'))} |"
        for part, entry in made.networks(features_read(header)).items()
    ]
    plugins = f"It needs the plugins {', '.join(header['plugin'])}.\n\n" if header.get("plugin") else ""
    return CARD.format(
        about=about.strip() or "Not described by who made it: training data, scores and licence are not known.",
        model=f"{model['decoder']} decoder, branches `{model['branches']}`, {weights:,} weights, {words:,} words",
        sampling=f"{made.values.get('num_frames')} frames a clip, {made.values.get('sampling')}",
        networks="\n".join(rows),
        plugins=plugins,
    )


def _listed(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in ([values] if isinstance(values, str) else values or ["none"]))
