"""Convolution, decoding and a training step on a CUDA device; without one, a line that says so.

Times are by the clock, the device waited for before and after each run; medians and quartiles, rivals in turn. Results
are first compared with those of the CPU: float32 (no TF32) to a relative 1e-3, bfloat16 autocast to 3e-2 of the loss,
captions of fresh weights to nine in ten (a tie may fall otherwise on the other device).

- convolution: ``ours`` (one sparse operator a batch), ``gather-scatter``, and as ``floor`` three matrix products;
- greedy and beam search of 64 videos for 30 words;
- a training step of the Transformer: float32, bfloat16 autocast, and float32 with the batch copied from pinned memory
  at each step where the others have it on the device.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import machine, measure, write
from benchmarks.training import WIDTHS, made_batch
from decoders import Rules, TransformerDecoder, VideoMemory, beam_search, greedy_search
from graphs import STGConv, sparse_operator, spatial_edges, temporal_edges
from stg.config.model import GraphConfig, ModelConfig
from stg.models.build import build_captioner
from stg.training.losses import captioning_losses

Runs = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Size:
    """How much work; by default that of the papers."""

    videos: int = 64
    frames: int = 10
    boxes: int = 5
    captions: int = 4
    words: int = 12
    steps: int = 30
    vocabulary: int = 10_000
    channels: int = 512


SMALL = Size(videos=4, frames=3, boxes=2, captions=2, words=5, steps=6, vocabulary=200, channels=64)


class Convolution:
    """One graph convolution, forward and backward, of videos that all have the same size."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(0)
        slot = torch.arange(size.videos * size.frames).repeat_interleave(size.boxes)
        video, frame = slot // size.frames, slot % size.frames
        corner = 200 * torch.rand(len(slot), 2)
        spatial = spatial_edges(torch.cat([corner, corner + 80], dim=1), frame, video)
        temporal = temporal_edges(torch.randn(len(slot), 16), frame, video)
        edges = (torch.cat(parts, dim=-1).to(device) for parts in zip(spatial, temporal, strict=True))
        self.index, self.weight = edges
        self.x = torch.randn(len(slot), size.channels).to(device).requires_grad_()
        self.grad = torch.randn(len(slot), size.channels).to(device)
        self.layer = STGConv(size.channels).to(device)
        self.operator = sparse_operator(self.index, self.weight, len(slot))

    def ours(self) -> tuple[Tensor, ...]:
        """Output and gradients by the operator."""
        return self._gradients(self.layer(self.x, self.operator))

    def gather_scatter(self) -> tuple[Tensor, ...]:
        """The same in PyG's default way."""
        return self._gradients(self.layer(self.x, self.index, self.weight))

    def floor(self) -> tuple[Tensor, ...]:
        """The matrix products alone."""
        with torch.no_grad():
            weight = self.layer.linear.weight
            return self.x @ weight.T, self.grad @ weight, self.grad.T @ self.x

    def _gradients(self, out: Tensor) -> tuple[Tensor, ...]:
        return (out, *torch.autograd.grad(out, (self.x, self.layer.linear.weight), self.grad))


class Decoding:
    """Greedy and beam search of fresh weights."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(0)
        self.decoder = TransformerDecoder(size.vocabulary, channels=size.channels).eval().to(device)
        frames, mask = torch.randn(size.videos, size.frames, size.channels), torch.rand(size.videos, size.frames) < 0.9
        mask[:, 0] = True
        self.memory = VideoMemory(frames.to(device), mask.to(device))
        self.steps = size.steps
        self.words = torch.randint(4, size.vocabulary, (size.videos, size.steps)).to(device)

    def logits(self) -> Tensor:
        """Of given words: what both searches choose by."""
        with torch.inference_mode():
            return self.decoder(self.words, self.memory)

    def greedy(self) -> Tensor:
        """Likeliest word after word."""
        with torch.inference_mode():
            return greedy_search(
                self.decoder, self.memory, max_length=self.steps, rules=Rules(min_length=self.steps)
            ).words[:, 0]

    def beam(self) -> Tensor:
        """The best of five beams."""
        with torch.inference_mode():
            return beam_search(
                self.decoder, self.memory, 5, max_length=self.steps, rules=Rules(min_length=self.steps)
            ).words[:, 0]


class Training:
    """A step of the Transformer of the scene branch, without dropout so that devices can be compared."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        made = made_batch(size.videos // 4, size.captions, size.words, size.vocabulary)
        self.host = made.pin_memory() if device.type == "cuda" else made
        self.resident = made.to(device)
        settings = ModelConfig(branches="scene", channels=size.channels)
        model = build_captioner(settings, GraphConfig(), widths=WIDTHS, vocabulary=size.vocabulary, max_words=30)
        self.model = model.to(device).eval()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-6, fused=True)

    def loss(self, *, bf16: bool = False, copied: bool = False) -> Tensor:
        """Of one batch."""
        batch = self.host.to(self.device, non_blocking=True) if copied else self.resident
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return captioning_losses(self.model, batch)["loss"]

    def step(self, *, bf16: bool = False, copied: bool = False) -> None:
        """Forward, backward, Adam."""
        self.optimiser.zero_grad()
        self.loss(bf16=bf16, copied=copied).backward()
        self.optimiser.step()


