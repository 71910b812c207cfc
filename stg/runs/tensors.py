"""Tensors and a header in one file, checked."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from stg.runtime.errors import StgError, UserError
from stg.runtime.files import sha256_file, write_atomic
from stg.runtime.reading import kind, read_text


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


def remove_tensors(path: Path) -> None:
    """Remove a file that `save_tensors` wrote, and its checksum, as far as they are there."""
    for each in (path, path.with_suffix(".sha256")):
        each.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote.

    Raises:
        CheckpointError: the file or its checksum is missing, cut, changed or foreign.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        expected = read_text(path.with_suffix(".sha256"), max_bytes=1000).strip()
    except UserError as error:
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
        header = json.loads(described["__metadata__"]["stg"])
        if not isinstance(header, dict):
            raise ValueError(f"its header is {kind(header)}")
        return tensors, header
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of this project: {error}") from error


@contextmanager
def building_for(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """While this thread builds the network of a file: end it where it gets larger than what the file holds.

    A header of a few bytes can ask for any size: it is not believed, and nothing larger is ever filled with numbers.

    Args:
        tensors: of the file.

    Raises:
        ValueError: the network has more tensors, or more numbers in them, than the file.
    """
    mine = threading.get_ident()
    tensors_left, numbers_left = len(tensors), sum(tensor.numel() for tensor in tensors.values())
    larger = (
        f"the settings are of a larger network than the {tensors_left} tensors of {numbers_left} numbers in the file"
    )

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors_left, numbers_left
        if parameter is None or threading.get_ident() != mine:
            return
        tensors_left, numbers_left = tensors_left - 1, numbers_left - parameter.numel()
        if tensors_left < 0 or numbers_left < 0:
            raise ValueError(larger)

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # A tensor is made before it is counted, if there is room for it: nothing is written into it until then.
        if isinstance(error, MemoryError) or "allocate" in str(error):
            raise ValueError(larger) from error
        raise
    finally:
        hook.remove()
