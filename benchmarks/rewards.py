"""A step of training on rewards, part by part, with the usual Python code for CIDEr-D beside it.

The attention LSTM at the papers' sizes (see `benchmarks.training`), vocabulary of 10,000, one sample and one greedy
caption a video, CIDEr-D and BLEU-4 as reward (V7), 20 references of each of 500 videos. Fresh weights end no caption:
all have their full length, which is the slowest case. METEOR is left out: its time is Java's, beside these parts.
Single thread, CPU-seconds, parts in turn in one process; medians and quartiles.
"""

from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.scores import UsualCider, made, text
from benchmarks.timing import measure, write
from benchmarks.training import WIDTHS, made_batch
from decoders import greedy_search, sample_search
from decoders.policy import policy_log_probs
from stg.assembly import build_captioner
from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.model_config import AttentionLSTMConfig, GraphConfig, ModelConfig
from stg.reward_training import captioning_mode, reinforce_loss
from stg.training import captioning_losses

OURS = ("cross-entropy", "draw samples", "greedy captions", "CIDEr-D", "BLEU-4", "reward loss", "Adam")
"""The parts that make up a step."""


def main(quick: bool = False) -> None:
    """Measure, print, and write ``results/rewards.json``."""
    videos, captions, words, vocabulary, channels = (4, 2, 6, 500, 64) if quick else (64, 2, 12, 10_000, 512)
    batch = made_batch(videos, captions, words, vocabulary)
    references, _ = made(20 if quick else 500, vocabulary)
    texts = [[text(caption) for caption in of_video] for of_video in references]
    cider, bleu, usual = CiderD(references), SentenceBleu(references), UsualCider(texts)
    torch.manual_seed(0)
    settings = ModelConfig(
        branches="scene",
        channels=channels,
        decoder="attention_lstm",
        attention_lstm=AttentionLSTMConfig(memory="temporal"),
    )
    model = build_captioner(settings, GraphConfig(), widths=WIDTHS, vocabulary=vocabulary, max_words=30)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-6, fused=True)
    rows = torch.arange(videos)
    longest = 8 if quick else 16
    with captioning_mode(model):
        drawn = sample_search(model.decoder, model.memory(batch.graphs), max_length=longest).words[:, 0]
    # What is scored are captions as long as the references are, with words that these have.
    scored, of_video = [caption for caption, *_ in references[1 : videos + 1]], list(range(videos))
    scored_texts, their_texts = [text(caption) for caption in scored], [texts[row] for row in of_video]
    np.testing.assert_allclose(cider(scored, of_video), usual(scored_texts, their_texts), rtol=0, atol=1e-9)

    def draw(search: Callable[..., object]) -> None:
        with captioning_mode(model), torch.no_grad():
            search(model.decoder, model.memory(batch.graphs), max_length=longest)

    def learn() -> None:
        with captioning_mode(model):
            log_probs = policy_log_probs(model.decoder, drawn, model.memory(batch.graphs), rows)
        reinforce_loss(log_probs, torch.ones(videos)).backward()

    parts: dict[str, Callable[[], object]] = {
        "cross-entropy": lambda: captioning_losses(model, batch)["loss"].backward(),
        "draw samples": lambda: draw(sample_search),
        "greedy captions": lambda: draw(greedy_search),
        "CIDEr-D": lambda: (cider(scored, of_video), cider(scored, of_video)),
        "BLEU-4": lambda: (bleu(scored, of_video), bleu(scored, of_video)),
        "reward loss": learn,
        "Adam": optimiser.step,
        "usual CIDEr-D": lambda: (usual(scored_texts, their_texts), usual(scored_texts, their_texts)),
    }
    taken = measure(parts, repetitions=7, warm_up=1)
    whole = sum(taken[name]["median"] for name in OURS)
    shown = Table("part", "ms a step", "share", title=f"One reward step, {videos} videos")
    for name, times in taken.items():
        shown.add_row(name, f"{times['median']:.2f}", f"{100 * times['median'] / whole:.1f} %" if name in OURS else "-")
    Console().print(shown)
    ratio = taken["usual CIDEr-D"]["median"] / taken["CIDEr-D"]["median"]
    share = taken["usual CIDEr-D"]["median"] / whole
    Console().print(f"the usual CIDEr-D takes {ratio:.0f} times ours, {100 * share:.0f} % of a whole step with ours")
    size = {"videos": videos, "captions": captions, "vocabulary": vocabulary, "channels": channels, "quick": quick}
    write("rewards", {"size": size, "parts": taken, "usual_times_ours": round(ratio, 1), "step_ms": round(whole, 1)})
