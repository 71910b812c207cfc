"""From the memory of a video to words: decoders, their contract, and one search for all of them."""

from decoders.attention import MultiHeadAttention
from decoders.base import Decoder, State, select_state
from decoders.memory import VideoMemory, keep_one_key
from decoders.search import Hypotheses, beam_search, greedy_search
from decoders.transformer import TransformerDecoder

__all__ = [
    "Decoder",
    "Hypotheses",
    "MultiHeadAttention",
    "State",
    "TransformerDecoder",
    "VideoMemory",
    "beam_search",
    "greedy_search",
    "keep_one_key",
    "select_state",
]
