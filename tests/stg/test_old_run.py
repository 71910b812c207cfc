"""A run and a store that an earlier version made (commit 8bbb68c) open, go on, caption, evaluate and report.

``fixtures/old_run`` holds what its commands left: ``store``; ``run``, stopped by SIGTERM in the middle of an epoch,
with its checkpoint, its best model and an evaluation; ``unbroken.jsonl``, the metrics of the same training where it was
not stopped; and ``caption.json``, what ``caption --json`` said of a clip. Its ``README.md`` says how it was made.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIXTURE = next(parent for parent in Path(__file__).resolve().parents if parent.name == "tests") / "stg/fixtures/old_run"
EPOCHS = 16
Command = Callable[..., str]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the earlier version left, which is the working folder."""
    folder = tmp_path / "old"
    shutil.copytree(FIXTURE, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def stg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``python -m stg.NAME`` in this process; returns what it printed."""

    def run(name: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"stg.{name}", *words])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
            with pytest.raises(SystemExit) as ended:
                runpy.run_module(f"stg.{name}", run_name="__main__", alter_sys=True)
        shown = capsys.readouterr()
        assert ended.value.code == 0, shown.err
        return shown.out

    return run


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_nothing_in_it_names_a_place() -> None:
    for path in FIXTURE.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in (b"/tmp/", b"/home/", b"/root/", b"/work/")), path


def test_its_store_is_whole(old: Path, stg: Command) -> None:
    assert "3 records, all whole" in stg("store", "verify", "store")
    assert "3 videos" in stg("store", "info", "store")


def test_it_is_evaluated_as_then(old: Path, stg: Command) -> None:
    evaluation = old / "run" / "evaluation"
    before = {path.name: json.loads(path.read_text()) for path in evaluation.glob("*.json")}
    assert before.keys() == {
        "test-greedy.json",
        "test-greedy-scores.json",
        "test-beam2.json",
        "test-beam2-scores.json",
    }
    shutil.rmtree(evaluation)
    stg("evaluate", "run", "--split", "test", "--beam", "2", "--meteor", "false")
    for name, then in before.items():
        now = json.loads((evaluation / name).read_text())
        if name.endswith("-scores.json"):
            assert now.pop("scores") == pytest.approx(then.pop("scores"), abs=1e-6)
            assert now.pop("references")  # a hash that was not recorded then
            assert now["search"].pop("samples")  # a setting that did not exist then
        assert now == then, name


def test_pages_show_it(old: Path, stg: Command) -> None:
    stg("report", "run", "--split", "test", "--beam", "2")
    stg("report", "run")
    (caption,) = (row["caption"] for row in json.loads((old / "run/evaluation/test-beam2.json").read_text()))
    assert caption.split()[0] in (old / "run/report/test.html").read_text()
    assert "<article" in (old / "run/report/test.html").read_text()
    assert "<svg" in (old / "run/report/run.html").read_text()


def test_it_goes_on_in_mid_epoch_as_if_never_stopped_and_then_for_more_epochs(old: Path, stg: Command) -> None:
    unbroken, before = rows(old / "unbroken.jsonl"), rows(old / "run/metrics.jsonl")
    assert before == unbroken[: len(before)]
    assert f"resuming at step {before[-1]['step']}" in stg("fit", "--config", "run/config.yaml")
    after = rows(old / "run/metrics.jsonl")
    assert after[: len(before)] == before
    assert [row["kind"] for row in after] == [row["kind"] for row in unbroken]
    for now, then in zip(after, unbroken, strict=True):
        if now.pop("kind") == then.pop("kind") == "step":
            assert now == pytest.approx(then, rel=1e-3)
    assert json.loads((old / "run/state.json").read_text())["status"] == "finished"
    assert "run is finished" in stg("fit", "--config", "run/config.yaml")
    more = ("--optim.epochs", str(EPOCHS + 2), "--run.override", "true")
    assert f"resuming at step {after[-1]['step']}" in stg("fit", "--config", "run/config.yaml", *more)
    further = [row for row in rows(old / "run/metrics.jsonl")[len(after) :] if row["kind"] == "validation"]
    assert [row["epoch"] for row in further] == [EPOCHS, EPOCHS + 1]


def test_its_weights_begin_another_run(old: Path, stg: Command) -> None:
    more = ("--run.start", "run", "--run.out", "another", "--optim.epochs", "1")
    assert "beginning with the weights of run" in stg("fit", "--config", "run/config.yaml", *more)
    assert (old / "another/model.safetensors").exists()


def test_its_model_captions_a_clip_as_then(old: Path, python: list[str]) -> None:
    from stg.datasets.world.dataset import World

    then = json.loads((old / "caption.json").read_text())
    World(train=1, val=1, test=1).write_mp4("test-00000", old / "clip.mp4")
    command = [*python, "-m", "stg.caption", "clip.mp4", "--model", "run", "--beam", "2", "--json"]
    root = next(parent for parent in FIXTURE.parents if (parent / "pyproject.toml").exists())
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=old, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    now = json.loads(done.stdout)
    # Later versions may say more.
    assert now.keys() >= then.keys()
    assert (now["video"], now["caption"], now["error"]) == (then["video"], then["caption"], None)
    assert now["log_prob"] == pytest.approx(then["log_prob"], abs=1e-3)
