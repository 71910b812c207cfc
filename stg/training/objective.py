"""What a captioner learns from in each epoch: given captions, and from some epoch on rewards, too."""

from collections.abc import Mapping, Sequence
from types import TracebackType

import torch
from torch import Tensor
from torch.optim import Optimizer

from stg.config.training import FitConfig
from stg.data.batches import CaptionBatch
from stg.models.captioner import Captioner
from stg.runtime.device import autocast
from stg.runtime.distributed import SINGLE, Ranks
from stg.text.vocabulary import Vocabulary
from stg.training.losses import captioning_losses
from stg.training.reinforce import mix_losses, reward_losses
from stg.training.rewards import Rewards
from stg.training.schedules import step_size, teacher_forcing_rate, teacher_weight, temperature_at
from stg.training.teacher import Teacher


class Objective:
    """The losses of a batch, by the settings of a run; a context that ends METEOR's Java.

    Args:
        config: of the run.
        captions: of the training videos, as people wrote them: what sampled captions are rewarded against.
        vocabulary: the model's words.
        device: where the model is.
        teacher: another model from which the model learns, too.
        ranks: those that have a part of each batch.
    """

    def __init__(
        self,
        config: FitConfig,
        captions: Mapping[str, Sequence[str]],
        vocabulary: Vocabulary,
        *,
        device: torch.device,
        teacher: Teacher | None = None,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.config, self.device, self.teacher, self.ranks = config, device, teacher, ranks
        self._captions, self._vocabulary = captions, vocabulary
        self._sampling_rate = 0.0
        self.rewards: Rewards | None = None

    def start_epoch(self, epoch: int, model: Captioner, optimiser: Optimizer) -> bool:
        """Set what changes from epoch to epoch; whether learning from rewards begins now (or is taken up again)."""
        eta, cold, reward = self.config.optim.scheduled_sampling, self.config.model.stats.ts, self.config.reward
        self._sampling_rate = 1 - teacher_forcing_rate(eta, epoch) if eta else 0.0
        if cold.anneal_from is not None:
            model.anneal(temperature_at(epoch, cold.anneal_from, cold.temperature, self.config.optim.epochs))
        if not reward.weight or epoch < reward.from_epoch or self.rewards is not None:
            return False
        weights = {"cider": reward.cider, "bleu4": reward.bleu4, "meteor": reward.meteor, **reward.weights}
        self.rewards = Rewards(self._captions, self._vocabulary, **weights)
        # Also where a run resumes in this phase, after its checkpoint has restored the optimiser.
        for group in optimiser.param_groups:
            group["lr"] = reward.lr or self.config.optim.lr
        return True

    def start_step(self, done: float, optimiser: Optimizer) -> None:
        """Set the weight of the teacher and the step size after ``done`` epochs.

        While rewards are learned from, the step size stays what it is.
        """
        if self.teacher is not None:
            self.teacher.weight = teacher_weight(self.config.teacher, done, self.config.optim.epochs)
        if self.rewards is None:
            for group in optimiser.param_groups:
                group["lr"] = step_size(self.config.optim, done)

    def __call__(self, model: Captioner, batch: CaptionBatch) -> dict[str, Tensor]:
        """``loss`` and its parts; of several processes, their summands."""
        optim, reward = self.config.optim, self.config.reward
        with autocast(optim.precision, self.device):
            losses = captioning_losses(
                model,
                batch,
                self.config.loss,
                sampling_rate=self._sampling_rate,
                sampling_pick=optim.own_word,
                teacher=self.teacher,
                ranks=self.ranks,
            )
        if self.rewards is None:
            return losses
        # In single precision: the log-probabilities of whole captions are long sums.
        rewarded = reward_losses(
            model,
            batch,
            self.rewards,
            baseline=reward.baseline,
            samples=reward.samples,
            dropout=reward.dropout,
            max_length=self._vocabulary.max_words + 1,
            ranks=self.ranks,
        )
        return mix_losses(losses, rewarded, reward.weight)

    def __enter__(self) -> "Objective":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.rewards is not None:
            self.rewards.close()
