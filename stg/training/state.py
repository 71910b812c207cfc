"""Where a training stands: its position, its checkpoints, its best model, and when it ends."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from torch import nn
from torch.optim import Optimizer

from stg.runs.checkpoints import Checkpoints, differing, random_states
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import Preempted, StgError
from stg.training.step import StepResult

NAN_LIMIT = 3
"""Steps in a row that are not finite at which a training gives up; fewer are taken for accidents."""


@dataclass
class Position:
    """How far a training is; saved with each checkpoint. ``broken`` counts steps in a row that were not finite."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    stale: int = 0
    broken: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0


class TrainingState:
    """A model in training, its optimiser and how far they are.

    Args:
        checkpoints: where it is saved; their folder lies in the run folder.
        model, optimiser: what is saved and restored.
        made_of: fingerprints of what it is trained on, by name; they must not change when it resumes.
        epochs, patience: it ends after so many epochs, or so many without a better score.
        export: writes the model as it is, as the best one.
        ranks: the processes that train together; the first of them writes.
        numbered_by: what checkpoints are numbered by.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        model: nn.Module,
        optimiser: Optimizer,
        *,
        made_of: Mapping[str, str],
        epochs: int,
        patience: int,
        export: Callable[[], None],
        ranks: Ranks = SINGLE,
        numbered_by: Literal["step", "epoch"] = "step",
    ) -> None:
        self.checkpoints, self.model, self.optimiser, self.ranks = checkpoints, model, optimiser, ranks
        self.at, self.header = Position(), dict[str, Any]()
        self._made_of, self._export, self._numbered_by = dict(made_of), export, numbered_by
        self._epochs, self._patience, self._saved_at = epochs, patience, time.monotonic()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.checkpoints.folder.parent

    @property
    def finished(self) -> bool:
        """Whether the epochs or the patience are used up."""
        return self.at.epoch >= self._epochs or self.at.stale >= self._patience

    @property
    def loss(self) -> float:
        """Mean loss of the epoch so far."""
        return self.at.loss_sum / max(self.at.loss_count, 1)

    @property
    def saved_by(self) -> int:
        """How many processes had trained what was restored."""
        return int(self.header.get("processes", 1))

    def restore(self, warn: Callable[[str], None] = lambda line: None) -> list[str]:
        """Take up the newest whole checkpoint, if there is one; returns the names in ``made_of`` that differ from it.

        Raises:
            CheckpointError: checkpoints exist and none of them is whole.
        """
        header = self.checkpoints.restore(
            self.model, self.optimiser, warn=warn, rank=self.ranks.rank, made_of=self._made_of
        )
        if header is None:
            return []
        self.header, self.at = header, Position(**header["position"])
        return differing(self._made_of, header)

    def advance(self, result: StepResult) -> None:
        """Count a step."""
        self.at.batch += 1
        self.at.step += 1
        if not result.finite:
            self.at.broken += 1
            return
        self.at.broken = 0
        self.at.loss_sum, self.at.loss_count = self.at.loss_sum + result.losses["loss"], self.at.loss_count + 1

    def require_finite(self, metrics: Path) -> None:
        """Give up after `NAN_LIMIT` steps in a row that were not finite.

        Args:
            metrics: the file in which their videos are, for the error.

        Raises:
            StgError: it was one too many.
        """
        if self.at.broken == NAN_LIMIT:
            raise StgError(
                f"loss or gradient not finite {NAN_LIMIT} times in a row (step {self.at.step}); the videos are in "
                f"{metrics}, the checkpoints before are intact: lower --optim.lr or check the store"
            )

    def end_epoch(self, score: float, *, patience_from: int = 0) -> bool:
        """End the epoch with the score of its validation; whether that is the best so far.

        Args:
            patience_from: the number of epochs that patience does not count.
        """
        # Scores are sums of floating point numbers: all processes take the bits of the first.
        improved = self.ranks.broadcast_value(score) > self.at.best
        self.at.epoch, self.at.batch, self.at.loss_sum, self.at.loss_count = self.at.epoch + 1, 0, 0.0, 0
        # Epochs before the rewards begin are another objective: patience counts only those after.
        self.at.stale = 0 if improved or self.at.epoch <= patience_from else self.at.stale + 1
        return improved

    def save_best(self, score: float) -> None:
        """Export the model as it is after the last whole epoch (or before the first), which has this score."""
        self.at.best, self.at.best_epoch = self.ranks.broadcast_value(score), self.at.epoch - 1
        if self.ranks.is_main:
            self._export()

    def save(self) -> None:
        """Write a checkpoint; of several processes all take part, for the states of their random numbers."""
        states = self.ranks.gather_tensors(random_states())
        if self.ranks.is_main:
            header = {"position": asdict(self.at), **self._made_of, "processes": self.ranks.world_size}
            number = getattr(self.at, self._numbered_by)
            self.checkpoints.save(number, self.model, self.optimiser, header, states[1:])
        self._saved_at = time.monotonic()

    def save_if_due(self, minutes: float, *, stop: bool, record: Callable[..., None]) -> None:
        """Save if the last checkpoint is older than that, or if this process or another is asked to stop.

        Args:
            stop: whether this one is.
            record: as in `interrupt`.

        Raises:
            Preempted: a stop was asked for.
        """
        # Both questions in one exchange, as it follows each step.
        stops, due = self.ranks.any(stop, time.monotonic() - self._saved_at > 60 * minutes)
        if stops:
            self.interrupt(record)
        if due:
            self.save()

    def interrupt(self, record: Callable[..., None]) -> NoReturn:
        """Save and stop.

        Args:
            record: writes the status of the run, as `stg.runs.training_run.TrainingRun.set_state` does.

        Raises:
            Preempted: always.
        """
        self.save()
        record("preempted", step=self.at.step)
        self.ranks.barrier()  # so that none leaves, and has the others ended, before all is written
        raise Preempted(
            f"stopped at step {self.at.step} with a checkpoint in {self.folder}: the same command resumes from there"
        )

    def save_in_trouble(self) -> str:
        """Save in the middle of a step that failed, if this process can alone; says what there is to resume from."""
        # Of several processes the others are elsewhere in the step and cannot take part.
        if self.ranks.is_distributed:
            kept = any(self.checkpoints.folder.glob("step-*"))
            return "the last checkpoint holds" if kept else "no checkpoint yet"
        self.save()
        return "checkpoint saved"
