"""Training by several processes when it is stopped or goes wrong (faults D4 to D7)."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stg.config.data import DataConfig
from stg.datasets.open import open_dataset
from stg.runs.tensors import load_tensors
from tests.stg.make_processes import WORLD

ROOT = Path(__file__).resolve().parents[3]
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
PATIENCE = 300
"""Seconds in which every launch must have come to its end, start and all."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("two")
    open_dataset(DataConfig(store=str(where / "store")), WORLD).store.close()
    return where


def endless(folder: Path, out: Path) -> list[str]:
    """The options of a run that does not end by itself."""
    options = {
        "data.store": folder / "store", "data.min_count": 1, "world.train": WORLD.train, "world.val": WORLD.val,
        "world.test": WORLD.test, "model.channels": 16, "model.heads": 2, "model.hidden": 16, "optim.epochs": 5000,
        "optim.patience": 5000, "run.out": out, "run.threads": 1,
    }  # fmt: skip
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def wait_for_steps(out: Path, ranks: list[subprocess.Popen[str]]) -> None:
    until = time.monotonic() + PATIENCE
    while not (out / "metrics.jsonl").exists() and time.monotonic() < until:
        assert all(process.poll() is None for process in ranks), [p.communicate()[1] for p in ranks]
        time.sleep(0.1)


def newest(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return load_tensors(max((out / "checkpoints").glob("*.safetensors")))


def test_a_signal_to_the_launcher_stops_all_with_a_checkpoint(folder: Path, python: list[str]) -> None:
    out = folder / "launched"
    launcher = subprocess.Popen(
        [*python, *LAUNCH, *python, "-m", "stg.fit", *endless(folder, out)],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    wait_for_steps(out, [launcher])
    launcher.send_signal(signal.SIGTERM)
    _, errors = launcher.communicate(timeout=PATIENCE)
    # The launcher has a code of its own: the run's state is what tells.
    assert launcher.returncode == 1, errors
    state = json.loads((out / "state.json").read_text())
    assert state["status"] == "preempted"
    assert errors.count("with a checkpoint in") == 1
    tensors, header = newest(out)
    assert header["step"] == state["step"]
    assert header["processes"] == 2
    assert "rng1.cpu" in tensors


def test_a_signal_to_one_process_stops_both_at_one_step_with_code_75(folder: Path, python: list[str]) -> None:
    out = folder / "by-hand"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [*python, "-m", "stg.fit", *endless(folder, out)],
            cwd=ROOT,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            },
        )
        for rank in range(2)
    ]
    wait_for_steps(out, ranks)
    # Twice, as where a launcher passes on what its process has got itself.
    ranks[1].send_signal(signal.SIGTERM)
    time.sleep(0.01)
    ranks[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=PATIENCE)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [75, 75], errors
    assert sum(text.count("the same command resumes from there") for text in errors) == 1
    state = json.loads((out / "state.json").read_text())
    assert (state["status"], state["step"]) == ("preempted", newest(out)[1]["step"])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("failing", "error: RuntimeError: the disk caught fire"),
        ("killed", "error: another process of this run was ended from outside (killed, or out of memory)"),
        ("refused", "error: this cannot be: choose another"),
    ],
)
def test_where_one_process_fails_all_end_and_the_reason_is_told_once(
    kind: str, words: str, folder: Path, python: list[str]
) -> None:
    script = str(Path(__file__).parents[1] / "make_processes.py")
    done = subprocess.run(
        [*python, *LAUNCH, *python, script, kind, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith(words)
    # Before all that the launcher has to say of it.
    assert done.stderr.index(told[0]) < done.stderr.index("ChildFailedError")
    if kind != "refused":
        state = json.loads((folder / kind / "state.json").read_text())
        assert state["status"] == "failed"
        assert words.removeprefix("error: ") in state["error"]
    if kind == "failing":
        assert "the disk caught fire" in (folder / kind / "train-1.log").read_text()
