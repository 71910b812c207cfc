"""A decoder of one's own: a GRU that reads each word along with the mean of the frames."""

import torch
from torch import nn

from decoders import Decoder, mean_of_real
from stg.models import DECODERS, DecoderSpec


class GRUDecoder(Decoder):
    def __init__(self, vocabulary, channels, dropout, word_dropout=0.0, **others):
        super().__init__(vocabulary, channels, **others)
        self.words, self.cell = nn.Embedding(vocabulary, channels), nn.GRUCell(2 * channels, channels)
        self.dropout, self.word_dropout = nn.Dropout(dropout), nn.Dropout(word_dropout)

    def init_state(self, memory):
        mean = mean_of_real(memory.frames.masked_fill(~memory.frame_mask[..., None], 0), memory.frame_mask, 1)
        return {"memory.video": mean, "hidden": torch.zeros_like(mean)}

    def advance(self, word, state):
        video = state["memory.video"]
        video = video.repeat_interleave(len(word) // len(video), 0)  # one row a hypothesis
        hidden = self.cell(torch.cat([self.word_dropout(self.words(word)), video], 1), state["hidden"])
        return self.dropout(hidden), state | {"hidden": hidden}

    def features(self, words, memory, video=None):
        state, found = self.init_state(memory if video is None else memory.select(video)), []
        for word in words.unbind(1):
            features, state = self.advance(word, state)
            found.append(features)
        return torch.stack(found, 1)


DECODERS["gru"] = DecoderSpec(
    build=lambda model, branch, shared: GRUDecoder(**model.options, **shared),
    reads=lambda model, branch: {"frames": "decoder"},
    options=("word_dropout",),  # --model.options '{"word_dropout": 0.1}'
    recurrent=False,  # no scheduled sampling, for which decoders.RecurrentDecoder has all that is needed
)
