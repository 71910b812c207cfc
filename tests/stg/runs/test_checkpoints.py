"""Checkpoints: atomic, checksummed, resumable (faults D1-D3, F2)."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stg.config.training import OptimConfig
from stg.runs.checkpoints import Checkpoints
from stg.runs.tensors import CheckpointError, load_tensors, save_tensors
from stg.runtime.errors import StgError
from stg.training.schedules import OPTIMISERS


def parts(seed: int = 0, algorithm: str = "adam", lr: float = 0.01) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    return model, OPTIMISERS[algorithm](list(model.parameters()), OptimConfig(lr=lr))


def step(model: nn.Module, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss = model(torch.randn(16, 4)).square().mean()
    loss.backward()
    optimiser.step()
    return loss.item()


@pytest.mark.parametrize("algorithm", ["adam", "rmsprop"])
def test_going_on_equals_never_having_stopped(algorithm: str, tmp_path: Path) -> None:
    model, optimiser = parts(algorithm=algorithm)
    undisturbed = [step(model, optimiser) for _ in range(8)]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model, optimiser = parts(algorithm=algorithm)
    first = [step(model, optimiser) for _ in range(3)]
    Checkpoints(tmp_path / "c").save(3, model, optimiser, {"note": "ü"})
    model, optimiser = parts(seed=99, algorithm=algorithm)
    header = Checkpoints(tmp_path / "c").restore(model, optimiser)
    assert header is not None
    assert (header["step"], header["note"]) == (3, "ü")
    assert first + [step(model, optimiser) for _ in range(5)] == undisturbed
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_the_step_size_is_that_of_now_and_the_state_that_of_before(tmp_path: Path) -> None:
    model, optimiser = parts()
    step(model, optimiser)
    Checkpoints(tmp_path).save(1, model, optimiser, {})
    again, other = parts(lr=0.5)
    Checkpoints(tmp_path).restore(again, other)
    assert other.param_groups[0]["lr"] == 0.5
    before, after = (made.state_dict()["state"] for made in (optimiser, other))
    assert all(torch.equal(state["exp_avg"], after[row]["exp_avg"]) for row, state in before.items())


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    model, optimiser = parts()
    checkpoints = Checkpoints(tmp_path)
    for number in (1, 2, 30):
        step(model, optimiser)
        checkpoints.save(number, model, optimiser, {})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"step-{n:08d}.{end}" for n in (2, 30) for end in ("safetensors", "sha256")]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no checksum", "garbage"])
def test_a_damaged_checkpoint_is_passed_over_with_words(damage: str, tmp_path: Path) -> None:
    model, optimiser = parts()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model, optimiser, {})
    step(model, optimiser)
    checkpoints.save(2, model, optimiser, {})
    newest = tmp_path / "step-00000002.safetensors"
    whole = bytearray(newest.read_bytes())
    if damage == "flip":
        whole[-5] ^= 1
    newest.write_bytes({"cut": whole[:-9], "empty": b"", "garbage": os.urandom(500)}.get(damage, whole))
    if damage == "no checksum":
        newest.with_suffix(".sha256").unlink()
    lines: list[str] = []
    header = checkpoints.restore(*parts(), warn=lines.append)
    assert header is not None
    assert header["step"] == 1
    assert len(lines) == 1
    assert "step-00000002.safetensors" in lines[0]
    assert "falling back" in lines[0]


def test_no_whole_checkpoint_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    model, optimiser = parts()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(model, optimiser) is None
    checkpoints.save(1, model, optimiser, {})
    (tmp_path / "step-00000001.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole \(1 tried\)"):
        checkpoints.restore(model, optimiser)


def test_broken_weights_never_replace_good_ones(tmp_path: Path) -> None:
    model, optimiser = parts()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model, optimiser, {})
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(StgError, match=r"model.0.weight holds NaN or Inf after step 2: nothing saved"):
        checkpoints.save(2, model, optimiser, {})
    assert (checkpoints.restore(*parts()) or {})["step"] == 1


@pytest.mark.parametrize("calls", range(6))
def test_killed_at_any_moment_of_a_save_the_newest_whole_one_is_used(
    calls: int, tmp_path: Path, python: list[str]
) -> None:
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import torch
from torch import nn
from stg.runs.checkpoints import Checkpoints
torch.manual_seed(0)
model = nn.Linear(50, 50)
optimiser = torch.optim.Adam(model.parameters())
folder = Path(sys.argv[1])
Checkpoints(folder).save(1, model, optimiser, {})
left = int(sys.argv[2])
def counted(function):
    def call(*args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return function(*args)
    return call
os.fsync, os.replace = counted(os.fsync), counted(os.replace)
Checkpoints(folder).save(2, model, optimiser, {})
"""
    root = Path(__file__).resolve().parents[3]
    command = [*python, "-c", code, str(tmp_path), str(calls), str(root)]
    done = subprocess.run(command, check=False, timeout=300)
    assert done.returncode in (0, -9)
    assert calls > 4 or done.returncode == -9
    model = nn.Linear(50, 50)
    header = Checkpoints(tmp_path).restore(model, torch.optim.Adam(model.parameters()))
    assert header is not None
    assert header["step"] in (1, 2)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimiser = parts()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model, optimiser, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "fsync", full)
        with pytest.raises(StgError, match=r"could not write .*step-00000002.* bytes\): No space left") as told:
            checkpoints.save(2, model, optimiser, {})
    assert told.value.exit_code == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_of_others_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        load_tensors(tmp_path / "none.safetensors")
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"w": torch.ones(3)}, {"a": 1})
    assert torch.equal(load_tensors(path)[0]["w"], torch.ones(3))
    for content in (b"\xff" * 100, b"\x00\x00\x00\x00\x01\x00\x00\x00{}", b"\x80\x04."):
        path.write_bytes(content)
        digest = __import__("hashlib").sha256(content).hexdigest()
        path.with_suffix(".sha256").write_text(digest)
        with pytest.raises(CheckpointError, match=r"a.safetensors is not a checkpoint of this project"):
            load_tensors(path)
    save_file({"w": torch.ones(2)}, path, {"other": json.dumps({})})
    path.with_suffix(".sha256").write_text(__import__("hashlib").sha256(path.read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match=r"a.safetensors is not a checkpoint of this project"):
        load_tensors(path)
