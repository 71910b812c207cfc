"""What two processes do in tests: ``torchrun make_processes.py JOB FOLDER``; the tests do the same with one."""

import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_file

from decoders import beam_search
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig, STConfig
from stg.config.training import FitConfig, LossConfig, OptimConfig, RewardConfig, RunConfig
from stg.data.batches import CaptionBatch, Item, TrainingSet, load_share, pad_words
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runtime.distributed import SINGLE, Ranks, init_distributed
from stg.runtime.errors import Preempted, UserError
from stg.runtime.progress import ConsoleReporter
from stg.runtime.signals import REPEATED, stop_on_signal
from stg.training.loop import fit
from stg.training.losses import captioning_losses, local_share
from stg.training.rewards import Pending, Rewards, ready
from stg.training.word_loss import predict_words
from tests.stg.changed import with_changes
from tests.stg.conftest import made_batch, made_video

# Losses and gradients: videos with objects and without, of unlike lengths, one of them twice in the batch.
OBJECTS = {"v1": [2, 0, 3, 1], "v2": [0, 0], "v3": [1, 4, 2], "v4": [3, 1], "v5": [0, 2, 2]}
CLASSES = {"v1": 2, "v2": -1, "v3": 0, "v4": 1, "v5": -1}
CAPTIONS = {
    "v1": [[1, 4, 5, 2], [1, 6, 2], [1, 7, 8, 9, 2]],
    "v2": [[1, 4, 2], [1, 9, 9, 2]],
    "v3": [[1, 5, 5, 5, 5, 2]],
    "v4": [[1, 8, 2], [1, 8, 7, 2]],
    "v5": [[1, 6, 7, 8, 9, 4, 2]],
}
ITEMS = [
    Item(video, captions)
    for video, captions in (("v1", (0, 1)), ("v2", (0, 1)), ("v3", (0,)), ("v1", (2,)), ("v4", (0, 1)), ("v5", (0,)))
]
STATS = STaTSConfig(st=STConfig(rank_l2=True), categories=3, category_use="both", category_dropout=0.0)
MODELS: dict[str, tuple[ModelConfig, LossConfig]] = {
    "transformer": (ModelConfig(), LossConfig()),
    "transformer, per caption": (ModelConfig(), LossConfig(reduction="batchmean", kl="js")),
    "transformer, empty videos count": (ModelConfig(), LossConfig(keep_empty=True)),
    "transformer, l2": (ModelConfig(branches="l2"), LossConfig()),
    "transformer, concat": (ModelConfig(branches="concat"), LossConfig()),
    "transformer, words": (ModelConfig(), LossConfig(word_weight=0.8)),
    "transformer, objects": (ModelConfig(branches="object"), LossConfig()),
    "stats": (ModelConfig(decoder="stats", stats=STATS), LossConfig(rank_weight=0.7, category_weight=0.6)),
    "attention_lstm": (
        ModelConfig(decoder="attention_lstm", attention_lstm=AttentionLSTMConfig(memory="spatial")),
        LossConfig(distill_weight=2.0),
    ),
    "greedy rewards": (ModelConfig(branches="scene"), LossConfig()),
    "leave-one-out rewards": (ModelConfig(branches="scene", decoder="attention_lstm"), LossConfig()),
}
BATCHES = {"five videos": ITEMS, "one video": [ITEMS[0], ITEMS[3]], "a video without objects": ITEMS[1:2]}
CASES = [(model, batch) for model in MODELS for batch in BATCHES]


class Made:
    """Batches of made videos in double precision, as a training set hands them out."""

    def load(self, items: Sequence[Item]) -> CaptionBatch:
        videos = list(dict.fromkeys(item.video for item in items))
        graphs = made_batch(
            [made_video(int(video[1]), OBJECTS[video]) for video in videos], [CLASSES[video] for video in videos]
        )
        for name, value in graphs.to_dict().items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                graphs[name] = value.double()
        words, targets, real = pad_words([CAPTIONS[item.video][number] for item in items for number in item.captions])
        row = torch.tensor([videos.index(item.video) for item in items for _ in item.captions])
        return CaptionBatch(graphs, words, targets, real, row, tuple(items))


