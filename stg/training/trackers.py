"""Trackers: where the log of a training goes in addition to ``metrics.jsonl``, which alone is the record of a run."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from stg.config.schema import to_dict
from stg.config.training import FitConfig
from stg.runs.folder import RunFolder
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import read_text

PREFIXES = {"step": "train", "validation": "val", "start": "val"}
"""The kinds of rows that are tracked, and what the names of their numbers begin with."""
NEEDED = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}
"""Tracker -> the module that it needs; the extra with it has the tracker's name."""


@runtime_checkable
class Tracker(Protocol):
    """What gets the numbers of a training while it runs.

    A training calls it in its own process (of several, in the first), between two steps. What it raises ends no
    training: it is reported once, and the tracker is called no more.
    """

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Called after each step and after each validation.

        Args:
            scalars: name -> value: ``train/loss`` and the other losses of a step, ``train/norm`` (of the gradient),
                ``train/epoch`` (from 0); after a validation ``val/loss`` (mean of the training losses of the epoch),
                ``val/cider`` and the other scores, ``val/broken_endings``, ``val/epoch`` (from 1).
            step: the number of steps so far, from 1; 0 for the scores that a run with ``run.start`` begins with. The
                steps after the last checkpoint come again when a run that was killed resumes.
        """

    def close(self) -> None:
        """Called once, when the training ends, also with an error or a stop."""


class TensorBoard:
    """Event files in the folder ``tensorboard`` of the run.

    Args:
        folder: of the run.
        config: its settings.
        step: the step at which the run resumes; 0 for one that begins. Later ones in the files are no longer shown.
    """

    def __init__(self, folder: RunFolder, config: FitConfig, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1 if step else 0)

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        # A kill must lose nothing that a checkpoint counts as done: it would not be logged again.
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of W&B, named as the run folder, which keeps its id in ``wandb-id.txt``: resumed, it is the same run.

    Its project is that of ``WANDB_PROJECT``, or ``stg``; other variables of W&B hold as everywhere. Arguments as for
    `TensorBoard`.
    """

    def __init__(self, folder: RunFolder, config: FitConfig, step: int) -> None:
        import wandb

        file = folder.path / "wandb-id.txt"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "stg"),
            name=folder.path.resolve().name,
            id=read_text(file).strip() if file.exists() else None,
            resume="allow",
            dir=str(folder.path),
            config=to_dict(config),
        )
        write_atomic(file, f"{self._run.id}\n")
        # W&B refuses to log an earlier step again, as a resumed run has to: the step is a number of its own.
        self._run.define_metric("*", step_metric="step")

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        self._run.log({**scalars, "step": step})

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[RunFolder, FitConfig, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
"""Tracker -> what makes it of the run folder, the settings, and the step at which the run resumes."""


class Tracking:
    """The trackers of one training, a context that closes them.

    Args:
        config: names those that are to be made.
        given: others, ready to use.
        rank: of several processes; only the first has trackers.
        warn: receives one line for each tracker that fails.
    """

    def __init__(
        self, config: FitConfig, given: Sequence[Tracker], *, rank: int = 0, warn: Callable[[str], None]
    ) -> None:
        self._config, self._warn = config, warn
        self._names = [] if rank else config.run.chosen_trackers()
        self._open = [] if rank else [(type(tracker).__name__, tracker) for tracker in given]

    def open(self, folder: RunFolder, step: int) -> None:
        """Make the trackers that are named; the run folder is there, and ``step`` steps are done."""
        for name in self._names:
            try:
                self._open.append((name, TRACKERS[name](folder, self._config, step)))
            except Exception as error:
                self._report(name, "could not be started", error)

    def log(self, row: Mapping[str, Any]) -> None:
        """Pass on a row of ``metrics.jsonl``."""
        prefix = PREFIXES.get(row["kind"])
        if prefix is None:
            return
        scalars = {
            f"{prefix}/{name}": float(value)
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float)
        }
        for name, tracker in list(self._open):
            try:
                tracker.log(dict(scalars), row["step"])
            except Exception as error:
                self._open.remove((name, tracker))
                self._report(name, f"failed at step {row['step']}", error)
                with suppress(Exception):
                    tracker.close()

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, tracker in self._open:
            try:
                tracker.close()
            except Exception as failed:
                self._report(name, "could not be closed", failed)

    def _report(self, name: str, what: str, error: Exception) -> None:
        said = " ".join(str(error).split())
        self._warn(
            f"the tracker {name} {what} ({type(error).__name__}: {said}): the run does without it, metrics.jsonl has "
            "everything"
        )


def check_trackers(config: FitConfig, given: object) -> None:
    """Refuse trackers that cannot be, before a run begins.

    Raises:
        UserError: a package is missing, or cannot be imported.
        TypeError: an object is no tracker.
    """
    for name in config.run.chosen_trackers():
        try:
            import_module(NEEDED.get(name, "stg.training.trackers"))
        except Exception as error:
            raise UserError(
                f"--run.trackers {name} needs the extra {name!r}, which cannot be imported ({type(error).__name__}: "
                f"{error}): pip install 'stg-video[{name}]', or leave {name} out"
            ) from error
    wanted = "trackers must be a list of objects with log(scalars, step) and close()"
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"{wanted}; got {given!r:.80}; built-in ones are named by run={{'trackers': 'tensorboard'}}")
    for tracker in given:
        methods = [getattr(tracker, name, None) for name in ("log", "close")]
        if isinstance(tracker, type) or not all(map(callable, methods)):
            raise TypeError(f"{wanted}; got {tracker!r:.80}")
