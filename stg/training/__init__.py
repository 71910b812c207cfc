"""How a captioner learns."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.training.loop import fit
    from stg.training.losses import captioning_losses
    from stg.training.reinforce import reward_losses
    from stg.training.rewards import REWARDS
    from stg.training.schedules import OPTIMISERS
    from stg.training.step import train_step
    from stg.training.trackers import TRACKERS, Tracker

__all__ = ["OPTIMISERS", "REWARDS", "TRACKERS", "Tracker", "captioning_losses", "fit", "reward_losses", "train_step"]

__getattr__ = lazy_names(
    __name__,
    loop="fit",
    losses="captioning_losses",
    reinforce="reward_losses",
    rewards="REWARDS",
    schedules="OPTIMISERS",
    step="train_step",
    trackers="TRACKERS Tracker",
)
