"""An LSTM over steps that runs under autocast on every CPU."""

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """PyTorch's LSTM; on a CPU it computes in float32 where autocast asks for less.

    In bfloat16 it needs a CPU with AVX-512; on others it fails, though linear layers work. Arguments, shapes
    and names of weights are those of ``torch.nn.LSTM``.
    """

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As ``torch.nn.LSTM`` of a padded batch."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input, hx)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float(), None if hx is None else (hx[0].float(), hx[1].float()))
