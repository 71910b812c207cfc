"""Tensors and a header in one file, checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from stg.runtime.errors import StgError
from stg.runtime.files import sha256_file, write_atomic


class CheckpointError(StgError):
    """A file that is not a whole checkpoint of this project; the message names it and says why."""

    exit_code = 2


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header to one file, atomically, with its SHA-256 in a file next to it.

    A kill between the two leaves a file without a fitting checksum, which is refused and passed over. (Without a
    checksum a flipped byte would load unnoticed.)
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(whole, {"stg": json.dumps(header)}))
    write_atomic(path.with_suffix(".sha256"), sha256_file(path) + "\n")


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote.

    Raises:
        CheckpointError: the file or its checksum is missing, cut, changed or foreign.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        expected = path.with_suffix(".sha256").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} has no readable checksum {path.with_suffix('.sha256').name} next to it"
        ) from error
    if sha256_file(path) != expected:
        raise CheckpointError(f"{path} is damaged: its SHA-256 differs from the one written next to it")
    try:
        # From bytes, not by name: a folder's name need not be UTF-8, which the library insists on.
        data = path.read_bytes()
        tensors = load(data)
        # safetensors passes on no header from bytes. The format has it first: eight bytes of length, then JSON.
        described = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return tensors, json.loads(described["__metadata__"]["stg"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of this project: {error}") from error
