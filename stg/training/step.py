"""One training step: forward, backward, the sum over processes, clipping, and the optimiser's step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stg.data.batches import CaptionBatch
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import StgError
from stg.runtime.reading import counted

Model = TypeVar("Model", bound=nn.Module)


class OutOfMemory(StgError):
    """A batch needs more memory than there is; the weights are as before it."""

    def __init__(self, batch: CaptionBatch) -> None:
        self.batch = f"{counted(len(batch.words), 'caption')} of {counted(len(batch.items), 'video')}"
        super().__init__(f"out of memory with {self.batch}: lower --optim.batch_videos")


@dataclass(frozen=True)
class StepResult:
    """What a step found.

    Attributes:
        losses: ``loss`` and its parts, of the whole batch.
        norm: of the gradient, before it was clipped.
        finite: whether loss and gradient are; if not, the step was not applied.
    """

    losses: Mapping[str, float]
    norm: float
    finite: bool


def train_step(
    model: Model,
    batch: CaptionBatch,
    optimiser: Optimizer,
    objective: Callable[[Model, CaptionBatch], Mapping[str, Tensor]],
    *,
    ranks: Ranks = SINGLE,
    clip_norm: float = 0.0,
) -> StepResult:
    """Learn from one batch. A step whose loss or gradient is not finite changes no weight.

    Args:
        objective: finds ``loss``, which is minimised, and whatever else is to be logged. Scalars.
        ranks: those that have a part of the batch each; losses and gradients are added up over them.
        clip_norm: largest norm of the gradient; 0 leaves it alone.

    Raises:
        OutOfMemory: forward or backward do not fit into memory.
    """
    # Not those of the model: an objective may have weights of its own to learn.
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    optimiser.zero_grad()
    try:
        losses = objective(model, batch)
        losses["loss"].backward()
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(batch) from error
    # Summed before the norm is taken, so that all processes clip alike and stay equal.
    ranks.add_gradients(weights)
    values = ranks.add_values(losses)
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if clip_norm:
        torch.nn.utils.clip_grads_with_norm_(weights, clip_norm, norm)
    gradient_norm = norm.item()
    # Both, as a finite loss may have a gradient that is not; one such step would ruin every weight.
    finite = math.isfinite(gradient_norm) and math.isfinite(values["loss"])
    if finite:
        optimiser.step()
    return StepResult(values, gradient_norm, finite)
