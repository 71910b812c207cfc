"""Where a run stands."""

from dataclasses import dataclass


@dataclass
class Position:
    """Where a run stands; saved with each checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    stale: int = 0
    broken: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
