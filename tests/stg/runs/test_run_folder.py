"""A run folder as its readers see it."""

import json
from pathlib import Path

import pytest

from stg.config.training import FitConfig, RunConfig
from stg.runs.folder import Metrics, RunFolder
from stg.runs.training_run import TrainingRun
from stg.runtime.errors import UserError


def begun(out: Path) -> RunFolder:
    with TrainingRun(out, FitConfig(run=RunConfig(out=str(out), seed=7))) as run:
        run.begin()
        run.set_state("running", step=2)
        run.log(kind="step", step=1, loss=0.5)
        run.log(kind="validation", step=1, cider=0.1)
    return RunFolder(out)


def test_what_a_run_wrote_is_read(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    assert run.begun
    assert not run.finished
    assert run.config.run.seed == 7
    assert run.state == {"status": "running", "step": 2}
    assert run.metrics.of_kind("step") == [{"kind": "step", "step": 1, "loss": 0.5}]
    assert [row["kind"] for row in run.metrics.rows] == ["step", "validation"]
    assert (run.header, run.weights, run.evaluations) == (None, {}, ())
    assert Path(run) == tmp_path / "run"
    assert f"{run}" == str(tmp_path / "run")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "none")
    assert not run.begun
    assert (run.state, run.metrics, run.times) == ({}, Metrics(), ("", ""))
    with pytest.raises(UserError, match=r"none is not a run folder \(it has no config.json\)"):
        run.config  # noqa: B018


def test_what_is_no_row_or_state_is_counted_or_refused(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with open(run.metrics_file, "a") as file:
        file.write('[1]\n\n{"kind": "step", "step": true}\n{"kind": "step", "st')
    assert (len(run.metrics.rows), run.metrics.unread) == (2, 3)
    run.state_file.write_text("[]")
    with pytest.raises(UserError, match=r"state.json must hold an object, got \[\]"):
        run.state  # noqa: B018


def test_evaluations_are_named_as_their_searches(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    run.evaluation.mkdir()
    for stem, search in {"test-beam3": {"method": "beam", "beam": 3}, "val-greedy": {"method": "greedy"}}.items():
        run.evaluation_file(stem).write_text("[]")
        run.evaluation_file(stem, "scores").write_text(json.dumps({"search": search, "scores": {"cider": 1.0}}))
    found = run.evaluations
    assert [(one.split, one.search, one.captions.name) for one in found] == [
        ("val", "greedy", "val-greedy.json"),
        ("test", "beam 3", "test-beam3.json"),
    ]
    run.evaluation_file("val-greedy", "scores").write_text('{"scores": 3}')
    with pytest.raises(UserError, match=r"val-greedy-scores.json is not what stg.evaluate writes"):
        run.evaluations  # noqa: B018
