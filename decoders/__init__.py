"""From the memory of a video to words: decoders, their contract, and one search for all of them."""

from decoders.attention import AdditiveAttention, MultiHeadAttention, masked_softmax
from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.base import Decoder, State, Taught, select_state
from decoders.memory import VideoMemory, keep_one_key
from decoders.recurrent import RecurrentDecoder
from decoders.search import Hypotheses, beam_search, greedy_search
from decoders.stats import STaTSDecoder
from decoders.transformer import TransformerDecoder

__all__ = [
    "AdditiveAttention",
    "AttentionLSTMDecoder",
    "Decoder",
    "Hypotheses",
    "MultiHeadAttention",
    "RecurrentDecoder",
    "STaTSDecoder",
    "State",
    "Taught",
    "TransformerDecoder",
    "VideoMemory",
    "beam_search",
    "greedy_search",
    "keep_one_key",
    "masked_softmax",
    "select_state",
]
