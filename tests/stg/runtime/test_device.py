"""Which device a process takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

import stg.runtime.distributed
from stg.commands.fit import main
from stg.config.training import FitConfig, RunConfig
from stg.runtime.device import pick_device
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import UserError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says that it has two."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize(("rank", "own"), [(None, 0), (0, 0), (1, 1), (3, 1)])
def test_each_process_takes_its_own_device_by_number(
    name: str, rank: int | None, own: int, two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    # With its number: torch.cuda.set_device refuses a device without one.
    assert str(pick_device(name, alone=False)) == f"cuda:{own}"


def test_one_device_for_several_processes_of_a_machine_is_refused(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="'cuda:0' would be that of all 2 processes here: give cuda, and each takes"):
        pick_device("cuda:0", alone=False)
    assert str(pick_device("cpu", alone=False)) == "cpu"
    # Processes that do not work together may share one.
    assert str(pick_device("cuda:0")) == "cuda:0"
    # One process on each of two machines.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert str(pick_device("cuda:1", alone=False)) == "cuda:1"


def test_training_refuses_it_before_anything_is_made(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def init_distributed(device: Callable[[], torch.device]) -> Iterator[Ranks]:
        device()
        yield SINGLE

    monkeypatch.setattr(stg.commands.fit, "init_distributed", init_distributed)
    monkeypatch.setattr("stg.commands.fit.fit", None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="give cuda, and each takes its own"):
        main(FitConfig(run=RunConfig(device="cuda:0")))
