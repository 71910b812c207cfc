"""What a trained model, which stays as it is, teaches the one in training."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from decoders import VideoMemory
from stg.config.training import LossConfig
from stg.data.batches import CaptionBatch
from stg.models.captioner import Captioner
from stg.runtime.device import single
from stg.training.distillation import Where, feature_loss, mean_memory, relation_loss, taught_loss

Lesson = Literal["logits", "features", "relations"]


class Teacher:
    """A frozen captioner, and the loss by which another learns from it. Only the decoders that caption meet.

    Args:
        captioner: the teacher; from here on without gradients, and without dropout.
        what: ``logits``: its words (`taught_loss`); ``features``: the mean of its memory, onto which ``regression``
            maps that of the student (FitNets, Romero et al., 2015, with one linear layer and the mean over time);
            ``relations``: `relation_loss` of these means.
        where: of ``logits``, see `taught_loss`.
        settings: direction, temperature and reduction of the divergence.
        regression: of ``features``, from the student's width to the teacher's; it learns with the student.
        sha256: of the teacher's file.

    Attributes:
        weight: of the loss, at this step.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        what: Lesson = "logits",
        where: Where = "all",
        settings: LossConfig | None = None,
        regression: nn.Linear | None = None,
        sha256: str = "",
    ) -> None:
        if (regression is not None) != (what == "features"):
            raise ValueError(f"a regression is for what='features', which needs one; got what={what!r}")
        self.captioner = captioner.eval().requires_grad_(False)
        self.what, self.where, self.settings = what, where, settings or LossConfig()
        self.regression, self.sha256 = regression, sha256
        self.weight = 1.0

    def trained_along(self, student: nn.Module) -> nn.Module:
        """The student with what else is trained, whose weights and names stay what they are if that is nothing."""
        if self.regression is None:
            return student
        return nn.ModuleDict({"captioner": student, "regression": self.regression})

    def loss(
        self,
        batch: CaptionBatch,
        words: Int[Tensor, "W L"],
        logits: Float[Tensor, "P V"],
        memory: VideoMemory,
    ) -> tuple[Float[Tensor, ""], Tensor | int]:
        """What the teacher teaches of a batch, and over how many words, videos or pairs that is a mean.

        Args:
            words: what the student read, which the teacher reads, too.
            logits: the student's, at the real positions of the batch.
            memory: what the student's decoder attends to.
        """
        model = self.captioner
        with torch.no_grad():
            encoded = model.encode(batch.graphs if batch.teacher_graphs is None else batch.teacher_graphs)
            theirs = encoded.scene or encoded.objects
            assert theirs is not None
        # A teacher that reads nothing but objects knows nothing of a video without any.
        blind = model.scene is None and not self.settings.keep_empty
        videos = encoded.has_objects if blind else torch.ones_like(encoded.has_objects)
        if self.what == "logits":
            counted = videos[batch.video][:, None].expand_as(batch.real)[batch.real]
            with torch.no_grad():
                features = model.decoder.features(words, theirs, batch.video)[batch.real]
                taught = single(model.decoder.output(features))
            count = counted.sum() if self.settings.reduction == "positions" else len(batch.words)
            loss = taught_loss(
                logits[counted],
                taught[counted],
                batch.targets[batch.real][counted],
                where=self.where,
                kl=self.settings.kl,
                temperature=self.settings.temperature,
                count=None if self.settings.reduction == "positions" else len(batch.words),
            )
            return loss, count
        # In single precision: of cosines and squares that hardly differ, half of it leaves little.
        with torch.autocast(logits.device.type, enabled=False):
            mine, goal = mean_memory(memory).to(logits), mean_memory(theirs).to(logits)
            if self.regression is None:
                return relation_loss(mine, goal, videos)
            mapped = self.regression(mine)
            return feature_loss(mapped[:, None], goal[:, None], videos[:, None]), videos.sum()
