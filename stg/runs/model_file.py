"""The header of a model file, read without torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stg.config.plugins import require_plugins
from stg.config.schema import fits
from stg.runtime.errors import UserError
from stg.runtime.reading import kind

FORMAT, VERSION = "stg-captioner", 1

MODEL_FILE, WHOLE_FILE = "model.safetensors", "whole.safetensors"

EXPECTED = (
    f"give the run folder that stg.fit printed, the {MODEL_FILE} in one, or the name of a captioner that comes with "
    "the installation (stg models lists them)"
)
"""What to give for a model, at the end of errors of files that are none."""

MAX_HEADER = 16 * 2**20
"""Largest header in bytes: as JSON of lists it takes twenty times that in memory. Vocabularies have below 1 MB."""

PARTS: Mapping[str, type] = {"features": dict, "model": dict, "graph": dict, "widths": dict, "vocabulary": str}
"""What the header of every model holds."""


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
        check_parts(header)
        if (
            not isinstance(header["features"], dict)
            or not isinstance(header["model"]["branches"], str)
            or not {"scene", "motion"} <= header["widths"].keys()
        ):
            raise ValueError("it says neither branches nor widths of features")
    except DAMAGED as error:
        raise UserError(f"{path} is not a trained model, or is damaged: {_reason(error)}; {EXPECTED}") from error
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
        if not all(fits(tuple[int, ...], tuple(shape)) for shape in shapes):
            raise ValueError("a shape is no list of whole numbers")
        return sum(math.prod(shape) for shape in shapes)
    except DAMAGED as error:
        raise UserError(f"{path} is not a trained model, or is damaged: {_reason(error)}; {EXPECTED}") from error


def check_parts(header: Any) -> None:
    """See that the header of a model has its parts, as far as they are read before the model is built.

    Raises:
        ValueError: it has not; the part is named.
    """
    if not isinstance(header, dict):
        raise ValueError(f"the header is {kind(header)}")
    for part, expected in PARTS.items():
        # What is missing is named by who reads it: not all need all parts.
        if part in header and not isinstance(header[part], expected):
            raise ValueError(f"{part} is {kind(header[part])}, expected {kind(expected())}")
    made_with = header.get("made_with", [])
    if not isinstance(made_with, list) or not all(isinstance(versions, dict) for versions in made_with):
        raise ValueError("made_with is no list of versions")
    if not all(fits(int, width) and width >= 0 for width in header.get("widths", {}).values()):
        raise ValueError("a width of features is no whole number")
    if not isinstance(header.get("features_dtype", ""), str) or not fits(
        tuple[str, ...], tuple(header.get("reads", ()))
    ):
        raise ValueError("it does not say which features it reads, and how they are kept")


DAMAGED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What the header of a file that is none of a model may end in, as its parts are taken up."""


def _reason(error: Exception) -> str:
    return f"its header lacks {error}" if isinstance(error, KeyError) else f"{error!s:.200}"


def _described(path: Path) -> Any:
    """The JSON header of a safetensors file: names, shapes and what was written along."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # Eight letters of a text, or what else begins another kind of file, taken for a number.
            if length >= 2**40:
                raise ValueError("it is no safetensors file")
            # A damaged length must not ask for more memory than the file has bytes.
            if length > min(MAX_HEADER, path.stat().st_size):
                raise ValueError(f"its header would have {length} bytes")
            return json.loads(file.read(length))
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error


def check_plugins(values: Mapping[str, Any], what: str) -> None:
    """Refuse a run's settings, or a model's header, that need plugins that are not imported; warn of changed ones.

    Raises:
        UserError: naming them.
    """
    try:
        require_plugins(values.get("plugin", ()), what, values.get("plugin_sha256", ()))
    except ValueError as error:
        raise UserError(str(error)) from error
