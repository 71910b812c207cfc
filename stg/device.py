"""Which processor a command works on."""

import os
from typing import TYPE_CHECKING

from stg.errors import UserError

if TYPE_CHECKING:
    import torch


def pick_device(name: str, *, alone: bool = True) -> "torch.device":
    """``auto`` is the CUDA device of this process (under torchrun its own, else the first), without one the CPU;
    ``cuda`` is the same, and nothing else will do.

    Args:
        name: what the user asks for.
        alone: False where processes work together, and two of a machine may not be sent to one device.

    Raises:
        UserError: the device is unknown or not there, or one that other processes would be sent to, too.
    """
    import torch

    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))
    if not alone and here > 1 and name.startswith("cuda:"):
        raise UserError(
            f"device {name!r} would be that of all {here} processes here: give cuda, and each takes its own"
        )
    own = int(os.environ.get("LOCAL_RANK", "0")) % max(torch.cuda.device_count(), 1)
    if name == "auto":
        return torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{own}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} is not to be had here ({str(error).splitlines()[0]}): choose cpu as the device"
        ) from error
    return device
