"""Trackers of a training: TensorBoard, W&B (a stand-in), one's own; one that fails ends no training (fault D18)."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import stg
from stg.config.data import DataConfig
from stg.config.schema import to_dict
from stg.config.training import FitConfig, RunConfig
from stg.datasets.open import open_dataset
from stg.runs.folder import RunFolder
from stg.runtime.errors import Preempted, UserError
from stg.runtime.reporter import Reporter
from stg.training.loop import fit
from stg.training.trackers import TRACKERS, Tracker, Tracking, check_trackers
from tests.stg.commands.test_fit import WORLD, rows, settings


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


class Recorder:
    """Keeps what it gets; raises where it is asked to."""

    def __init__(self, fails: str = "", at: int = 0, error: BaseException | None = None) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.closed, self.fails, self.at, self.error = 0, fails, at, error or OSError(28, "No space left\non device")

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        self.logged.append((step, dict(scalars)))
        if self.fails == "log" and step >= self.at:
            raise self.error

    def close(self) -> None:
        self.closed += 1
        if self.fails == "close":
            raise self.error

    def curve(self, name: str) -> list[tuple[int, float]]:
        return [(step, scalars[name]) for step, scalars in self.logged if name in scalars]


class Lines(Reporter):
    """Keeps what is said, and stops once a tracker has seen a step."""

    def __init__(self, stop: Recorder | None = None, at: int = 0) -> None:
        self.lines, self.stop, self.at = [], stop, at

    def say(self, line: str) -> None:
        self.lines.append(line)

    def should_stop(self) -> bool:
        return self.stop is not None and bool(self.stop.logged) and self.stop.logged[-1][0] >= self.at


def logged(out: Path, kind: str, name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in rows(out, kind)]


def test_one_s_own_gets_every_number_of_the_log(store: Path, tmp_path: Path) -> None:
    out, mine = tmp_path / "run", Recorder()
    config = settings(store, out)
    stg.fit(**to_dict(config), trackers=[mine])
    assert mine.curve("train/loss") == logged(out, "step", "loss")
    assert mine.curve("train/norm") == logged(out, "step", "norm")
    assert mine.curve("val/cider") == logged(out, "validation", "cider")
    assert [step for step, _ in mine.curve("val/loss")] == [6, 12]
    assert [step for step, _ in mine.curve("train/loss")] == list(range(1, 13))
    assert not {name for _, scalars in mine.logged for name in scalars} & {"train/step", "train/kind", "val/samples"}
    assert mine.closed == 1


def curve(out: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_shows_one_curve_after_a_stop_and_a_kill(store: Path, tmp_path: Path) -> None:
    out, first = tmp_path / "run", Recorder()
    config = settings(store, out, run={"trackers": "tensorboard"})
    with pytest.raises(Preempted):
        fit(config, reporter=Lines(first, 4), trackers=[first])
    assert [step for step, _ in curve(out, "train/loss")] == [1, 2, 3, 4]
    # No checkpoint is saved after step 4: steps 5 to 8, and the validation after 6, are made again.
    killed = Recorder("log", 8, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fit(config, trackers=[killed])
    fit(config)
    for name, kind in (("loss", "step"), ("cider", "validation")):
        prefix = {"step": "train", "validation": "val"}[kind]
        expected = logged(out, kind, name)
        found = curve(out, f"{prefix}/{name}")
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """A stand-in for W&B; the runs that were started."""
    runs: list[SimpleNamespace] = []

    def init(**options: Any) -> SimpleNamespace:
        run = SimpleNamespace(options=options, id=options["id"] or "made1234", rows=[], metrics=[], finished=0)
        run.log = run.rows.append
        run.define_metric = lambda name, step_metric: run.metrics.append((name, step_metric))
        run.finish = lambda: setattr(run, "finished", run.finished + 1)
        runs.append(run)
        return run

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return runs


def test_a_resumed_run_is_the_same_run_of_wandb(store: Path, tmp_path: Path, wandb: list[SimpleNamespace]) -> None:
    out, seen = tmp_path / "mine", Recorder()
    config = settings(store, out, run={"trackers": "wandb"})
    with pytest.raises(Preempted):
        fit(config, reporter=Lines(seen, 7), trackers=[seen])
    fit(config)
    assert [run.options["id"] for run in wandb] == [None, "made1234"]
    assert [(run.finished, run.metrics) for run in wandb] == [(1, [("*", "step")])] * 2
    options = wandb[0].options
    given = {"project": "stg", "name": "mine", "resume": "allow", "dir": str(out)}
    assert {name: options[name] for name in given} == given
    assert options["config"]["optim"]["lr"] == 3e-3
    sent = [row for run in wandb for row in run.rows]
    assert [(row["step"], row["train/loss"]) for row in sent if "train/loss" in row] == logged(out, "step", "loss")
    assert [(row["step"], row["val/cider"]) for row in sent if "val/cider" in row] == logged(out, "validation", "cider")


def test_a_missing_extra_is_one_error_before_anything_is_written(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        UserError, match=r"--run.trackers wandb needs the extra 'wandb'.*pip install 'stg-video\[wandb\]'"
    ):
        fit(settings(store, tmp_path / "run", run={"trackers": "tensorboard, wandb"}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["init", "log", "close"])
def test_a_tracker_that_fails_ends_no_training(
    where: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*given: Any) -> Tracker:
        if where == "init":
            raise ConnectionError("no network")
        return failing

    failing, sound, said = Recorder(where, 3), Recorder(), Lines()
    monkeypatch.setitem(TRACKERS, "mine", make)
    out = tmp_path / "run"
    fit(settings(store, out, run={"trackers": "mine"}), reporter=said, trackers=[sound])
    assert RunFolder(out).finished
    assert sound.curve("train/loss") == logged(out, "step", "loss")
    assert len(rows(out, "step")) == 12
    words = {
        "init": "could not be started (ConnectionError: no network)",
        "log": "failed at step 3 (OSError: [Errno 28] No space left on device)",
        "close": "could not be closed (OSError: [Errno 28] No space left on device)",
    }[where]
    expected = f"the tracker mine {words}: the run does without it, metrics.jsonl has everything"
    assert [line for line in said.lines if "the tracker " in line] == [expected]
    assert expected in (out / "train.log").read_text()
    steps = {"init": [], "log": [1, 2, 3], "close": [step for step, _ in sound.logged]}
    assert [step for step, _ in failing.logged] == steps[where]
    assert failing.closed == (where != "init")


def test_only_the_first_process_tracks(tmp_path: Path) -> None:
    mine = Recorder()
    config = FitConfig(run=RunConfig(trackers="tensorboard"))
    with Tracking(config, [mine], rank=1, warn=pytest.fail) as tracking:
        tracking.open(RunFolder(tmp_path), 0)
        tracking.log({"kind": "step", "step": 1, "loss": 1.0})
    assert (mine.logged, mine.closed, list(tmp_path.iterdir())) == ([], 0, [])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tensorboard", r"got 'tensorboard'; built-in ones are named by run=\{'trackers': 'tensorboard'\}"),
        ([Recorder], r"must be a list of objects with log\(scalars, step\) and close\(\); got <class"),
        ([object()], "got <object object"),
    ],
)
def test_what_is_no_tracker_is_refused(given: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_trackers(FitConfig(), given)


@pytest.mark.parametrize("names", ["tensorbord", "", "wandb,"])
def test_unknown_names_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match=r"run.trackers must be one of tensorboard, wandb; got '"):
        RunConfig(trackers=names)
