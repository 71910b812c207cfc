"""Several processes that train one model together, as ``torchrun`` starts them: what they share and how they end.

Each batch is divided among them, and what each finds in its part is added up, so that together they do the step of one
process. There is no pickle: what goes between them are numbers, text as JSON and safetensors.
"""

import json
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Int
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.distributed import Store

from stg.runtime.errors import ProcessLost, StgError

Item = TypeVar("Item")

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others within a step before it gives up."""
FAILURE = "stg/failure"
GLANCE = 0.1
"""Seconds between two readings of what the others have noted."""


class Ranks:
    """Which of the processes that train together this is, and what they do together.

    All of them call each method but `share` in the same order; it comes back when all have. One process alone
    (`SINGLE`) gets back what it gave.

    Args:
        rank: number of this process, from 0; the first writes and prints for all.
        count: how many there are.
        device: where `torch.distributed` wants tensors to be.
        store: where processes leave notes for each other.

    Raises:
        ProcessLost: in every method but `share`, where another process does not take part.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, device: torch.device | str = "cpu", store: Store | None = None
    ) -> None:
        self.rank, self.world_size, self.device = rank, count, torch.device(device)
        self._store, self._turns = store, 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    def seed_per_rank(self, seed: int, step: int) -> None:
        """Let torch's random numbers be a function of ``seed``, ``step`` and this process from here on."""
        state = np.random.SeedSequence([seed, self.rank, step]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))

    def shard(self, items: Sequence[Item]) -> Sequence[Item]:
        """What of ``items`` falls to this process; nothing, where there are fewer than processes."""
        return items[self.rank :: self.world_size]

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each."""
        if not self.is_distributed:
            return values

        # A copy: the reduction writes in place, and the caller keeps its values.
        total = values.detach().to(self.device, copy=True).contiguous()
        with self._together():
            dist.all_reduce(total)
        return total.to(values.device)

    def shares(self, counts: Int[Tensor, " K"]) -> Tensor:
        """The part of each sum over all processes that is this one's, in double precision; 0 where the sum is 0.

        A mean over what one process counts, times this, is its summand of the mean over what all of them count.
        """
        return counts.double() / self.all_reduce(counts).clamp(min=1)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in some process."""
        if not self.is_distributed:
            return flags
        return tuple((self.all_reduce(torch.tensor(flags, dtype=torch.int64, device=self.device)) > 0).tolist())

    def barrier(self) -> None:
        """Come back when all have come here."""
        self.any(False)

    def broadcast_value(self, value: float) -> float:
        """The number that the first process gave."""
        if not self.is_distributed:
            return value
        # The others add nothing, so that not a bit changes.
        return float(self.all_reduce(torch.tensor(value if self.is_main else 0.0, dtype=torch.float64)))

    def broadcast_module(self, model: nn.Module) -> None:
        """Give the model of every process the weights and statistics of the first."""
        if not self.is_distributed:
            return

        for value in model.state_dict().values():
            copied = value.detach().to(self.device, copy=True).contiguous()
            with self._together():
                dist.broadcast(copied, src=0)
            # Broadcast on the device that the processes share, which need not be the model's.
            value.copy_(copied)

    def gather(self, value: bytes) -> list[bytes]:
        """What each process gave, in the order of their numbers."""
        if not self.is_distributed:
            return [value]

        # Lengths first: all_gather takes tensors of one size, so each is padded to the longest.
        lengths = torch.zeros(self.world_size, dtype=torch.int64)
        lengths[self.rank] = len(value)
        sizes = self.all_reduce(lengths).tolist()
        mine = torch.zeros(max(sizes), dtype=torch.uint8)
        mine[: len(value)] = torch.frombuffer(bytearray(value), dtype=torch.uint8) if value else mine[:0]
        mine = mine.to(self.device)
        given = [torch.empty_like(mine) for _ in sizes]
        with self._together():
            dist.all_gather(given, mine)
        return [bytes(data[:size].cpu().numpy()) for data, size in zip(given, sizes, strict=True)]

    def gather_tensors(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The tensors of each process by name, in the order of their numbers."""
        if not self.is_distributed:
            return [dict(tensors)]
        return [load(data) for data in self.gather(save(dict(tensors)))]

    def merge(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """All processes' dicts, which JSON must be able to hold, as one."""
        if not self.is_distributed:
            return dict(found)
        parts = self.gather(json.dumps(dict(found)).encode())
        return {key: value for part in parts for key, value in json.loads(part).items()}

    def agree(self, step: int, model: nn.Module) -> bool:
        """Whether all processes are at the same step with the same bits in their models."""
        if not self.is_distributed:
            return True
        # Of the bits: a sum of the weights would hang on the machine that adds them.
        check = 0
        for value in model.state_dict().values():
            check = zlib.crc32(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy(), check)
        return len(set(self.gather(f"{step} {check}".encode()))) == 1

    def add_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Give each weight the sum of its gradients over all processes; one that has none anywhere keeps none."""
        if not self.is_distributed:
            return
        # One reduction for all weights and for who has gradients: its latency is paid once a step.
        several = list(weights)
        have = torch.tensor([weight.grad is not None for weight in several], dtype=several[0].dtype)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in several]
        flat = self.all_reduce(torch.cat([have.to(gradients[0]), *(gradient.flatten() for gradient in gradients)]))
        had, *sums = flat.split([len(several), *(weight.numel() for weight in several)])
        for weight, some, total in zip(several, had.tolist(), sums, strict=True):
            if some:
                weight.grad = total.view_as(weight)

    def add_values(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The sum of each scalar over all processes, as numbers; all name the same ones."""
        if not self.is_distributed:
            return {name: value.item() for name, value in values.items()}
        # In double precision, for all names at once.
        total = self.all_reduce(torch.stack([value.detach().double().cpu() for value in values.values()]))
        return dict(zip(values, total.tolist(), strict=True))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The first process does the block before the others, which find done what it made; it may take any time.

        Raises:
            ProcessLost: the first process did not come to its end.
        """
        if self._store is None:
            yield
            return
        self._turns += 1
        done = f"stg/turn/{self._turns}"
        # By the store and not by a barrier, which would time out while the first one works for long.
        while not self.is_main and not self._store.check([done]):
            if self._store.check([FAILURE]):
                raise self._lost()
            time.sleep(GLANCE)
        yield
        if self.is_main:
            self._store.set(done, "done")

    def note_failure(self, error: BaseException) -> tuple[bool, int]:
        """Leave the others a note that this process ends with ``error``; whether it is the first to, and the exit code
        of the first to."""
        assert self._store is not None
        # The same codes as those of a single process, so that launchers can act on them.
        code = getattr(error, "exit_code", 2 if isinstance(error, ValueError) else 1)
        words = str(error) if isinstance(error, StgError) else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            code, words = 130, "stopped by Ctrl-C"
        mine = json.dumps({"rank": self.rank, "code": code, "words": words})
        try:
            # Atomic: of several that fail at once exactly one reports.
            noted = self._store.compare_set(FAILURE, "", mine).decode()
        except RuntimeError:  # the store itself is gone
            noted = mine
        return noted == mine, json.loads(noted)["code"]

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError | None = None) -> ProcessLost:
        note = None
        with suppress(RuntimeError):
            if self._store is not None and self._store.check([FAILURE]):
                note = json.loads(self._store.get(FAILURE))
        if note is None:
            minutes = TIMEOUT.total_seconds() / 60
            # It may as well be a fault of this process, its GPU or its network.
            words = "".join(f" ({type(error).__name__}: {line})" for line in str(error or "").splitlines()[:1])
            return ProcessLost(
                f"another process of this run was ended from outside (killed, or out of memory), or did not answer for "
                f"{minutes:.0f} minutes: the same command resumes from the last checkpoint{words}"
            )
        return ProcessLost(f"process {note['rank']} of this run ended: {note['words']}", note["code"])


SINGLE = Ranks()
"""One process, which has nobody to wait for."""


@contextmanager
def init_distributed(device: Callable[[], torch.device]) -> Iterator[Ranks]:
    """The processes that ``torchrun`` started with this one, by its environment; `SINGLE` without it.

    They speak by NCCL where each has a GPU to itself, else by gloo. Where they fail, only the first to do so reports:
    the others end without a word, with its exit code.

    Args:
        device: what this process works on; asked where there are several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE
        return

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # Rendezvous by hand, as the notes on failures need the store before and after the process group.
    store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
    # A restarted job must not read the failure that ended the attempt before.
    store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    ranks = Ranks(rank, count, store=store)
    try:
        works_on = device()
        # NCCL cannot serve two processes on one GPU.
        nccl = works_on.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", count)) <= torch.cuda.device_count()
        if nccl:
            torch.cuda.set_device(works_on)
            ranks.device = works_on
        dist.init_process_group("nccl" if nccl else "gloo", store=store, rank=rank, world_size=count, timeout=TIMEOUT)
        yield ranks
    except (Exception, KeyboardInterrupt) as error:
        # The launcher asks all to end as soon as one has: that must not cut short what is still to be said.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reports, code = ranks.note_failure(error)
        if not reports:
            raise SystemExit(code) from error
        raise
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dist.destroy_process_group()
