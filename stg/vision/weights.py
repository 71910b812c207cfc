"""Files of weights: where they are searched for, what is missing, and how they are read.

Nothing here reaches a network but :func:`download`, and importing this module imports no torch: a command without
its weights answers at once.
"""

import os
import re
import urllib.request
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg.runtime.errors import UserError, first_line
from stg.runtime.files import replacing, sha256_file
from stg.vision.onnx_files import external_files
from stg.vision.published import PREFIXES, PUBLISHED, UNPUBLISHED, Published

if TYPE_CHECKING:
    from torch import Tensor, nn

SECONDS = 10.0
"""Longest silence of a server before a download is given up."""

COUNTERS = "num_batches_tracked"
WRAPPERS = ("state_dict", "model", "model_state_dict")


@dataclass(frozen=True)
class WeightFile:
    """A file of weights, which is hashed once however many ask for its hash.

    Networks take one of these, or a path.
    """

    path: Path

    @classmethod
    def of(cls, file: "WeightFile | str | Path") -> "WeightFile":
        """``file`` itself, or the file at this path."""
        return file if isinstance(file, WeightFile) else cls(Path(file))

    @property
    def name(self) -> str:
        """The name of the file, without its folder."""
        return self.path.name

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, which is the identity of a network in a manifest.

        Of an ONNX network with weights in further files, that of a list of all their hashes.

        Raises:
            UserError: a file cannot be read.
        """
        first, *others = (_sha256(path, _stamp(path)) for path in (self.path, *self.others))
        if not others:
            return first
        lines = [first, *(f"{found} {path.name}" for found, path in zip(others, self.others, strict=True))]
        return sha256("\n".join(lines).encode()).hexdigest()

    @cached_property
    def others(self) -> tuple[Path, ...]:
        """Further files that hold weights of the same network: those that an ONNX file names.

        Raises:
            UserError: one of them is missing, or lies elsewhere.
        """
        try:
            return external_files(self.path) if self.path.suffix.lower() == ".onnx" else ()
        except (OSError, ValueError):  # no network at all: who opens it says so
            return ()

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()  # what hashes the file says why it cannot be read
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@cache
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """Hashed once in a process, also where a command checks its files first and opens its networks later."""
    return sha256_file(path)


Weights = WeightFile | str | Path
"""What networks take: a file, or its path."""


def cache_folder() -> Path:
    """The folder in which torch's hub keeps weights: ``TORCH_HOME``, else ``XDG_CACHE_HOME``, else ``~/.cache``."""
    home = os.path.join(os.getenv("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(os.path.expanduser(os.getenv("TORCH_HOME", home)), "hub", "checkpoints")


def find_weights(network: str, choice: str | None = None) -> WeightFile:
    """The file that holds the weights, from this machine only.

    Args:
        network: a key of :data:`stg.vision.published.PUBLISHED` or ``UNPUBLISHED``.
        choice: name of published weights, which are searched for in torch's cache, or a file; by default the first
            published ones.

    Raises:
        UserError: no such file; what it is called, where it is published, its size and hash, and where it would go. Or
            the file in the cache is not the published one.
    """
    item = _pick(network, choice)
    if isinstance(item, WeightFile):
        return item
    file = WeightFile(cache_folder() / item.file)
    if not file.path.is_file():
        raise UserError(
            f"the weights {item.choice} of {network} are not on this machine: {item.file}, {item.megabytes:.1f} MB, "
            f"sha256 {item.sha256_prefix}..., published at {item.address}; put the file at {file}, or give the path of "
            f"a file instead of {item.choice} (nothing is downloaded unasked)"
        )
    _check_hash(file, item.sha256_prefix)
    return file


def download(network: str, choice: str | None = None) -> WeightFile:
    """Fetch published weights into torch's cache, where :func:`find_weights` finds them; nothing if they are there.

    One attempt. The file takes its name only once its hash is right.

    Raises:
        UserError: nothing is published under this name, the server cannot be reached, or sends something else.
    """
    item = _pick(network, choice)
    if isinstance(item, WeightFile):
        return item
    file = WeightFile(cache_folder() / item.file)
    path = file.path
    if path.is_file():
        _check_hash(file, item.sha256_prefix)
        return file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What a killed download left is removed by the next one.
        with replacing(path) as part:
            _fetch_checked(item, path, part)
    except OSError as error:
        raise _no_download(item, path, error) from error
    return WeightFile(path)


def load_state_dict(path: Weights, sha256_prefix: str | None = None) -> "dict[str, Tensor]":
    """The tensors of a ``.safetensors`` file or of a torch file, without running any code it may hold.

    Wrappers ``state_dict``, ``model`` and ``model_state_dict`` are opened; a prefix ``module.`` of all keys is dropped.

    Args:
        path: the file.
        sha256_prefix: how its SHA-256 must begin; by default what the name promises, if it is that of a published file.

    Raises:
        UserError: no such file, not the promised one, damaged, not weights, or Python objects besides tensors.
    """
    import torch

    file = WeightFile.of(path)
    path = file.path
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist")
    if path.stat().st_size == 0:
        raise UserError(f"weights file {path} is empty: fetch it again")
    if prefix := sha256_prefix or PREFIXES.get(path.name):
        _check_hash(file, prefix)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    # Training scripts wrap their weights in one of these, and DataParallel puts a prefix before every name.
    for _ in WRAPPERS:  # each once: a dict that holds itself would never come to an end
        if (wrapper := next((key for key in WRAPPERS if _holds(state, key)), None)) is not None:
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise UserError(f"weights file {path} must hold a state dict; it holds {type(state).__name__} {_shown(state)}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise UserError(
                f"weights file {path} must hold a tensor under each name; {_named(key)} is {type(value).__name__}: "
                f"save model.state_dict() alone"
            )
        # A view that repeats one number may have any shape: networks are built by the shapes of their weights.
        if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UserError(
                f"weights file {path} is damaged: {_named(key)} has {value.numel()} numbers and holds fewer"
            )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def fit_state_dict(module: "nn.Module", state: "dict[str, Tensor]", path: Weights) -> None:
    """Copy ``state`` into ``module``; every tensor must find its place and every place its tensor.

    Counters of batch normalisation (``num_batches_tracked``) may be absent or too many: evaluation never reads them.

    Args:
        module: the network.
        state: what :func:`load_state_dict` read.
        path: named in errors.

    Raises:
        UserError: missing, extra or misshapen tensors, listed; a tensor that is not finite.
    """
    # Counters of batches have no part in evaluation, and many files lack them.
    own = {key: value for key, value in module.state_dict().items() if not key.endswith(COUNTERS)}
    given = {key: value for key, value in state.items() if not key.endswith(COUNTERS)}
    misshapen = [
        f"{key} {list(given[key].shape)} instead of {list(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    lists = {"missing": own.keys() - given.keys(), "extra": given.keys() - own.keys(), "misshapen": misshapen}
    if faults := [f"{word} {len(keys)} ({_some(keys)})" for word, keys in lists.items() if keys]:
        raise UserError(f"weights file {path} is not of this network ({type(module).__name__}): {'; '.join(faults)}")
    for key, value in given.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"weights file {path} is damaged: {key} is not finite")
    # Not strict only for the counters: all else was compared above, with an error that lists every fault.
    module.load_state_dict(given, strict=False)


def frozen_network(
    build: "Callable[[dict[str, Tensor]], nn.Module]", path: Weights, device: str = "cpu"
) -> "nn.Module":
    """A network with the weights of a file: in evaluation mode, no parameter of it can be trained.

    Args:
        build: makes the network, given the tensors of the file (to read widths and class counts off them).
        path: the file.
        device: where it runs.

    Raises:
        UserError: as :func:`load_state_dict` and :func:`fit_state_dict`, or the device cannot be used.
    """
    import torch

    state = load_state_dict(path)
    with torch.random.fork_rng(
        devices=[]
    ):  # the initial values are overwritten; the caller's numbers stay as they were
        module = build(state)
    fit_state_dict(module, state, path)
    return on_device(module, device)


def on_device(module: "nn.Module", device: str) -> "nn.Module":
    """A network in evaluation mode, of which nothing is trained.

    Raises:
        UserError: the device cannot be used.
    """
    try:
        return module.requires_grad_(False).eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device!r} cannot be used: {_line(error)}; take cpu or cuda") from error


def _pick(network: str, choice: str | None) -> Published | WeightFile:
    """The published file that is meant, or the file that was given."""
    if network not in PUBLISHED and network not in UNPUBLISHED:
        raise UserError(f"network must be one of {', '.join([*PUBLISHED, *UNPUBLISHED])}; got {network!r}")
    items = PUBLISHED.get(network, ())
    if choice is None and not items:
        raise UserError(
            f"no weights of {network} are published that may be fetched: give the path of a file with "
            f"{UNPUBLISHED[network]}"
        )
    for item in items:
        if choice in (None, item.choice):
            return item
    path = Path(choice or "")
    if not path.is_file():
        names = ", ".join(item.choice for item in items)
        known = f"{names}, or the path of a file" if names else f"the path of a file with {UNPUBLISHED[network]}"
        raise UserError(f"weights of {network}: {choice!r} is no file; give {known}")
    return WeightFile(path)


def _check_hash(file: WeightFile, prefix: str) -> None:
    if not file.sha256.startswith(prefix):
        raise UserError(
            f"{file} is damaged or another file: its sha256 is {file.sha256[:8]}..., expected {prefix}...; delete it "
            "and fetch it again"
        )


def _fetch_checked(item: Published, path: Path, part: Path) -> None:
    try:
        digest, size = _fetch(item.address, part)
    except (OSError, HTTPException) as error:
        raise _no_download(item, path, error) from error
    if not digest.startswith(item.sha256_prefix):
        raise UserError(
            f"{item.address} sent {size} bytes with sha256 {digest[:8]}..., expected {item.sha256_prefix}... and "
            f"{item.megabytes:.1f} MB: cut short or another file; nothing was kept"
        )


def _no_download(item: Published, path: Path, error: BaseException) -> UserError:
    return UserError(
        f"could not download {item.address} ({item.megabytes:.1f} MB) to {path}: {_line(error)}; fetch it by other "
        f"means and put it there, or give the path of a file"
    )


def _fetch(address: str, part: Path) -> tuple[str, int]:
    """Write what ``address`` sends to ``part``; its hash and size."""
    digest, size = sha256(), 0
    with urllib.request.urlopen(address, timeout=SECONDS) as response, open(part, "wb") as file:
        while chunk := response.read(2**20):
            digest.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"weights file {path} is damaged or no safetensors file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    import torch

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > path.stat().st_size:  # torch never compresses
                raise UserError(f"weights file {path} would unpack to {unpacked} bytes: torch writes no such files")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns about, it also refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # torch, pickle and zip raise nearly everything on rubbish
        # torch names what it refuses to unpickle, and nothing else says which kind of file this is.
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"weights file {path} holds Python objects besides tensors ({found[1].rstrip('.,;')}), which may run "
                f"code and are never loaded: where you trust it, load it there and save model.state_dict() alone, "
                f"best as .safetensors"
            ) from error
        if "TorchScript" in str(error):
            raise UserError(
                f"weights file {path} is a TorchScript program, which is code and never loaded: where you trust it, "
                f"load it there and save its state_dict() alone, best as .safetensors"
            ) from error
        raise UserError(f"weights file {path} is damaged, cut short or no file of weights: {_line(error)}") from error


def _holds(state: Any, key: str) -> bool:
    return isinstance(state, dict) and isinstance(state.get(key), dict)


def _named(key: Any) -> str:
    """A name, cut; of what is none its type alone, as a tuple of tuples may have no end when it is written out."""
    return f"{key!r:.80}" if isinstance(key, str | int) else f"the key of type {type(key).__name__}"


def _shown(state: Any) -> str:
    return f"of {len(state)}" if isinstance(state, (dict, list, tuple)) else ""


def _some(keys: Any) -> str:
    names = sorted(keys)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _line(error: BaseException) -> str:
    text = str(error)
    if "weights_only" in text:  # here torch advises to switch off what keeps a file's code from running
        text = text.partition("WeightsUnpickler error:")[2] or text.partition("In PyTorch")[0]
        text = text.replace("Cannot use ``weights_only=True`` with", "tensors alone cannot be read from")
    return first_line(error, text, most=200)
