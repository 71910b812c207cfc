"""A job of Ray Data over clips: many machines, and a bad clip is a row with its error instead of the end of the job.

Needs the extra ``ray``. Ray itself gives up a job at the first exception (ray #59194), and tries a clip that kills its
worker again for ever. So exceptions are caught where they happen, and the attempts at each clip are counted. Imports
no torch: each process of Ray's imports this file, also those that only count.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stg.runtime.errors import StgError, UserError
from stg.video.decoding import VideoError

MAX_BLOCKS = 4096
"""Pieces into which the clips are divided at the most; Ray slows down with many more."""


ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray's own value, 15, starves its workers when anything else runs on the machine
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would set up the project anew for each worker
}
"""Read by Ray when it is imported; what the user has set is left alone."""


ATTEMPTS = 2
"""Times that a clip may take its worker down; a worker may also die by chance."""


class ClipExtractor(Protocol):
    """What a worker builds once and keeps."""

    def extract_one(self, video: str, path: Path) -> bytes:
        """The encoded record of one clip; any exception makes the clip a row with an error."""


@dataclass(frozen=True)
class RayRow:
    """What became of one clip.

    Args:
        video: its id.
        record: the encoded record; None where the clip failed.
        error: why it failed; None where it did not.
        stage: ``read``, ``extract`` or ``worker`` (it died), as in the skip log; empty where nothing failed.
        kind: class of the error, as in the skip log.
    """

    video: str
    record: bytes | None
    error: str | None = None
    stage: str = ""
    kind: str = ""


def extract_with_ray(
    clips: Mapping[str, Path],
    choice: dict[str, Any],
    build: Callable[[dict[str, Any]], ClipExtractor],
    workers: int = 2,
    gpus: float = 0.0,
) -> Iterator[RayRow]:
    """Extract clips in the workers of a Ray cluster; a row for each clip, as they are done, not in order.

    Uses the Ray that is running in this process or named by ``RAY_ADDRESS``, and else one of its own on this machine,
    which ends with the iterator.

    Args:
        clips: id -> path; the workers must see the same files.
        choice: settings, given to ``build``. Set the threads of the networks in there: Ray's own setting differs from
            that of a single process, and with it the last bits of the features.
        build: made in each worker: settings -> extractor. A function of a module, which is found by name there. What
            may hang or crash the process, it must keep in a child (:class:`stg.video.readers.Readers`).
        workers: how many, each with one core.
        gpus: GPUs of each worker; below 1 they share.

    Raises:
        UserError: Ray is not installed; or ``build`` raised one.
        StgError: ``build`` failed otherwise, or the job as a whole did.
    """
    if workers < 1:
        raise UserError(f"workers must be at least 1; got {workers}")
    # Before the import, at which Ray reads them.
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise UserError(f"Ray is not installed ({error}): pip install 'stg-video[ray]'") from error
    return _rows(dict(clips), choice, build, workers, gpus)


def _rows(
    clips: dict[str, Path], choice: dict[str, Any], build: Callable[..., ClipExtractor], workers: int, gpus: float
) -> Iterator[RayRow]:
    import ray.data

    # File names need not be text, which Ray's tables insist on.
    items = [{"video": video, "path": os.fsencode(path.absolute())} for video, path in clips.items()]
    if not items:
        return
    with _running(workers), _quiet():
        # Counted outside the workers: otherwise a clip that kills its worker would be tried for ever.
        attempts = ray.remote(num_cpus=0)(_Attempts).remote()
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), MAX_BLOCKS)).map(
            _Worker,
            fn_constructor_args=(build, choice, attempts),
            # One clip in flight a worker: when a worker dies it is known which clip did it.
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items)), max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=gpus,
        )
        try:
            for row in rows.iter_rows():
                yield _row(row)
        except ray.exceptions.RayError as error:
            raise StgError(f"the Ray job failed: {type(error).__name__}: {_last_line(error)}") from error
        finally:
            ray.kill(attempts)


def _row(row: dict[str, Any]) -> RayRow:
    if row["stage"] == "build":
        raise (UserError if row["kind"] == "user" else StgError)(row["error"])
    if row["stage"]:
        return RayRow(row["video"], None, row["error"], row["stage"], row["kind"])
    return RayRow(row["video"], row["record"])


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[-1]


class _Attempts:
    """Counts, in a process of its own that no clip can take down, the attempts at each clip that is not done."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def begin(self, video: str) -> int:
        self.begun[video] = self.begun.get(video, 0) + 1
        return self.begun[video]

    def finish(self, video: str) -> None:
        self.begun.pop(video, None)


class _Worker:
    """Lives in a process of Ray's. No exception leaves it."""

    def __init__(self, build: Callable[..., ClipExtractor], choice: dict[str, Any], attempts: Any) -> None:
        self.extractor: ClipExtractor | None = None
        self.attempts, self.problem, self.kind = attempts, "", ""
        try:
            self.extractor = build(choice)
        except UserError as error:
            self.problem, self.kind = str(error), "user"
        except Exception as error:
            self.problem = f"a Ray worker could not build the extractor: {type(error).__name__}: {error}"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        video = row["video"]
        answer = {"video": video, "record": b"", "error": "", "stage": "", "kind": ""}
        # Networks that could not be built make every clip a row with the reason, not a job that fails again and again.
        if self.extractor is None:
            return answer | {"error": _text(self.problem), "stage": "build", "kind": self.kind}
        # Waited for, since it must be counted before the clip can take the process down.
        if ray.get(self.attempts.begin.remote(video)) > ATTEMPTS:
            died = f"the worker's process died at this clip, {ATTEMPTS} times"
            return answer | {"error": died, "stage": "worker", "kind": "WorkerDied"}
        try:
            answer["record"] = self.extractor.extract_one(video, Path(os.fsdecode(row["path"])))
        except Exception as error:
            stage = "read" if isinstance(error, VideoError) else "extract"
            answer |= {"error": _text(str(error)), "stage": stage, "kind": type(error).__name__}
        # Reached also by clips that fail with an error: only those whose process died stay counted.
        self.attempts.finish.remote(video)
        return answer


def _text(words: str) -> str:
    return words.encode("utf-8", "backslashreplace").decode()


@contextmanager
def _running(workers: int) -> Iterator[None]:
    """A Ray to work with; only one that was started here is stopped."""
    import ray

    if ray.is_initialized():
        yield
        return
    # A cluster that the user names is used as it is; otherwise a small one is started for this job.
    own = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", "num_cpus": workers, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **own)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray put its own there
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no log lines of Ray Data; all is put back afterwards."""
    from ray.data import DataContext

    context, log = DataContext.get_current(), logging.getLogger("ray.data")
    settings = {"enable_progress_bars": False, "print_on_execution_start": False}
    # The settings belong to the whole process, which may use Ray Data for something else.
    before = {name: getattr(context, name) for name in settings}
    for name, value in settings.items():
        setattr(context, name, value)
    # Its handlers are set up when it is imported first; its log file in Ray's folder stays.
    console = [item for item in log.handlers if type(item).__name__ == "PlainRayHandler"]
    for handler in console:
        log.removeHandler(handler)
    try:
        yield
    finally:
        for handler in console:
            log.addHandler(handler)
        for name, value in before.items():
            setattr(context, name, value)
