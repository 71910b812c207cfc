"""In which floating point type a training step multiplies matrices."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stg.errors import UserError

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
    # Older versions of torch do not tell; Linux does.
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return {flag: True for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def _cpu_has_bfloat16(capabilities: Mapping[str, object]) -> bool:
    return any(has is True and name.endswith("bf16") for name, has in capabilities.items())