class MadeRewards(Rewards):
    """A reward that is a function of the words."""

    def __init__(self) -> None:
        pass

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> Pending:
        values = [np.sin(sum((place + 1.3) * word for place, word in enumerate(caption))) for caption in captions]
        return ready(np.array(values) + np.array([int(video[1]) for video in videos]))


def solve(case: tuple[str, str], ranks: Ranks) -> dict[str, torch.Tensor]:
    """Losses and gradients of a step, by name."""
    import stg.training.reinforce

    name, batch_name = case
    model_config, loss = MODELS[name]
    model_config = dataclasses.replace(model_config, channels=8, heads=2, hidden=8, layers=1, dropout=0.0)
    data = Made()
    torch.manual_seed(0)
    widths = FeatureWidths.of(data.load(ITEMS).graphs)
    model = build_captioner(model_config, GraphConfig(layers=1), widths=widths, vocabulary=12, max_words=8).double()
    if loss.word_weight:
        predict_words(model, CAPTIONS, 12)
    batch = load_share(data.load, BATCHES[batch_name], ranks)
    losses = captioning_losses(model, batch, loss, ranks=ranks)
    if "rewards" in name:
        # The best captions in place of drawn ones: the same ones, however the batch is divided.
        def best(decoder: Any, memory: Any, samples: int, max_length: int) -> Any:
            return beam_search(decoder, memory, beam=samples, max_length=max_length, n_best=samples)

        baseline: Any = "greedy" if name.startswith("greedy") else "leave_one_out"
        with mock.patch.object(stg.training.reinforce, "sample_search", best):
            told = stg.training.reinforce.reward_losses(
                model, batch, MadeRewards(), baseline=baseline, samples=3, max_length=6, ranks=ranks
            )
        losses = stg.training.reinforce.mix_losses(losses, told, 0.3)
    losses["loss"].backward()
    ranks.add_gradients(model.parameters())
    found = ranks.add_values(losses)
    values = {f"loss {name}": torch.tensor(value, dtype=torch.float64) for name, value in found.items()}
    gradients = {f"of {name}": weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return values | gradients


def look_around(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """What each collective gives this process."""
    rank = ranks.rank
    with ranks.main_first():
        found = sorted(path.name for path in folder.glob("made-by-*"))
        if not rank:
            time.sleep(0.5)
        (folder / f"made-by-{rank}").touch()
    none, some, all_ = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    all_.grad = torch.tensor([1.0 + rank, 2.0])
    if rank == 1:
        some.grad = torch.tensor([5.0, 6.0])
    ranks.add_gradients([none, some, all_])
    layer = torch.nn.BatchNorm1d(2)
    layer.running_mean.fill_(rank + 3)
    ranks.broadcast_module(layer)
    ranks.seed_per_rank(7, 0)
    return {
        "in_turn": found,
        "share": list(ranks.shard(list(range(5)))),
        "sum": ranks.all_reduce(torch.tensor([rank + 1, 10])).tolist(),
        "shares": ranks.shares(torch.tensor([rank + 1, 0, 2 * rank])).tolist(),
        "any": ranks.any(rank == 1, False),
        "from_first": ranks.broadcast_value(0.1 + rank),
        "gather": [value.decode() for value in ranks.gather(b"" if rank else "größer".encode())],
        "gather_tensors": [list(found) for found in ranks.gather_tensors({f"of {rank}": torch.ones(rank + 1)})],
        "merge": ranks.merge({f"video{rank}": "a cat"}),
        "gradients": [None if weight.grad is None else weight.grad.tolist() for weight in (none, some, all_)],
        "copied": layer.running_mean.tolist(),
        "drawn": torch.rand(1).item(),
        "summands": local_share({"a": torch.tensor(2.0)}, {"a": rank}, ranks)["a"].item(),
        "stand_in": local_share({"a": torch.tensor(2.0)}, {"a": 4}, ranks, stand_in=rank == 1)["a"].item(),
    }


# Whole runs on a world of seven training videos in batches of three: the last batch has one.
WORLD = WorldConfig(train=7, val=3, test=1)


def settings(store: Path, out: Path, **changes: Any) -> FitConfig:
    """A small run without dropout."""
    config = FitConfig(
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1, dropout=0.0),
        optim=OptimConfig(lr=3e-3, batch_videos=3, epochs=2, captions_per_video=2, epoch_captions=2),
        run=RunConfig(out=str(out), samples=1, save_minutes=1000.0),
    )
    return with_changes(config, changes)


RANDOM: dict[str, Any] = {
    "model": {"decoder": "attention_lstm", "dropout": 0.3},
    "optim": {"scheduled_sampling": 1.5, "epochs": 3},
    "reward": RewardConfig(weight=0.5, from_epoch=1, cider=0.1, samples=2, baseline="leave_one_out").__dict__,
}
"""Whatever draws random numbers."""


def run(config: FitConfig, *, after: int | None = None, ranks: Ranks = SINGLE) -> str:
    """Train, or until ``after`` steps are done, and return what was printed."""
    text = io.StringIO()
    metrics = Path(str(config.run.out)) / "metrics.jsonl"

    def stop() -> bool:
        # Asked of one process alone, the one that writes: all must follow.
        if after is None or not ranks.is_main or not metrics.exists():
            return False
        return sum('"kind": "step"' in line for line in metrics.read_text().splitlines()) >= after

    torch.manual_seed(999)  # nothing hangs on what was drawn before
    try:
        fit(config, reporter=ConsoleReporter(Console(file=text, width=200), stop), ranks=ranks)
    except Preempted as error:
        text.write(f"{error}\n")
    return text.getvalue()


def equal(folder: Path, ranks: Ranks) -> None:
    """All that two processes do without a fault."""
    (folder / f"around-{ranks.rank}.json").write_text(json.dumps(look_around(ranks, folder)))
    for number, case in enumerate(CASES):
        found = solve(case, ranks)
        if ranks.is_main:
            whole = {name: value.contiguous() for name, value in found.items()}
            save_file(whole, folder / f"case-{number}.safetensors")
    store = folder / "store"
    runs: dict[str, Callable[[], str]] = {
        "two": lambda: run(settings(store, folder / "two"), ranks=ranks),
        "whole": lambda: run(settings(store, folder / "whole", **RANDOM), ranks=ranks),
        "parts": lambda: run(settings(store, folder / "parts", **RANDOM), after=5, ranks=ranks),
        "parts again": lambda: run(settings(store, folder / "parts", **RANDOM), ranks=ranks),
        "mixed": lambda: run(settings(store, folder / "mixed"), after=4, ranks=ranks),
        "broken": lambda: broken(settings(store, folder / "broken"), ranks),
    }
    printed = {name: train() for name, train in runs.items()}
    (folder / f"printed-{ranks.rank}.json").write_text(json.dumps(printed))


def broken(config: FitConfig, ranks: Ranks) -> str:
    """A run in whose third step the second process finds no number."""
    losses, steps = captioning_losses, iter(range(100))

    def spoiled(*args: Any, **given: Any) -> Any:
        found = losses(*args, **given)
        bad = next(steps) == 2 and ranks.rank == 1
        return {name: value * float("nan") for name, value in found.items()} if bad else found

    with mock.patch("stg.training.objective.captioning_losses", spoiled):
        return run(config, ranks=ranks)


def trouble(kind: str, folder: Path) -> int:
    """Training in which the second process fails or is killed in its fourth step, or a wrong setting."""
    load, steps = TrainingSet.load, iter(range(100))

    def fail(self: TrainingSet, items: Any) -> Any:
        if os.environ["RANK"] == "1" and next(steps) == 3:
            if kind == "killed":
                os.kill(os.getpid(), 9)
            raise RuntimeError("the disk caught fire")
        return load(self, items)

    def main(config: FitConfig) -> int:
        # As stg.fit does: the launcher may ask the other to end before that one has noticed anything.
        with init_distributed(lambda: torch.device("cpu")) as ranks, stop_on_signal(repeated=REPEATED) as stop:
            if kind == "refused":
                raise UserError("this cannot be: choose another")
            fit(settings(folder / "store", folder / kind), reporter=ConsoleReporter(Console(), stop), ranks=ranks)
            return 0

    TrainingSet.load = fail  # type: ignore[method-assign]
    return run_command(FitConfig, main, "", [])


if __name__ == "__main__":
    job, where = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    if job != "equal":
        sys.exit(trouble(job, where))
    with init_distributed(lambda: torch.device("cpu")) as started:
        equal(where, started)
