"""Where networks lie that are named by a file or folder: those of transformers and timm, here or in the hub's cache.

Imports no torch.
"""

from importlib.util import find_spec
from pathlib import Path

from stg.runtime.errors import UserError
from stg.runtime.hub import cached_copy, how_to_fetch, is_hub_id
from stg.runtime.hub import fetch as fetch_model
from stg.vision.weights import WeightFile

WEIGHTS, CONFIG, PROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"

PREFIXES = {"hf:": "transformers", "timm:": "timm"}
"""How names of networks begin that are folders, and the library that reads them."""

NEEDED = {"hf:": (WEIGHTS, CONFIG, PROCESSOR), "timm:": (WEIGHTS, CONFIG)}

FETCHED = ("*.json", "*.txt", WEIGHTS)
"""Settings, words, weights: never a pickle."""

ANY_WEIGHTS, ALONGSIDE = "*.safetensors", ("*.jinja", "*.model")
"""Weights in several files, too; how to chat, and words, of language models."""


def find_onnx_file(name: str, kind: str, fetch: bool = False) -> WeightFile:
    """The ONNX file of this path.

    Raises:
        UserError: there is none; ``fetch`` changes nothing, as none is published that may be fetched.
    """
    path = Path(name)
    if not path.is_file():
        raise UserError(f"network {path} does not exist; --{kind} takes the path of an ONNX file (none is downloaded)")
    return WeightFile(path)


def find_model_folder(name: str, kind: str, fetch: bool = False) -> WeightFile:
    """The weights of a network ``hf:MODEL`` or ``timm:MODEL``; its settings lie next to them.

    Args:
        name: with the prefix; MODEL is a folder, or ``owner/model`` on a hub (of timm's own the owner may be left out).
        kind: the option that names it, for errors.
        fetch: fetch a model of which there is no copy.

    Raises:
        UserError: the library is not installed, there is no such model here, or a file of it is missing.
    """
    prefix, _, model = name.partition(":")
    prefix += ":"
    if find_spec(PREFIXES[prefix]) is None:
        raise UserError(f"{name} needs {PREFIXES[prefix]}, which is not installed: pip install 'stg-video[hf]'")
    folder, needed = Path(model).expanduser(), NEEDED[prefix]
    if not folder.is_dir():
        folder = _copy(name, f"timm/{model}" if prefix == "timm:" and "/" not in model else model, kind, fetch)
    if missing := [file for file in needed if not (folder / file).is_file()]:
        raise UserError(
            f"{kind} {name}: {folder} lacks {', '.join(missing)}: give a folder as {PREFIXES[prefix]} saves models, "
            f"with {', '.join(needed)} (weights in one file, never pickled)"
        )
    return WeightFile(folder / WEIGHTS)


def find_saved_model(name: str, option: str, fetch: bool = False) -> Path:
    """The folder of a model of transformers of any kind, its weights in one file or in several.

    Args:
        name: a folder, or ``owner/model`` on a hub.
        option: what names it, for errors.
        fetch: fetch a model of which there is no copy.

    Raises:
        UserError: the library is not installed, there is no such model here, or a file of it is missing.
    """
    if find_spec("transformers") is None:
        raise UserError(f"--{option} {name} needs transformers, which is not installed: pip install 'stg-video[hf]'")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if not is_hub_id(name):
            raise UserError(f"--{option} {name} is neither a folder nor the name of a model on a hub (owner/model)")
        copy = cached_copy(name, (CONFIG,))
        if copy is not None and any(copy.glob(ANY_WEIGHTS)):
            return copy
        if not fetch:
            raise UserError(
                f"--{option} {name}: neither a folder {name} nor a copy of the model is on this machine: add "
                f"--download; or {how_to_fetch(name, (CONFIG, ANY_WEIGHTS), f'--{option} FOLDER')}"
            )
        folder = fetch_model(name, (*FETCHED[:-1], *ALONGSIDE, ANY_WEIGHTS), f"--{option} FOLDER")
    if missing := [file for file in (CONFIG, ANY_WEIGHTS) if not any(folder.glob(file))]:
        raise UserError(
            f"--{option} {name}: {folder} lacks {', '.join(missing)}: give a folder as transformers saves models "
            "(weights never pickled)"
        )
    return folder


def _copy(name: str, model: str, kind: str, fetch: bool) -> Path:
    prefix = name.partition(":")[0] + ":"
    option = f"--{kind} {prefix}FOLDER"
    if not is_hub_id(model):
        raise UserError(f"{kind} {name} is neither a folder nor the name of a model on a hub (owner/model)")
    if (folder := cached_copy(model, NEEDED[prefix])) is not None:
        return folder
    if fetch:
        return fetch_model(model, FETCHED, option)
    raise UserError(
        f"{kind} {name}: neither a folder {model} nor a copy of the model {model} is on this machine: add --download; "
        f"or {how_to_fetch(model, NEEDED[prefix], option)}"
    )


def model_name(file: WeightFile) -> str:
    """What manifests call a model: ``owner/model`` where it lies in the hub's cache, else the name of its folder."""
    folder = file.path.parent
    if folder.parent.name == "snapshots":
        return folder.parents[1].name.removeprefix("models--").replace("--", "/")
    return folder.resolve().name
