"""A training run, written: its settings, log, metrics and state."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import MemoryHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

from stg.config.schema import describe, differences, to_dict
from stg.config.training import FitConfig
from stg.runs.folder import RunFolder, defining, metrics_row
from stg.runtime.errors import Preempted, ProcessLost, StgError, UserError
from stg.runtime.files import append_jsonl, is_leftover, open_log, printable, write_atomic
from stg.runtime.locks import FolderWriter
from stg.runtime.reading import read_bytes
from stg.runtime.reporter import SILENT, Progress, Reporter, Steps

Status = Literal["running", "preempted", "finished", "failed"]

NEGOTIABLE = {
    "optim.lr",
    "reward.lr",
    "optim.epochs",
    "optim.patience",
    "optim.clip_norm",
    "optim.weight_decay",
    "data.min_coverage",
}
"""Options that may differ when a run resumes, with ``--run.override true``; all others of `defining` may not."""

logger = logging.getLogger("stg")


class TrainingRun:
    """The folder of one training run, to be written to; a context that records how the run ended.

    Nothing is written before :meth:`begin`: a run that is refused leaves no trace, and a finished one as it was.

    Args:
        folder: made by :meth:`begin` if absent.
        config: what the run is asked to do.
        rank: of several processes that train together, which this is; only the first writes, the others no more than
            the log of an error of their own.
        option: of the command that chooses the folder, for errors.

    Raises:
        UserError: the folder holds something else, or a run with other settings (the differences are listed).
    """

    def __init__(self, folder: str | Path, config: FitConfig, rank: int = 0, option: str = "--run.out") -> None:
        self.folder, self.config, self.rank = RunFolder(folder), config, rank
        self._elsewhere = f"choose another folder with {option}"
        self._plugin_note = ""
        path = self.folder.path
        if self.folder.begun:
            self._refuse_other_settings()
        elif path.exists() and not all(_is_own(entry.name) for entry in path.iterdir()):
            raise UserError(f"{path} is not empty and is not a run of this project: {self._elsewhere}")
        self._writer = FolderWriter(path, self.folder.config_file, option)
        self._begun = False
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []
        """Called with each row of the log; they raise nothing."""
        # The log of a run that is refused is never written: lines wait here until the run begins.
        self._handler = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def begin(self) -> None:
        """Write the settings and open the log, which then holds what was said before, too.

        Raises:
            UserError: the folder cannot be written to, or another process writes there.
        """
        path = self.folder.path
        try:
            if not self.rank:
                self._writer.begin()
            path.mkdir(parents=True, exist_ok=True)
            log = path / f"train-{self.rank}.log" if self.rank else self.folder.log_file
            # Other processes seldom have anything to say: their files are made by the first line.
            file = _LogHandler(log, delay=bool(self.rank))
        except OSError as error:
            raise UserError(f"the run folder {path} cannot be written to: {error.strerror or error}") from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        # The lines that waited go first; from then on nothing waits, so that a kill loses none.
        self._handler.setTarget(file)
        self._handler.flushLevel = logging.NOTSET
        self._handler.flush()
        self._begun = True
        if self.rank:
            return
        # The settings below keep the hash of now: of the epochs before, the log alone says what they were made with.
        if self._plugin_note:
            logger.warning(self._plugin_note)
        write_atomic(self.folder.config_file, json.dumps(to_dict(self.config), ensure_ascii=False, indent=1))
        # To be given by --config, it holds options alone.
        options = {name: value for name, value in to_dict(self.config).items() if name != "plugin_sha256"}
        write_atomic(path / "config.yaml", yaml.safe_dump(options, sort_keys=False))

    def __enter__(self) -> "TrainingRun":
        if not self.rank:
            self._writer.resume()
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Preempted):
                logger.info("%s", error)
            # Where another process was lost, the first reports it; the rest would fill their logs with the consequence.
            elif error is not None and not (self.rank and isinstance(error, ProcessLost)):
                logger.error("run failed", exc_info=error)
                if self._begun:
                    self.set_state("failed", error=f"{type(error).__name__}: {error}")
        finally:
            logger.removeHandler(self._handler)
            if self._handler.target is not None:
                self._handler.target.close()
            self._handler.close()
            self._writer.release()

    def _refuse_other_settings(self) -> None:
        changed = differences(to_dict(self.folder.config), to_dict(self.config))
        if texts := {key: pair for key, pair in changed.items() if key == "plugin_sha256"}:
            self._plugin_note = f"resumes with plugins of another text: {describe(texts)}"
        changed = defining(changed)
        if not changed:
            return
        listed = describe(changed)
        # Whoever changes what defines a run gets no hint at --run.override, which would not help.
        fixed = sorted(set(changed) - NEGOTIABLE)
        if fixed:
            raise UserError(f"{self.folder} holds a run with other settings ({listed}): {self._elsewhere}")
        if not self.config.run.override:
            raise UserError(
                f"{self.folder} holds a run with other settings ({listed}): add --run.override true to resume with them"
            )

    def set_state(self, status: Status, **details: Any) -> None:
        """Record how far the run is; a run that cannot write its state says so in its log and continues."""
        if self.rank:
            return
        try:
            write_atomic(
                self.folder.state_file, json.dumps({"status": status, **details}, ensure_ascii=False, indent=1)
            )
        except StgError as error:
            logger.warning("%s", error)

    def log(self, **row: Any) -> None:
        """Append a row to ``metrics.jsonl``."""
        if not self.rank:
            append_jsonl(self.folder.metrics_file, row)
            for listener in self.listeners:
                listener(row)

    def reporter(self, inner: Reporter) -> Reporter:
        """What the run says: to ``inner`` and into its log; of several processes the first one speaks for all."""
        return _RunReporter(inner, silent=bool(self.rank))

    def rewind(self, step: int, *, validated: bool) -> None:
        """Drop the rows after ``step``, which will be made again, and a half-written last row.

        ``validated``: whether the validation that follows ``step`` is done already.
        """
        metrics = self.folder.metrics_file
        if self.rank or not metrics.exists():
            return
        kept = []
        for line in read_bytes(metrics).decode("utf-8", "replace").split("\n"):
            # A line that a kill cut off, or that is no row.
            if (row := metrics_row(line)) is None:
                continue
            # The validation after step n is logged with n: it stays only if the checkpoint was saved after it.
            if row["step"] < step or (0 < row["step"] == step and (validated or row["kind"] != "validation")):
                kept.append(line)
        write_atomic(metrics, "".join(f"{line}\n" for line in kept))


class _LogHandler(logging.FileHandler):
    """Appends to a file that is no link; what cannot be written there is lost, and ends no training."""

    def _open(self) -> TextIOWrapper:
        return open_log(self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the run counts more than its log."""

    def close(self) -> None:
        """Close the file, whatever it still holds."""
        with suppress(OSError):
            super().close()


def _is_own(name: str) -> bool:
    """Whether a file is what a run leaves that was killed before it had settings."""
    return is_leftover(name) or re.fullmatch(r"train(-\d+)?\.log", name) is not None


class _RunReporter(Reporter):
    """Passes on what is said, and logs it; one that is silent still asks whether to stop."""

    def __init__(self, inner: Reporter, *, silent: bool) -> None:
        self._shown, self._asked, self._silent = SILENT if silent else inner, inner, silent

    def say(self, line: str) -> None:
        line = printable(line)
        self._shown.say(line)
        if not self._silent:
            logger.info(line)

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        with self._shown.bar(title) as progress:
            yield progress

    @contextmanager
    def training_bar(self, epochs: int) -> Iterator[Steps]:
        with self._shown.training_bar(epochs) as show:
            yield show

    def should_stop(self) -> bool:
        return self._asked.should_stop()
