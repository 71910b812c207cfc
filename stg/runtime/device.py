"""Which processor a command works on."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stg.runtime.errors import UserError

Precision = Literal["float32", "bfloat16"]


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse bfloat16 where it is not in hardware: there it is emulated, many times slower than float32.

    Half precision (float16) is not offered: its gradients need scaling, whose state a run would have to keep, and
    whatever is fast with it is as fast with bfloat16.

    Raises:
        UserError: the device has no bfloat16 of its own.
    """
    if precision == "bfloat16" and not has_bfloat16(device):
        raise UserError(
            f"optim.precision bfloat16 on {device}: it has no bfloat16 in hardware, and emulated, a step takes many "
            "times as long: leave optim.precision float32, or train on a GPU (Ampere or newer) or a CPU with "
            "AVX512-BF16 or AMX"
        )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_has_bfloat16(cpu_capabilities())


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The block in which a step computes its loss; backward and the optimiser stay outside."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def single(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Values in single precision at least: what a softmax or a sum over many words is taken of."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cpu_capabilities() -> Mapping[str, object]:
    """What the processor can do, by the names of its instruction sets."""
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    # Older versions of torch do not say; Linux does.
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return {flag: True for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def _cpu_has_bfloat16(capabilities: Mapping[str, object]) -> bool:
    return any(has is True and name.endswith("bf16") for name, has in capabilities.items())


def pick_device(name: str, *, alone: bool = True) -> torch.device:
    """``auto`` is the CUDA device of this process (under torchrun its own, else the first), without one the CPU;
    ``cuda`` is the same, and nothing else will do.

    Args:
        name: what the user asks for.
        alone: False where processes work together, and two of a machine may not be sent to one device.

    Raises:
        UserError: the device is unknown or not there, or one that other processes would be sent to, too.
    """

    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))
    if not alone and here > 1 and name.startswith("cuda:"):
        raise UserError(
            f"device {name!r} would be that of all {here} processes here: give cuda, and each takes its own"
        )
    # Modulo, as more processes than GPUs may be started on one machine.
    own = int(os.environ.get("LOCAL_RANK", "0")) % max(torch.cuda.device_count(), 1)
    if name == "auto":
        return torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{own}"
    try:
        device = torch.device(name)
        # Only use shows whether a device is there and works.
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} is not to be had here ({str(error).splitlines()[0]}): choose cpu as the device"
        ) from error
    return device


GROUPS = Path("/sys/fs/cgroup")

MEMORY = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes that may still be taken, as the system says, or the control group of a container; None: not known."""
    limits = [_free_of_system(), _free_of_group()]
    return min((free for free in limits if free is not None), default=None)


def _free_of_system() -> int | None:
    available = _numbers(MEMORY).get("MemAvailable:")
    return None if available is None else 1024 * available


def _free_of_group() -> int | None:
    most, current = GROUPS / "memory.max", GROUPS / "memory.current"
    if not most.exists() or not current.exists() or (limit := most.read_text().strip()) == "max":
        return None
    # What the system keeps of files that were read counts as used, and is given up when it is needed.
    files = _numbers(GROUPS / "memory.stat")
    given_up = files.get("inactive_file", 0) + files.get("active_file", 0)
    return max(int(limit) - int(current.read_text()) + given_up, 0)


def _numbers(listing: Path) -> dict[str, int]:
    lines = listing.read_text().splitlines() if listing.exists() else []
    return {words[0]: int(words[1]) for line in lines if len(words := line.split()) > 1 and words[1].isdigit()}
