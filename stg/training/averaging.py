"""An exponential moving average of the weights, which captions in place of the weights themselves."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    r"""The moving average of a model's weights; `AveragedModel.update_parameters` takes in one more step.

    .. math:: \bar w_n = d_n \bar w_{n-1} + (1 - d_n)\, w_n, \qquad d_n = \min\Big(d, \frac{1 + n}{10 + n}\Big)

    Its first update copies the weights, and its decay rises: weights drawn at random are soon forgotten. Buffers are
    those of the model. After Polyak and Juditsky (1992), who take the mean.

    Args:
        model: what is trained.
        decay: ``d``, in 0..1: 0.999 averages over about a thousand steps.
    """

    def take_in(averaged: Sequence[Tensor], current: Sequence[Tensor], number: Tensor | int) -> None:
        steps = int(number)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(list(averaged), list(current), number)

    average = AveragedModel(model, multi_avg_fn=take_in)
    return average.requires_grad_(False).eval()
