"""Checkpoints and exported models: safetensors with a JSON header, atomic, checksummed, no pickle."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stg.runs.tensors import CheckpointError, load_tensors, remove_tensors, save_tensors
from stg.runtime.errors import StgError
from stg.runtime.files import remove_leftovers

NAME = re.compile(r"step-(\d{8})\.safetensors")

KEEP = 2


@dataclass(frozen=True)
class Checkpoints:
    """The training checkpoints of a run: the newest `KEEP` are kept, the newest whole one is used.

    Args:
        folder: where they lie; made on the first save.
    """

    folder: Path

    def save(
        self,
        step: int,
        model: nn.Module,
        optimiser: Optimizer,
        header: Mapping[str, Any],
        others: Sequence[Mapping[str, Tensor]] = (),
    ) -> None:
        """Write weights, optimiser state and the generators' states after ``step`` steps.

        Args:
            others: `random_states` of the other processes that train together with this one.

        Raises:
            StgError: a weight is not finite (broken weights never replace good ones), or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for name, value in tensors.items():
            # Saved, it would replace a good checkpoint, and no resumed step could mend it.
            if value.is_floating_point() and not value.isfinite().all():
                raise StgError(
                    f"weight {name} holds NaN or Inf after step {step}: nothing saved, earlier checkpoints are intact"
                )
        tensors |= _flatten(optimiser)
        # One set of generators a process: each draws its own dropout and its own words.
        for rank, states in enumerate([random_states(), *others]):
            tensors |= {f"{_generators(rank)}{name}": state for name, state in states.items()}
        save_tensors(self.folder / f"step-{step:08d}.safetensors", tensors, {**header, "step": step})
        # Only when the new one is whole on disk, so that a kill at any moment leaves one to resume from.
        for old in self._newest_first()[KEEP:]:
            remove_tensors(old)

    def restore(
        self,
        model: nn.Module,
        optimiser: Optimizer,
        warn: Callable[[str], None] = lambda line: None,
        *,
        rank: int = 0,
        made_of: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any] | None:
        """Load the newest whole checkpoint into model, optimiser and generators; returns its header, or None.

        The optimiser keeps the settings that it was made with and gets the state alone.
        The generators get the states of process ``rank`` of those that saved it; where it was none of them, they stay.
        One that was made of something else than ``made_of`` (fingerprints by name) is not loaded.
        Damaged ones are passed over, with a line to ``warn``, in favour of the one before (faults D3).

        Raises:
            CheckpointError: checkpoints exist and none of them is whole.
        """
        # A kill while saving leaves half-written files, which nobody else removes.
        remove_leftovers(self.folder)
        found = self._newest_first()
        for path in found:
            try:
                tensors, header = load_tensors(path)
            except CheckpointError as error:
                # A damaged file costs the steps since the one before it, not the run.
                warn(f"{error}; falling back to the checkpoint before it")
                continue
            # Weights of other words, say, have another shape: the caller has words for that.
            if differing(made_of, header):
                return header
            model.load_state_dict(_under(tensors, "model."))
            _unflatten(optimiser, _under(tensors, "optimiser."))
            _set_random_states(_under(tensors, _generators(rank)))
            return header
        if found:
            raise CheckpointError(
                f"no checkpoint in {self.folder} is whole ({len(found)} tried): start anew in another --run.out"
            )
        return None

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)


def differing(made_of: Mapping[str, str], header: Mapping[str, Any]) -> list[str]:
    """The names of what a checkpoint was made of that is another now; older checkpoints do not say all."""
    return [name for name, value in made_of.items() if header.get(name) not in (None, value)]


def random_states() -> dict[str, Tensor]:
    """The states of torch's generators in this process, by name."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda.{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set_random_states(states: Mapping[str, Tensor]) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    cuda = _under(states, "cuda.")
    if cuda and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all([cuda[str(number)] for number in range(len(cuda))])


def _generators(rank: int) -> str:
    return f"rng{rank}." if rank else "rng."


def _flatten(optimiser: Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{row}.{key}": value for row, values in state.items() for key, value in values.items()}


def _unflatten(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        row, key = name.split(".", 1)
        state.setdefault(int(row), {})[key] = value
    # Step size and the like are those of the run as it is now asked for, not those of the checkpoint.
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
