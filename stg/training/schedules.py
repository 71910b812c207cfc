"""Optimisers, and what changes from epoch to epoch."""

from collections.abc import Callable
from math import cos, exp, pi

import torch
from torch import nn
from torch.optim import Optimizer

from stg.config.training import OptimConfig, TeacherConfig

FUSED = ("cpu", "cuda")
"""Devices on which Adam updates all weights in one call; RMSprop has no such call anywhere."""


OPTIMISERS: dict[str, Callable[[list[nn.Parameter], OptimConfig], Optimizer]] = {
    "adam": lambda weights, optim: torch.optim.Adam(
        weights,
        lr=optim.lr,
        betas=optim.betas,
        weight_decay=optim.weight_decay,
        fused=weights[0].device.type in FUSED,
    ),
    "rmsprop": lambda weights, optim: torch.optim.RMSprop(weights, lr=optim.lr, weight_decay=optim.weight_decay),
}
"""Name -> optimiser: Adam as in Pan et al. (2020), RMSprop as in Cherian et al. (2020), which names the step alone."""


LEAST_RATE = 0.02
"""Share of the step size that a cosine ends with."""


def step_size(optim: OptimConfig, done: float) -> float:
    r"""The step size after ``done`` epochs, which need not be whole.

    .. math:: \eta \, \min(1, p / w) \, \big(c + (1 - c) (1 + \cos \pi p / E) / 2\big)

    with ``optim.schedule`` cosine over ``E`` epochs, to the share c = .02 (Loshchilov and Hutter, 2017), and a linear
    warm-up over the first ``w`` epochs. The papers keep it constant. As a function of the place alone it is the same in
    a run that was resumed.
    """
    rate = optim.lr * (min(1.0, (done + 0.01) / optim.warmup) if optim.warmup else 1.0)
    if optim.schedule == "constant":
        return rate
    return rate * (LEAST_RATE + (1 - LEAST_RATE) * (1 + cos(pi * min(done / optim.epochs, 1.0))) / 2)


def teacher_weight(teacher: TeacherConfig, done: float, epochs: int) -> float:
    """The weight of what another model teaches after ``done`` of ``epochs`` epochs, which need not be whole."""
    share = {"constant": 1.0, "decay": 1 - done / epochs, "rise": done / epochs}[teacher.schedule]
    return teacher.weight * min(max(share, 0.0), 1.0)


def teacher_forcing_rate(eta: float, epoch: int) -> float:
    r"""The share of words that are read as given, in scheduled sampling (Cherian et al., 2020, Sec. 4.1).

    .. math:: \epsilon_p = \eta / (\eta + \exp(p / \eta))

    With ``eta`` 24, .960 in epoch 0, .913 in epoch 20 and .749 in epoch 50. All other words are the decoder's own,
    each by a draw of its own (Bengio et al., 2015); the paper does not say whether by word or by sentence.

    Args:
        eta: the larger, the longer words are given.
        epoch: ``p``, from 0.
    """
    decay = eta * exp(-epoch / eta)  # the fraction multiplied by exp(-p / eta), which cannot overflow
    return decay / (decay + 1)


def temperature_at(epoch: int, first: float, last: float, epochs: int) -> float:
    """The temperature of an epoch: geometric from ``first`` in epoch 0 to ``last`` in the last of ``epochs``.

    Cherian et al. (2020, Eq. 9) keep it low throughout. One epoch alone is the last one.
    """
    return last * (first / last) ** (1 - epoch / (epochs - 1)) if epochs > 1 else last
