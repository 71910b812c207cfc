"""A run folder: settings, metrics, log, state. Everything in it is relative to it."""

import json
import logging
from collections.abc import Mapping
from logging.handlers import MemoryHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

from stg.config.schema import differences, from_dict, to_dict
from stg.config.training import FitConfig
from stg.runs.model_file import MODEL_FILE, WHOLE_FILE
from stg.runtime.errors import Preempted, ProcessLost, StgError, UserError
from stg.runtime.files import append_jsonl, write_atomic
from stg.runtime.reading import read_json

Status = Literal["running", "preempted", "finished", "failed"]


# Options that change nothing in what is learned: they may differ on resume without a word.
FREE = {
    "run.out",
    "run.device",
    "run.threads",
    "run.save_minutes",
    "run.samples",
    "run.override",
    "data.store",
    "data.root",
    "data.loading",
}

# Options that may differ on resume with --run.override true; all others define the run.
NEGOTIABLE = {
    "optim.lr",
    "reward.lr",
    "optim.epochs",
    "optim.patience",
    "optim.clip_norm",
    "optim.weight_decay",
    "data.min_coverage",
}


logger = logging.getLogger("stg")


def default_folder(config: FitConfig) -> Path:
    """``runs/<dataset>-<branches>-<variant>[-<decoder>][-shuffle]-seed<seed>``.

    One's own folder of clips is named, too; the Transformer is not.
    """
    own = [Path(config.data.root).name] if config.data.dataset == "folder" and config.data.root else []
    parts: list[str] = [config.data.dataset, *own, config.model.branches]
    if config.model.branches != "scene":
        parts.append(config.graph.variant)
    if config.model.decoder != "transformer":
        parts.append(config.model.decoder)
    if config.run.control != "none":
        parts.append(config.run.control)
    return Path("runs") / "-".join([*parts, f"seed{config.run.seed}"])


class Run:
    """The folder of one training run; a context that records how it ended.

    Nothing is written before :meth:`begin`: a run that is refused leaves no trace, and a finished one as it was.

    Args:
        folder: made by :meth:`begin` if absent.
        config: what the run is asked to do.
        rank: of several processes that train together, which this is; only the first writes, the others no more than
            the log of an error of their own.

    Raises:
        UserError: the folder holds something else, or a run with other settings (the differences are listed).
    """

    def __init__(self, folder: Path, config: FitConfig, rank: int = 0) -> None:
        self.folder, self.config, self.rank = folder, config, rank
        self.metrics, self.state_file = folder / "metrics.jsonl", folder / "state.json"
        self.model_file, self.whole_file = folder / MODEL_FILE, folder / WHOLE_FILE
        self.checkpoints = folder / "checkpoints"
        self._settings = folder / "config.json"
        if self._settings.exists():
            # As this version reads them: what an older one could not set has its default.
            self._agree(to_dict(load_config(folder)))
        elif folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and is not a run of ours: choose another folder with --run.out")
        self._begun = False
        self._handler = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def begin(self) -> None:
        """Write the settings and open the log, which then holds what was said before, too.

        Raises:
            UserError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"train-{self.rank}.log" if self.rank else "train.log"
            file = logging.FileHandler(self.folder / name, encoding="utf-8", delay=bool(self.rank))
        except OSError as error:
            raise UserError(f"the run folder {self.folder} cannot be written to: {error.strerror or error}") from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._handler.setTarget(file)
        self._handler.flushLevel = logging.NOTSET
        self._handler.flush()
        self._begun = True
        if self.rank:
            return
        write_atomic(self._settings, json.dumps(to_dict(self.config), indent=1))
        write_atomic(self.folder / "config.yaml", yaml.safe_dump(to_dict(self.config), sort_keys=False))

    def __enter__(self) -> "Run":
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Preempted):
                logger.info("%s", error)
            elif error is not None and not (self.rank and isinstance(error, ProcessLost)):
                logger.error("run failed", exc_info=error)
                if self._begun:
                    self.set_state("failed", error=f"{type(error).__name__}: {error}")
        finally:
            logger.removeHandler(self._handler)
            if self._handler.target is not None:
                self._handler.target.close()
            self._handler.close()

    def _agree(self, before: Mapping[str, Any]) -> None:
        differing = {key: pair for key, pair in differences(before, to_dict(self.config)).items() if key not in FREE}
        if not differing:
            return
        listed = "; ".join(f"{key}: was {old!r}, now {new!r}" for key, (old, new) in differing.items())
        fixed = sorted(set(differing) - NEGOTIABLE)
        if fixed:
            raise UserError(
                f"{self.folder} holds a run with other settings ({listed}): choose another folder with --run.out"
            )
        if not self.config.run.override:
            raise UserError(
                f"{self.folder} holds a run with other settings ({listed}): add --run.override true to go on so"
            )

    @property
    def state(self) -> dict[str, Any]:
        """What ``state.json`` says: ``status`` and details; empty for a run that never saved one."""
        return read_json(self.state_file) if self.state_file.exists() else {}

    def set_state(self, status: Status, **details: Any) -> None:
        """Record how far the run is; a run that cannot write its state says so in its log and goes on."""
        if self.rank:
            return
        try:
            write_atomic(self.state_file, json.dumps({"status": status, **details}, indent=1))
        except StgError as error:
            logger.warning("%s", error)

    def log(self, **row: Any) -> None:
        """Append a row to ``metrics.jsonl``."""
        if not self.rank:
            append_jsonl(self.metrics, row)

    def rewind(self, step: int, *, validated: bool) -> None:
        """Drop the rows after ``step``, which will be made again, and a half-written last row.

        ``validated``: whether the validation that follows ``step`` is done already.
        """
        if self.rank or not self.metrics.exists():
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if row["step"] < step or (0 < row["step"] == step and (validated or row["kind"] != "validation")):
                kept.append(line)
        write_atomic(self.metrics, "".join(f"{line}\n" for line in kept))


def load_config(folder: str | Path) -> FitConfig:
    """The settings of a run folder.

    Raises:
        UserError: it is not a run folder, or was written by another version.
    """

    path = Path(folder) / "config.json"
    if not path.exists():
        raise UserError(f"{folder} is not a run folder (it has no config.json): give the folder that stg.fit printed")
    try:
        return from_dict(FitConfig, read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} does not fit this version: {error}") from error