def check(size: Size, device: torch.device) -> None:
    """The device must compute what the CPU computes.

    Raises:
        AssertionError: it does not.
    """
    host = torch.device("cpu")
    there, here = Convolution(size, device), Convolution(size, host)
    for name in ("ours", "gather_scatter"):
        for found, wanted in zip(getattr(there, name)(), here.ours(), strict=True):
            near(f"convolution, {name}", found, wanted, 1e-3)
    decoding, reference = Decoding(size, device), Decoding(size, host)
    near("logits", decoding.logits(), reference.logits(), 1e-3)
    for name in ("greedy", "beam"):
        same = (getattr(decoding, name)().cpu() == getattr(reference, name)()).all(1).double().mean()
        if same < 0.9:
            raise AssertionError(f"{name} search: only {float(same):.0%} of the captions are those of the CPU")
    with torch.no_grad():
        training, wanted = Training(size, device), Training(size, host).loss()
        near("loss", training.loss(), wanted, 1e-3)
        near("loss of a copied batch", training.loss(copied=True), wanted, 1e-3)
        near("loss in bfloat16", training.loss(bf16=True), wanted, 3e-2)


def near(what: str, found: Tensor, wanted: Tensor, share: float) -> None:
    """Compare with the CPU's, relative to its largest number.

    Raises:
        AssertionError: they differ by more.
    """
    error = float((found.detach().cpu().float() - wanted.detach()).abs().max() / wanted.detach().abs().max())
    if not error <= share:
        raise AssertionError(f"{what} differs from the CPU's: relative error {error:.1e}, {share:.0e} allowed")


def workloads(size: Size, device: torch.device) -> dict[str, Runs]:
    """What is timed."""
    convolution, decoding, training = Convolution(size, device), Decoding(size, device), Training(size, device)
    return {
        "convolution": {
            "ours": convolution.ours,
            "gather-scatter": convolution.gather_scatter,
            "floor": convolution.floor,
        },
        "decoding": {"greedy": decoding.greedy, "beam 5": decoding.beam},
        "training step": {
            "ours": training.step,
            "bfloat16 autocast": lambda: training.step(bf16=True),
            "batch copied": lambda: training.step(copied=True),
        },
    }


def synchronised() -> float:
    """The time when the device has done all it was asked for."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main(quick: bool = False) -> None:
    """Check against the CPU; unless ``quick``, measure and write ``results/gpu.json``. Nothing without a GPU."""
    if not torch.cuda.is_available():
        print("gpu: there is no CUDA device here; nothing is measured")
        return
    device, size = torch.device("cuda"), SMALL if quick else Size()
    check(size, device)
    print("gpu: results agree with the CPU's")
    if quick:
        return
    results: Mapping[str, Any] = {
        name: measure(runs, repetitions=15, warm_up=5, clock=synchronised)
        for name, runs in workloads(size, device).items()
    }
    for name, group in results.items():
        for rival, times in group.items():
            print(f"{name:14} {rival:18} {times['median']:9.3f} ms")
    facts = {**machine(), "gpu": torch.cuda.get_device_name()}
    write("gpu", {"machine": facts, "size": asdict(size), **results})


if __name__ == "__main__":
    main()
