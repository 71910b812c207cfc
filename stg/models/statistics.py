"""Mean and deviation of the training features, and the layer that takes them out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphs import GraphStore
from stg.models.captioner import Captioner
from stg.runtime.errors import UserError


def classes_read(
    model: Captioner, category: Mapping[str, int], categories: int, dataset: str
) -> Mapping[str, int] | None:
    """The class of each video of a data set, where a decoder of the model learns from it; None where none does.

    Args:
        category: class of each video; empty where the data set has none.
        categories: how many classes the model was built for.
        dataset: its name, for errors.

    Raises:
        UserError: the data set has no classes, or more than the model.
    """
    decoders = (model.scene_decoder, model.object_decoder)
    if not any("category" in decoder.learns_from for decoder in decoders if decoder is not None):
        return None
    if not category:
        raise UserError(
            f"model.stats.categories is {categories} and {dataset} has no classes: set it to 0, or take a data "
            "set whose videos have a class (msrvtt)"
        )
    if (largest := max(category.values())) >= categories:
        raise UserError(
            f"model.stats.categories is {categories} and {dataset} has a class number {largest}: set it to "
            f"{largest + 1} or more"
        )
    return category


def fit_statistics(model: Captioner, store: GraphStore, videos: Sequence[str], *, batch_videos: int = 64) -> None:
    """Let a model that standardises its features take their statistics over ``videos``, of sound where it is heard."""

    def blocks(name: str) -> Iterator[Tensor]:
        for at in range(0, len(videos), batch_videos):
            batch = store.flat_batch(videos[at : at + batch_videos], variant="none")
            yield batch.audio[batch.audio_mask] if name == "audio" else batch[name]

    for name, standardise in (model.standardise or {}).items():
        assert isinstance(standardise, Standardise)
        standardise.fit(blocks(name))


ROWS_AT_ONCE = 4096
"""Rows that `Standardise` takes into double precision at once."""


class Standardise(nn.Module):
    """Features shifted and scaled to mean 0 and deviation 1, by fixed statistics of the training videos.

    Not in the paper: raw features of most networks share one large mean, which bias-free projections (Eq. 5 and 6)
    cannot take away. The statistics are saved with the weights and never trained.

    Args:
        width: of the features; until `fit` is called they pass unchanged.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit(self, blocks: Iterable[Float[Tensor, "... D"]]) -> None:
        """Take the statistics over the rows of all ``blocks``; a feature that hardly varies is not blown up.

        All axes but the last count as rows: the places of a grid share their statistics.
        """
        count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for block in blocks:
            rows = block.flatten(0, -2)
            count += len(rows)
            # In pieces, for a grid in double precision takes gigabytes.
            for piece in rows.split(ROWS_AT_ONCE):
                precise = piece.double()
                total = total + precise.sum(0)
                # Sums of squares lose digits where the mean is large: hence the double precision.
                squares = squares + precise.square().sum(0)
        if count:
            mean = total / count
            deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
            # A dimension that hardly varies would turn its noise into a
            # feature; the second bound holds where none varies.
            deviation = deviation.clamp_min(0.01 * deviation.mean()).clamp_min(1e-6)
            self.mean.copy_(mean)
            self.scale.copy_(1 / deviation)

    def forward(self, features: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        return (features - self.mean) * self.scale
