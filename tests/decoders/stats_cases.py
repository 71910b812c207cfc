"""Captions and small decoders for the tests of STaTS (a video to go with them: the fixture `memory`)."""

import torch

from decoders.stats import STaTSDecoder

V, C = 11, 16
WORDS = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 3, 2, 0], [1, 9, 2, 0, 0]])
REAL = WORDS != 0
TEMPORAL = ("mean", "lstm", "mean+lstm", "temp_att", "mean+temp_att", "ranked", "mean+ranked")


def build(streams: tuple[str, ...] = ("regions",), **settings) -> STaTSDecoder:
    torch.manual_seed(3)
    decoder = STaTSDecoder(V, C, 12, 10, streams=streams, **settings).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():  # far from zero, so that nothing may be forgotten
            parameter.normal_(std=0.4)
    return decoder
