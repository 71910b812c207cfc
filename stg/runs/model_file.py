"""The header of a model file, read without torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stg.config.plugins import require_plugins
from stg.runtime.errors import UserError

MODEL_FILE, WHOLE_FILE = "model.safetensors", "whole.safetensors"


def model_file(run: str | Path) -> Path:
    """The trained model of a run folder (or the file itself, if that is given).

    Raises:
        UserError: it is missing.
    """
    path = Path(run)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{run} holds no trained model ({MODEL_FILE}): give the run folder that stg.fit printed")
    return path


def model_header(path: Path) -> dict[str, Any]:
    """The settings of a trained model, read without torch; its weights are not checked.

    Raises:
        UserError: the file is not a trained model.
    """
    try:
        header: dict[str, Any] = json.loads(_described(path)["__metadata__"]["stg"])
        # Only what is read from it before torch is there; the rest is checked when the model is built.
        for part, keys in {"features": (), "model": ("branches",), "widths": ("scene", "motion")}.items():
            if not isinstance(header[part], dict) or not header[part].keys() >= set(keys):
                raise ValueError(f"{part} is {header[part]!r}")
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a trained model, or is damaged: {error}") from error
    check_plugins(header, f"the model {path}")
    return header


def weight_count(path: Path) -> int:
    """How many weights a model file holds, by the shapes in its header.

    Raises:
        UserError: the file is not a trained model.
    """
    try:
        # Means and deviations of features lie among the weights and are none.
        shapes = [
            entry["shape"] for name, entry in _described(path).items() if not name.startswith(("__", "standardise."))
        ]
        return sum(math.prod(shape) for shape in shapes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not a trained model, or is damaged: {error}") from error


def _described(path: Path) -> Any:
    """The JSON header of a safetensors file: names, shapes and what was written along."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        # A damaged length must not ask for more memory than the file has bytes.
        return json.loads(file.read(min(length, path.stat().st_size)))


def check_plugins(values: Mapping[str, Any], what: str) -> None:
    """Refuse a run's settings, or a model's header, that need plugins that are not imported.

    Raises:
        UserError: naming them.
    """
    try:
        require_plugins(values.get("plugin", ()), what)
    except ValueError as error:
        raise UserError(str(error)) from error
