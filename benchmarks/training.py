"""A training step (forward, backward, Adam): the ladder from the usual way to ours, and every decoder.

The ladder (`benchmarks.training_ladder`): two branches with Transformers, 45.5 million weights, 64 captions of 3 to 20
words, a vocabulary of 10,000; ten frames, five boxes. Every rung has the same loss and the same gradients.

The decoders: a scene model of each kind at the papers' sizes (512 channels, ten frames, five boxes, one attention of 49
grid places), 16 videos with 4 captions of 12 words each. The grid rows read 49 places, as I3D features have them, in
place of the boxes. Single thread, CPU-seconds, rivals in turn in one process; medians and quartiles.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Batch, Data

from benchmarks.timing import bar, measure, quartiles, write
from benchmarks.training_ladder import (
    BUCKETS,
    Size,
    batch_of,
    bucketed,
    captions_of,
    check,
    floor_of,
    lengths,
    model_of,
    our_loss,
    rungs,
    videos_of,
)
from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig, STConfig
from stg.data.batches import CaptionBatch
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.training.losses import captioning_losses

FRAMES, BOXES, PLACES = 10, 5, 49
WIDTHS = FeatureWidths(scene=1280, motion=1024, objects=1280, grid=2048)

REGIONS: dict[str, Any] = {"scene_streams": ("regions",)}
GRID: dict[str, Any] = {"scene_streams": ("grid",)}
RIVALS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "attention LSTM, vanilla": {"decoder": "attention_lstm", "attention_lstm": AttentionLSTMConfig(memory="none")},
    "attention LSTM, temporal": {"decoder": "attention_lstm", "attention_lstm": AttentionLSTMConfig(memory="temporal")},
    "attention LSTM, spatial": {"decoder": "attention_lstm", "attention_lstm": AttentionLSTMConfig(memory="spatial")},
    "STaTS, ST mean": {"decoder": "stats", "stats": STaTSConfig(order="st", st=STConfig(temporal="mean"), **REGIONS)},
    "STaTS, ST mean+ranked": {"decoder": "stats", "stats": STaTSConfig(order="st", **REGIONS)},
    "STaTS, TS": {"decoder": "stats", "stats": STaTSConfig(order="ts", **REGIONS)},
    "STaTS": {"decoder": "stats", "stats": STaTSConfig(**REGIONS)},
    "STaTS, grid": {"decoder": "stats", "stats": STaTSConfig(**GRID)},
    "STaTS, visual behind": {"decoder": "stats", "stats": STaTSConfig(visual="output", **REGIONS)},
}


def made_batch(videos: int, captions: int, words: int, vocabulary: int) -> CaptionBatch:
    """Videos of the same size each, all features random."""
    frame = torch.arange(FRAMES).repeat_interleave(BOXES)
    same = (frame[:, None] == frame).nonzero().T

    def graph() -> Data:
        return Data(
            x=torch.randn(len(frame), WIDTHS.objects),
            frame=frame,
            edge_index=same,
            edge_weight=torch.full((same.shape[1],), 1 / BOXES),
            num_frames=FRAMES,
            scene=torch.randn(FRAMES, WIDTHS.scene),
            motion=torch.randn(FRAMES, WIDTHS.motion),
            motion_row=torch.arange(FRAMES),
            grid=torch.randn(FRAMES, PLACES, WIDTHS.grid),
        )

    graphs = Batch.from_data_list([graph() for _ in range(videos)])
    graphs.motion_ptr = FRAMES * torch.arange(videos + 1)
    written = torch.randint(4, vocabulary, (videos * captions, words + 1))
    real = torch.ones(len(written), words, dtype=torch.bool)
    video = torch.arange(videos).repeat_interleave(captions)
    return CaptionBatch(graphs, written[:, :-1], written[:, 1:], real, video)


def step(name: str, batch: CaptionBatch, channels: int, vocabulary: int) -> Callable[[], object]:
    """One training step of a model with weights of its own."""
    torch.manual_seed(0)
    settings = ModelConfig(branches="scene", channels=channels, hidden=2 * channels, **RIVALS[name])
    model = build_captioner(settings, GraphConfig(), widths=WIDTHS, vocabulary=vocabulary, max_words=30)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimiser.zero_grad()
        captioning_losses(model, batch)["loss"].backward()
        optimiser.step()

    return run


def ladder(size: Size) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Milliseconds a step on every rung, and what was measured."""
    model = model_of(size)
    captions, graphs = captions_of(size), videos_of(size.captions, torch.float32)
    usual = torch.optim.Adam(model.parameters(), lr=1e-6)
    fused = torch.optim.Adam(model.parameters(), lr=1e-6, fused=True)
    losses = rungs(model, captions, graphs)
    runs: dict[str, Callable[[], object]] = {
        name: stepping(loss, usual if name in ("baseline", "batch maximum") else fused) for name, loss in losses.items()
    }
    rotating = Rotating([stepping(partial(our_loss, model, batch), fused) for batch, _ in bucketed(captions, graphs)])
    runs["length buckets"] = rotating
    grouped = batch_of(captions, videos_of(size.captions // size.group, torch.float32), size.group)
    runs["grouped"] = stepping(partial(our_loss, model, grouped), fused)
    runs["floor"] = floor_of(model, losses["ours"])
    # As many of each however long they take: buckets are counted in whole windows.
    taken = measure(runs, repetitions=2 * BUCKETS, warm_up=1, few=2 * BUCKETS)
    taken["length buckets"] = rotating.windows()
    words = [length + 1 for length in lengths(size.captions)]
    return taken, {
        "weights": sum(weight.numel() for weight in model.parameters()),
        "captions": size.captions,
        "positions": {"mean": round(sum(words) / len(words), 2), "most": max(words)},
        "vocabulary": size.vocabulary,
        "channels": size.channels,
        "captions_of_a_video_when_grouped": size.group,
        "batches_in_a_window_of_buckets": BUCKETS,
    }


class Rotating:
    """Steps on one bucket after another; a window of them is what compares with a step on mixed lengths."""

    def __init__(self, steps: list[Callable[[], None]]) -> None:
        self.steps, self.taken = steps, list[float]()

    def __call__(self) -> None:
        step = self.steps[len(self.taken) % len(self.steps)]
        start = time.process_time()
        step()
        self.taken.append(1e3 * (time.process_time() - start))

    def windows(self) -> dict[str, float]:
        """Quartiles of the mean over each run of steps that holds every bucket once; the first step warmed up."""
        width, taken = len(self.steps), self.taken[1:]
        return quartiles([sum(taken[at : at + width]) / width for at in range(len(taken) - width + 1)])


def stepping(loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer) -> Callable[[], None]:
    """One step of training."""

    def run() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return run


def decoders() -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Every decoder, with its time over the Transformer's."""
    size = {"videos": 16, "captions": 4, "words": 12, "vocabulary": 10_000, "channels": 512}
    batch = made_batch(size["videos"], size["captions"], size["words"], size["vocabulary"])
    taken = measure(
        {name: step(name, batch, size["channels"], size["vocabulary"]) for name in RIVALS}, repetitions=7, warm_up=1
    )
    usual = taken["transformer"]["median"]
    return {name: {**times, "times_transformer": round(times["median"] / usual, 2)} for name, times in taken.items()}, (
        size
    )


def main(quick: bool = False) -> None:
    """Check that the rungs agree; unless ``quick``, time them and write ``results/training.json``."""
    console = Console()
    torch.manual_seed(0)
    check()
    console.print("training: all rungs have one loss and the same gradients")
    if quick:
        tiny = made_batch(2, 2, 4, 50)
        for name in RIVALS:
            step(name, tiny, 16, 50)()
        return
    climbed, ladder_size = ladder(Size())
    console.print(ladder_table(climbed))
    rows, decoders_size = decoders()
    console.print(table(rows))
    medians = {name: times["median"] for name, times in climbed.items()}
    bars = [
        bar("step, speed over the baseline", medians["baseline"] / medians["length buckets"], 2.3),
        bar("step, time over its matrix products", medians["length buckets"] / medians["floor"], 1.5, "lower"),
        bar("16 videos x 4 captions, speed over 64 x 1", medians["ours"] / medians["grouped"], 1.3),
    ]
    for each in bars:
        console.print(f"{each['what']}: {each['reached']} (bar {each['bar']}, {each['better']} is better)")
    results = {"ladder": {"size": ladder_size, "steps": climbed}, "decoders": {"size": decoders_size, "steps": rows}}
    console.print(f"written: {write('training', {'bars': bars, **results}).name}")


def ladder_table(climbed: dict[str, dict[str, float]]) -> Table:
    """Milliseconds a step; speed over the baseline, time over the floor."""
    shown = Table("rung", "ms a step", "quartiles", "x baseline", "x floor", title="One training step of 64 captions")
    first, floor = climbed["baseline"]["median"], climbed["floor"]["median"]
    for name, row in climbed.items():
        over = (f"{first / row['median']:.2f}", f"{row['median'] / floor:.2f}")
        shown.add_row(name, f"{row['median']:.0f}", f"{row['low']:.0f}-{row['high']:.0f}", *over)
    return shown


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """Milliseconds a step, and the ratio to the Transformer."""
    shown = Table("model", "ms a step", "quartiles", "x Transformer", title="One training step")
    for name, row in rows.items():
        quartiles = f"{row['low']:.0f}-{row['high']:.0f}"
        shown.add_row(name, f"{row['median']:.0f}", quartiles, f"{row['times_transformer']:.2f}")
    return shown
