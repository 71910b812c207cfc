"""A step of training on rewards, part by part, with the usual Python code for CIDEr-D beside it, and METEOR.

The attention LSTM at the papers' sizes (see `benchmarks.training`), vocabulary of 10,000, one sample and one greedy
caption a video, CIDEr-D and BLEU-4 as reward (V7), 20 references of each of 500 videos. Fresh weights end no caption:
all have their full length, which is the slowest case. Single thread, CPU-seconds, parts in turn in one process; medians
and quartiles.

METEOR lives in one Java process, whose CPU time this process does not see: its share is taken by the clock, alone and
beside the rest of a step, on captions of English words. Without ``java`` it is left out, and the output says so.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from shutil import which
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.scores import made, text
from benchmarks.timing import measure, write
from benchmarks.training import WIDTHS, made_batch
from benchmarks.usual_cider import UsualCiderD
from decoders import greedy_search, policy_log_probs, sample_search
from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig
from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.meteor import Meteor
from stg.models.build import build_captioner
from stg.text.tagging import ADJECTIVES, FUNCTION, NOUNS
from stg.training.losses import captioning_losses
from stg.training.reinforce import captioning_mode, reinforce_loss

SCORING = ("CIDEr-D", "BLEU-4")
OURS = ("cross-entropy", "draw samples", "greedy captions", *SCORING, "reward loss", "Adam")
"""The parts that make up a step."""
ENGLISH = sorted(FUNCTION | NOUNS | ADJECTIVES)
Parts = dict[str, Callable[[], object]]


class Step:
    """Everything that one step works on."""

    def __init__(
        self, videos: int, captions: int, words: int, vocabulary: int, channels: int, longest: int, known: int
    ) -> None:
        self.batch = made_batch(videos, captions, words, vocabulary)
        self.videos, self.longest = videos, longest
        references, _ = made(known, vocabulary)
        texts = [[text(caption) for caption in of_video] for of_video in references]
        self.cider, self.bleu, self.usual = CiderD(references), SentenceBleu(references), UsualCiderD(texts)
        torch.manual_seed(0)
        settings = ModelConfig(
            branches="scene",
            channels=channels,
            decoder="attention_lstm",
            attention_lstm=AttentionLSTMConfig(memory="temporal"),
        )
        self.model = build_captioner(settings, GraphConfig(), widths=WIDTHS, vocabulary=vocabulary, max_words=30)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-6, fused=True)
        with captioning_mode(self.model):
            memory = self.model.memory(self.batch.graphs)
            self.drawn = sample_search(self.model.decoder, memory, max_length=longest).words[:, 0]
        # What is scored are captions as long as the references are, with words that these have.
        self.rows = list(range(videos))
        self.scored = [caption for caption, *_ in references[1 : videos + 1]]
        self.scored_texts, self.their_texts = [text(caption) for caption in self.scored], texts[:videos]
        self.english = [english(caption) for caption in self.scored]
        self.english_references = [[english(caption) for caption in of_video] for of_video in references[:videos]]

    def parts(self) -> Parts:
        """What a step does, in its order; samples and greedy captions are both scored."""
        return {
            "cross-entropy": lambda: captioning_losses(self.model, self.batch)["loss"].backward(),
            "draw samples": lambda: self._draw(sample_search),
            "greedy captions": lambda: self._draw(greedy_search),
            "CIDEr-D": lambda: (self.cider(self.scored, self.rows), self.cider(self.scored, self.rows)),
            "BLEU-4": lambda: (self.bleu(self.scored, self.rows), self.bleu(self.scored, self.rows)),
            "reward loss": self._learn,
            "Adam": self.optimiser.step,
        }

    def usual_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """CIDEr-D of samples and greedy captions by the usual code."""
        return self.usual(self.scored_texts, self.their_texts), self.usual(self.scored_texts, self.their_texts)

    def check(self) -> None:
        """The usual code and ours must give the same rewards."""
        for found in self.usual_scores():
            np.testing.assert_allclose(self.cider(self.scored, self.rows), found, rtol=0, atol=1e-9)

    def _draw(self, search: Callable[..., object]) -> None:
        with captioning_mode(self.model), torch.no_grad():
            search(self.model.decoder, self.model.memory(self.batch.graphs), max_length=self.longest)

    def _learn(self) -> None:
        with captioning_mode(self.model):
            memory = self.model.memory(self.batch.graphs)
            log_probs = policy_log_probs(self.model.decoder, self.drawn, memory, torch.tensor(self.rows))
        reinforce_loss(log_probs, torch.ones(self.videos)).backward()


def english(caption: list[int]) -> str:
    """A made caption in words that METEOR's tables know."""
    return " ".join(ENGLISH[word % len(ENGLISH)] for word in caption)


