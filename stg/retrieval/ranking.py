"""Matching videos and captions by the cosine of their vectors: the loss of VSE++, and how well they find each other."""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

CUTS = (1, 5, 10)
"""The ranks up to which a find counts, as papers print them."""


def matching_loss(
    videos: Float[Tensor, "B D"],
    texts: Float[Tensor, "W D"],
    video: Int[Tensor, " W"],
    *,
    margin: float = 0.2,
    hardest: bool = True,
) -> Float[Tensor, ""]:
    r"""Bidirectional max-margin loss with the hardest negatives of the batch (Faghri et al., 2018, Eq. 6).

    .. math:: \max_{c'} [\alpha + s(v, c') - s(v, c)]_+ + \max_{v'} [\alpha + s(v', c) - s(v, c)]_+

    Averaged over the pairs, where the paper adds them up. Captions of one video are no negatives of each other: the
    paper's pictures come with one caption a batch.

    Args:
        videos: ``[B D]`` unit vectors.
        texts: ``[W D]`` unit vectors, ``W`` at least 1.
        video: ``[W]`` the row of the video of each caption.
        margin: ``alpha``.
        hardest: False adds all negatives up instead (Eq. 5).
    """
    scores = texts @ videos.T
    own = scores.gather(1, video[:, None])
    # A video may have several captions in the batch: its own are no negatives.
    other_video = torch.arange(len(videos), device=video.device) != video[:, None]
    other_text = video != video[:, None]
    loss = scores.new_zeros(())
    # Second: for the video of each caption w, the score of every caption w'.
    for rivals, foreign in ((scores, other_video), (scores[:, video].T, other_text)):
        cost = (margin - own + rivals).clamp(min=0) * foreign
        loss = loss + (cost.amax(1) if hardest else cost.sum(1)).mean()
    return loss


@dataclass(frozen=True)
class Retrieval:
    """How well videos and captions find each other.

    Attributes:
        text_to_video: [W] for each caption the rank of its video among all videos, from 1.
        video_to_text: [B] for each video the rank of its first own caption among all captions.
    """

    text_to_video: Int[Tensor, " W"]
    video_to_text: Int[Tensor, " B"]

    @property
    def values(self) -> dict[str, float]:
        """Recalls at `CUTS` as fractions and the median rank, either direction: ``text_to_video_r1``, ...."""
        values: dict[str, float] = {}
        for name, ranks in asdict(self).items():
            values |= {f"{name}_r{cut}": (ranks <= cut).double().mean().item() for cut in CUTS}
            values[f"{name}_median"] = ranks.double().quantile(0.5).item()
        return values

    @property
    def recall_sum(self) -> float:
        """All recalls added up, which epochs are chosen by (as VSE++ does); 6 at most."""
        return sum(value for name, value in self.values.items() if not name.endswith("median"))


def rank(
    videos: Float[Tensor, "B D"], texts: Float[Tensor, "W D"], video: Int[Tensor, " W"], *, at_once: int = 1024
) -> Retrieval:
    """Rank videos for every caption, and captions for every video; a tie with a foreign one counts against.

    Args:
        videos, texts: unit vectors.
        video: ``[W]`` the row of the video of each caption; every video has one at least.
        at_once: captions whose scores are held in memory at a time.
    """
    # In blocks of captions, so that no matrix of all captions and videos is held.
    chunks = list(zip(texts.split(at_once), video.split(at_once), strict=True))
    best = videos.new_full((len(videos),), -torch.inf)
    for some, own in chunks:
        # First the best own caption of each video, over all blocks: it is what foreign ones are compared with.
        best = best.scatter_reduce(0, own, (some * videos[own]).sum(-1), "amax")
    forward, backward = [], torch.ones_like(best, dtype=torch.int64)
    for some, own in chunks:
        scores = some @ videos.T
        foreign = torch.arange(len(videos), device=own.device) != own[:, None]
        forward.append(1 + ((scores >= scores.gather(1, own[:, None])) & foreign).sum(1))
        backward = backward + ((scores >= best) & foreign).sum(0)
    return Retrieval(torch.cat(forward), backward)
