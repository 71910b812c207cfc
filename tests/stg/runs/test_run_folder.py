"""A run folder as its readers see it."""

import json
from pathlib import Path

import pytest

from stg.config.training import FitConfig, RunConfig
from stg.runs.evaluations import read_evaluations
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


ROWS = [
    "5",
    "{}",
    "null",
    '"x"',
    "[" * 100_000,
    '{"kind": "step"}',
    '{"kind": 5, "step": 1}',
    '{"kind": "step", "step": 1e999}',
]


@pytest.mark.parametrize(
    "line", [*ROWS, "\xff", '{"kind": "s", "step": ' + "9" * 400 + "}"], ids=lambda line: line[:20]
)
def test_lines_that_are_no_rows_are_counted_and_dropped_on_resume(line: str, tmp_path: Path) -> None:
    config = FitConfig(run=RunConfig(out=str(tmp_path / "run")))
    with TrainingRun(tmp_path / "run", config) as run:
        run.begin()
        good = b'{"kind": "step", "step": 1}\n'
        RunFolder(tmp_path / "run").metrics_file.write_bytes(good + line.encode("latin-1") + b"\n")
        read = RunFolder(tmp_path / "run").metrics
        assert (len(read.rows), read.unread) == (1, 1)
        run.rewind(5, validated=True)
        assert RunFolder(tmp_path / "run").metrics_file.read_bytes() == good


@pytest.mark.parametrize("section", ["data", "model", "optim", "run", "world"])
@pytest.mark.parametrize("value", [[], 5, None, "x", [["lr", 1]]], ids=repr)
def test_a_section_of_the_settings_that_is_none_is_refused(section: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({section: value}))
    with pytest.raises(UserError, match=r"config\.json does not fit this version: .* must be an object of settings"):
        _ = RunFolder(tmp_path).config


@pytest.mark.parametrize(
    "values",
    [{"optim": {"lr": "x"}}, {"optim": {"epochs": 2.5}}, {"run": {"seed": 2**70}}, {"optim": {"betas": [0.1]}},
     {"model": {"views": "three"}}, {"data": {"strict": 1}}, {"plugin": 5}, {"plugin": [5]}, {"run": {"out": []}}],
    ids=repr,
)  # fmt: skip
def test_settings_of_another_type_are_refused(values: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError):
        _ = RunFolder(tmp_path).config


@pytest.mark.parametrize(
    "record",
    [5, [], {"scores": 5}, {"scores": {"cider": "x"}}, {"scores": {"cider": []}}, {"unavailable": 5}, {"search": [5]},
     {"verbs": {"slide": 5}}, {"verbs": {"slide": {"right": "x"}}}],
    ids=repr,
)  # fmt: skip
def test_scores_that_are_none_are_refused(record: object, tmp_path: Path) -> None:
    (tmp_path / "val-greedy.json").write_text("[]")
    for kind in ("scores", "events"):
        (tmp_path / f"val-greedy-{kind}.json").write_text(json.dumps(record))
        with pytest.raises(UserError, match=rf"val-greedy-{kind}\.json is not what stg.evaluate writes"):
            read_evaluations(tmp_path)
        (tmp_path / f"val-greedy-{kind}.json").unlink()
