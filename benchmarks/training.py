"""One training step (forward, backward, Adam) of every decoder against the Transformer, which captions the same batch.

A scene model of each kind at the papers' sizes (512 channels, ten frames, five boxes, one attention of 49 grid places),
16 videos with 4 captions of 12 words each, a vocabulary of 10,000. The grid rows read 49 places, as I3D features have
them, in place of the boxes. Single thread, CPU-seconds, rivals in turn in one process; medians and quartiles.
"""

from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch_geometric.data import Batch, Data

from benchmarks.timing import measure, write
from stg.assembly import Widths, build_captioner
from stg.data import CaptionBatch
from stg.model_config import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig, STConfig
from stg.training import captioning_losses

FRAMES, BOXES, PLACES = 10, 5, 49
WIDTHS = Widths(scene=1280, motion=1024, objects=1280, grid=2048)

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


def main(quick: bool = False) -> None:
    """Measure, print, and write ``results/training.json``."""
    videos, captions, words, vocabulary, channels = (4, 2, 6, 500, 64) if quick else (16, 4, 12, 10_000, 512)
    batch = made_batch(videos, captions, words, vocabulary)
    rivals = {name: step(name, batch, channels, vocabulary) for name in RIVALS}
    taken = measure(rivals, repetitions=7, warm_up=1)
    rows = {
        name: {**times, "times_transformer": round(times["median"] / taken["transformer"]["median"], 2)}
        for name, times in taken.items()
    }
    Console().print(table(rows))
    size = {"videos": videos, "captions": captions, "words": words, "vocabulary": vocabulary, "channels": channels}
    write("training", {"size": {**size, "quick": quick}, "steps": rows})


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """Milliseconds a step, and the ratio to the Transformer."""
    shown = Table("model", "ms a step", "quartiles", "x Transformer", title="One training step")
    for name, row in rows.items():
        quartiles = f"{row['low']:.0f}-{row['high']:.0f}"
        shown.add_row(name, f"{row['median']:.0f}", quartiles, f"{row['times_transformer']:.2f}")
    return shown
