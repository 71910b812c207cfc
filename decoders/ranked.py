"""Ranked attention: an LSTM that learns the direction in which the frames of a video follow each other."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders.lstm import LSTM


class RankedAttention(nn.Module):
    r"""The last output of an LSTM over the steps of a video, and where it puts each step (Cherian et al., 2020, Eq. 8).

    .. math:: x_{ST} = \bigoplus_{t=1}^{T} \mathrm{LSTM}_\theta(\hat x_t), \quad p_t = \langle x_{ST}, \hat x_t \rangle

    The hidden width is that of the steps, or there would be no inner product. `ranking_loss` of the projections ``p``
    is what makes the attention ranked; without it this is a plain LSTM.

    Args:
        channels: width ``C`` of steps and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = LSTM(channels, channels, batch_first=True)

    def forward(
        self, steps: Float[Tensor, "N T C"], lengths: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N T"]]:
        """The output after the last real step, and the projection of every step on it.

        Args:
            steps: in the order of time, the real ones first ``[N T C]``.
            lengths: number of real steps of each row, at least 1 ``[N]``.
        """
        outputs, _ = self.lstm(steps)
        # Steps behind the last real one are read, too, but an LSTM reads from the first on: they change nothing here.
        last = (lengths - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
        direction = outputs.gather(1, last)
        return direction[:, 0], (steps @ direction.transpose(1, 2)).squeeze(2)


def ranking_loss(
    projections: Float[Tensor, "*rows T"],
    mask: Bool[Tensor, "*rows T"],
    margin: float = 1.0,
    real: Bool[Tensor, "*rows"] | None = None,
    squared_norm: Float[Tensor, "*rows"] | None = None,
) -> Float[Tensor, ""]:
    r"""How far projections are from growing with time by a margin a step (Cherian et al., 2020, Eq. 6-7).

    .. math:: \mathrm{mean}_{t = 2..T}\ \mathrm{softplus}(p_{t-1} + \beta - p_t), \quad
        p_t = \langle x_{ST}, \hat x_t \rangle

    Eq. 5 counts the same pairs from t = 1. The paper gives neither the margin nor whether pairs and words are added or
    averaged: here pairs are averaged in a row, and rows over those that are real, so that the weight of the loss means
    the same for long and short videos and captions. A row without a pair counts as 0.

    Departure where the norm is kept: Eq. 4 has its lambda on the sum over pairs alone, next to half the squared norm;
    here one weight, that of the whole loss, scales the norm and the mean over pairs alike.

    Args:
        projections: ``p`` of each row, that is of each word ``[*rows T]``.
        mask: True where the step is real; a pair counts where both of its steps are ``[*rows T]``.
        margin: ``beta``.
        real: rows that count ``[*rows]``; None: all.
        squared_norm: ``|x_ST|^2`` of each row ``[*rows]``, half of which is added where the row has a pair (Eq. 4;
            Eq. 6 leaves it out); None: as Eq. 6.

    Raises:
        ValueError: the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"the margin of the ranking loss must not be negative, got {margin}")
    # Filled before the difference: what padding holds, were it NaN, must not reach the gradient either.
    projections = projections.masked_fill(~mask, 0.0)
    pair = mask[..., 1:] & mask[..., :-1]
    zeta = projections[..., :-1] + margin - projections[..., 1:]
    # A row without a pair has a sum of 0, which is divided by 1.
    count = pair.sum(-1)
    rows = F.softplus(zeta).masked_fill(~pair, 0.0).sum(-1) / count.clamp(min=1)
    if squared_norm is not None:
        rows = rows + 0.5 * squared_norm.masked_fill(count == 0, 0.0)
    if real is None:
        return rows.mean()
    return rows.masked_fill(~real, 0.0).sum() / real.sum().clamp(min=1)
