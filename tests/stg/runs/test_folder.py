"""The run folder: its name, what it refuses, runs of earlier versions (faults D2, D10)."""

import dataclasses
import errno
import io
import json
import logging
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from stg.config.data import DataConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.schema import to_dict
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.runs.folder import RunFolder, default_folder, load_config
from stg.runs.training_run import TrainingRun
from stg.runtime.errors import UserError
from stg.runtime.reporter import SILENT


def begun(out: Path, **parts: Any) -> FitConfig:
    """The settings of a run that was begun there."""
    config = FitConfig(run=RunConfig(out=str(out)), **parts)
    with TrainingRun(out, config) as run:
        run.begin()
    return config


def written(out: Path, config: dict[str, Any]) -> None:
    out.mkdir()
    (out / "config.json").write_text(json.dumps(config))


def test_the_default_folder_tells_what_was_trained() -> None:
    def name(**parts: Any) -> str:
        return default_folder(FitConfig(data=DataConfig(dataset="msvd"), **parts)).as_posix()

    assert name() == "runs/msvd-full-full-seed0"
    assert name(model=ModelConfig(branches="scene")) == "runs/msvd-scene-seed0"
    assert name(model=ModelConfig(branches="scene", decoder="stats")) == "runs/msvd-scene-stats-seed0"
    both = {"graph": GraphConfig(variant="spatial"), "model": ModelConfig(decoder="attention_lstm")}
    assert name(**both, run=RunConfig(control="shuffle")) == "runs/msvd-full-spatial-attention_lstm-shuffle-seed0"


def test_a_folder_with_another_run_is_refused_with_the_differences(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = begun(out)
    with pytest.raises(UserError, match=r"other settings \(model.channels: was 128, now 32\): choose another folder"):
        TrainingRun(out, dataclasses.replace(config, model=ModelConfig(channels=32)))
    longer = dataclasses.replace(config, optim=OptimConfig(epochs=3))
    with pytest.raises(UserError, match=r"optim.epochs: was 25, now 3\): add --run.override true"):
        TrainingRun(out, longer)
    TrainingRun(out, dataclasses.replace(longer, run=RunConfig(out=str(out), override=True)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and is not a run of this project"):
        TrainingRun(other, config)


def test_a_run_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    config = FitConfig()
    old = to_dict(config)
    for name in ("decoder", "views", "stats", "attention_lstm"):
        del old["model"][name]
    for name in ("rank_weight", "category_weight"):
        del old["loss"][name]
    for name in ("algorithm", "scheduled_sampling", "own_word"):
        del old["optim"][name]
    out = tmp_path / "run"
    written(out, old)
    TrainingRun(out, config)
    with pytest.raises(UserError, match=r"\(model.decoder: was 'transformer', now 'stats'\): choose another folder"):
        TrainingRun(out, FitConfig(model=ModelConfig(decoder="stats")))


def test_a_run_with_settings_that_this_version_lacks_is_refused(tmp_path: Path) -> None:
    old = to_dict(FitConfig())
    old["optim"]["momentum"] = 0.9
    out = tmp_path / "run"
    written(out, old)
    with pytest.raises(UserError, match=r"does not fit this version: unknown key 'momentum' of OptimConfig; known: "):
        TrainingRun(out, FitConfig())
    with pytest.raises(UserError, match="does not fit this version"):
        load_config(out)


def test_one_process_writes_a_run_and_anyone_reads_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = FitConfig(run=RunConfig(out=str(out)))
    with TrainingRun(out, config) as run:
        early = TrainingRun(out, config)  # saw no run yet
        run.begin()
        who = rf"run is being written by process {os.getpid()} on host {re.escape(socket.gethostname())} since 2"
        with pytest.raises(UserError, match=who), TrainingRun(out, config):
            pass
        with early, pytest.raises(UserError, match=who):
            early.begin()
        with TrainingRun(out, config, rank=1) as other:  # of the same job
            other.begin()
        assert RunFolder(out).config == config
    with early, pytest.raises(UserError, match="was begun by another process meanwhile: the same command resumes it"):
        early.begin()
    with TrainingRun(out, config) as run:
        run.begin()
    assert {path.name for path in out.iterdir()} == {"config.json", "config.yaml", "train.log"}


def test_a_run_begins_among_what_a_killed_start_left(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in (".lock", "train.log", ".config.json.0123abcd.tmp"):
        (out / name).touch()
    begun(out)
    assert {path.name for path in out.iterdir()} == {"config.json", "config.yaml", "train.log"}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_and_started_again_at_once_five_times(tmp_path: Path) -> None:
    """Each start is killed while it replaces a file, with the lock in its hands; the last one finds a clean folder."""
    out = tmp_path / "run"
    config = FitConfig(run=RunConfig(out=str(out)))
    for number in range(5):
        if (pid := os.fork()) == 0:
            try:
                with TrainingRun(out, config) as run:
                    run.begin()
                    run.log(kind="step", step=number + 1)
                    with open(out / "metrics.jsonl", "a") as half:
                        half.write('{"kind": "st')
                    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
                    run.set_state("running", step=number)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert (out / ".lock").exists()
        assert len(list(out.glob(".state.json.*.tmp"))) == 1
    with TrainingRun(out, config) as run:
        run.begin()
        run.log(kind="step", step=6)
    assert {path.name for path in out.iterdir()} == {"config.json", "config.yaml", "metrics.jsonl", "train.log"}
    assert [row["step"] for row in RunFolder(out).metrics.rows] == [1, 2, 3, 4, 5, 6]
    assert RunFolder(out).metrics.unread == 0


def test_nothing_is_written_through_links_in_a_run(tmp_path: Path) -> None:
    out, others = tmp_path / "run", tmp_path / "others"
    others.mkdir()
    (others / "train.log").write_text("of another run\n")
    begun(out)
    (out / "train.log").unlink()
    (out / "train.log").symlink_to(others / "train.log")
    with pytest.raises(UserError, match=r"train.log is a link, and what it leads to would be overwritten"):
        begun(out)
    (out / "train.log").unlink()
    (out / "checkpoints").symlink_to(others)
    with pytest.raises(UserError, match="checkpoints is a link: put the folder itself there, or choose another folder"):
        begun(out)
    assert (others / "train.log").read_text() == "of another run\n"


class Full(io.StringIO):
    """A file on a full disk, which fails when it is closed, too."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_without_room_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    with TrainingRun(out, FitConfig(run=RunConfig(out=str(out)))) as run:
        run.begin()
        target = run._handler.target
        assert isinstance(target, logging.FileHandler)
        target.stream.close()
        target.stream = Full()
        run.reporter(SILENT).say("a line")
        run.set_state("finished")
    assert RunFolder(out).finished
    assert capsys.readouterr().err == ""


def test_rows_with_other_line_separators_survive_a_resume(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with TrainingRun(out, FitConfig(run=RunConfig(out=str(out)))) as run:
        run.begin()
        run.log(kind="validation", step=1, samples={"v": "a\u2028b"})
        run.rewind(2, validated=True)
    assert [row["samples"] for row in RunFolder(out).metrics.rows] == [{"v": "a\u2028b"}]
