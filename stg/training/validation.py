"""How good a model is while it is trained: captions of the validation videos, and their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from stg.config.search import SearchConfig
from stg.data.batches import BatchSource
from stg.metrics.columns import score_line
from stg.metrics.scorer import Scorer, Scores
from stg.models.captioner import Captioner
from stg.models.generation import generate
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.reporter import SILENT, Reporter
from stg.text.vocabulary import Vocabulary
from stg.text.words import broken_endings


@dataclass(frozen=True)
class Validated:
    """What one validation found.

    Attributes:
        scores: BLEU, ROUGE-L and CIDEr.
        texts: the caption of each video.
        broken: how many captions break off.
    """

    scores: Scores
    texts: Mapping[str, str]
    broken: int

    @property
    def judged(self) -> float:
        """What models are chosen by: CIDEr, which needs more than one video; a split of one is judged by BLEU-4."""
        return self.scores.values.get("cider", self.scores.values["bleu4"])

    def __str__(self) -> str:
        values = self.scores.values
        return score_line({name: values[name] for name in ("bleu4", "rouge", "cider") if name in values})

    @property
    def endings(self) -> str:
        """How many captions break off, in words."""
        return f"broken endings {self.broken} of {len(self.texts)}"


@dataclass(frozen=True)
class Validation:
    """Captions some videos greedily and scores them; call it with the model.

    Args:
        source: their graphs, in the control those of others.
        videos: which.
        vocabulary: the model's words.
        scorer: knows the references of ``videos``.
    """

    source: BatchSource
    videos: Sequence[str]
    vocabulary: Vocabulary
    scorer: Scorer

    def __call__(
        self,
        model: Captioner,
        device: torch.device | str,
        *,
        ranks: Ranks = SINGLE,
        reporter: Reporter = SILENT,
    ) -> Validated | None:
        """Caption and score; the mode of the model is kept.

        Args:
            ranks: divide the videos among them; all get the scores of all.
            reporter: asked after each batch; None is returned if some process was to stop.
        """

        def go_on(done: int) -> None:
            if reporter.should_stop():
                raise _Stopped

        try:
            found = generate(
                model,
                self.source,
                ranks.shard(self.videos),
                self.vocabulary,
                search=SearchConfig(beam=1),
                device=device,
                advance=go_on,
            )
        except _Stopped:
            found = None
        # All processes learn that one stops, or the gathering below would wait for it.
        if any(ranks.any(found is None)) or found is None:
            return None
        together = ranks.merge({video: captions[0].text for video, captions in found.items()})
        # In one order, whatever the number of processes: sums of floating point numbers depend on it.
        texts = {video: together[video] for video in self.videos}
        scores = self.scorer.score(texts, metrics=("bleu", "rouge", "cider"))
        return Validated(scores, texts, broken_endings(texts.values()))


class _Stopped(Exception):
    """Somebody asked for a stop."""