def main(quick: bool = False) -> None:
    """Check that the rewards agree; unless ``quick``, measure and write ``results/rewards.json``."""
    if quick:
        step = Step(videos=4, captions=2, words=6, vocabulary=500, channels=64, longest=8, known=20)
        step.check()
        for part in step.parts().values():
            part()
        print("rewards: all rivals agree")
        return
    sizes = {"videos": 64, "captions": 2, "vocabulary": 10_000, "channels": 512}
    step = Step(**sizes, words=12, longest=16, known=500)
    step.check()
    taken = measure({**step.parts(), "usual CIDEr-D": step.usual_scores}, repetitions=7, warm_up=1)
    whole = sum(taken[name]["median"] for name in OURS)
    show(taken, whole, step.videos)
    ratio = taken["usual CIDEr-D"]["median"] / taken["CIDEr-D"]["median"]
    share = sum(taken[name]["median"] for name in SCORING) / whole
    print(f"the usual CIDEr-D takes {ratio:.0f} times ours; both rewards take {100 * share:.1f} % of a step")
    result: dict[str, Any] = {"size": sizes, "parts": taken, "usual_times_ours": round(ratio, 1)}
    result |= {"step_ms": round(whole, 1), "share_of_rewards": round(share, 4)}
    write("rewards", {**result, "meteor": measure_meteor(step) if which("java") else None})
    if not which("java"):
        print("METEOR is left out: there is no java here")


def show(taken: dict[str, dict[str, float]], whole: float, videos: int) -> None:
    """The parts of a step and their shares."""
    shown = Table("part", "ms a step", "share", title=f"One reward step, {videos} videos")
    for name, times in taken.items():
        shown.add_row(name, f"{times['median']:.2f}", f"{100 * times['median'] / whole:.1f} %" if name in OURS else "-")
    Console().print(shown)


def check_meteor(step: Step, meteor: Meteor) -> None:
    """One process must score a caption the same whichever others come with it."""
    _, together = meteor.score(step.english, step.english_references)
    _, alone = meteor.score(step.english[:1], step.english_references[:1])
    if together[0] != alone[0]:
        raise AssertionError(f"METEOR of one caption is {alone[0]} alone and {together[0]} among others")


def measure_meteor(step: Step) -> dict[str, Any]:
    """By the clock: METEOR of samples and greedy captions, a step without it, and a step with it going on beside."""
    parts = step.parts()
    before, after = (list(parts)[:3], list(parts)[3:])

    def work(names: list[str]) -> None:
        for name in names:
            parts[name]()

    with Meteor() as meteor, ThreadPoolExecutor(1) as beside:
        check_meteor(step, meteor)

        def score() -> None:
            for _ in range(2):
                meteor.score(step.english, step.english_references)

        def overlapped() -> None:
            work(before)
            scored = beside.submit(score)
            work(after)
            scored.result()

        rivals = {"step without METEOR": lambda: work(list(parts)), "METEOR": score, "step with METEOR": overlapped}
        taken = measure(rivals, repetitions=7, warm_up=1, clock=time.perf_counter)
    alone, step_ms, together = (taken[name]["median"] for name in ("METEOR", "step without METEOR", "step with METEOR"))
    share, hidden = alone / (alone + step_ms), 1 - (together - step_ms) / alone
    print(
        f"METEOR, by the clock: {alone:.0f} ms, {100 * share:.0f} % of a step where all is done in turn; "
        f"beside other work {100 * hidden:.0f} % of it is hidden"
    )
    return {"wall_ms": taken, "share_in_turn": round(share, 4), "hidden_beside": round(hidden, 4)}


if __name__ == "__main__":
    main()
