"""The header of a model file, read without torch."""

import json
from pathlib import Path
from typing import Any

from stg.runtime.errors import UserError

MODEL_FILE, WHOLE_FILE = "model.safetensors", "whole.safetensors"


def model_file(run: str | Path) -> Path:
    """The trained model of a run folder (or the file itself, where that is given).

    Raises:
        UserError: there is none.
    """
    path = Path(run)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{run} holds no trained model ({MODEL_FILE}): give the run folder that stg.fit printed")
    return path


def model_header(path: Path) -> dict[str, Any]:
    """The settings of a trained model, read without torch; whether its weights are whole is not looked at.

    Raises:
        UserError: no model of ours.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            described = json.loads(file.read(min(length, path.stat().st_size)))
        header: dict[str, Any] = json.loads(described["__metadata__"]["stg"])
        for part, keys in {"features": (), "model": ("branches",), "widths": ("scene", "motion")}.items():
            if not isinstance(header[part], dict) or not header[part].keys() >= set(keys):
                raise ValueError(f"{part} is {header[part]!r}")
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a trained model, or is damaged: {error}") from error
    return header
