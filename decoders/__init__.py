"""From the memory of a video to words: decoders, their contract, and the searches that all of them share."""

from decoders.attention import AdditiveAttention, MultiHeadAttention, masked_softmax
from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.base import Decoder, Pick, State, TrainOutput, select_state
from decoders.ensemble import EnsembleDecoder, EnsembleMemory
from decoders.layers import DecoderLayer, sinusoids
from decoders.memory import VideoMemory, keep_one_key, mean_of_real
from decoders.policy import policy_log_probs
from decoders.recurrent import RecurrentDecoder, Trace
from decoders.search import SEARCHES
from decoders.search.beam import beam_search
from decoders.search.diverse import diverse_beam_search
from decoders.search.greedy import greedy_search
from decoders.search.hypotheses import Hypotheses
from decoders.search.mbr import mbr_search
from decoders.search.rules import Rules
from decoders.search.sampling import sample_search
from decoders.stats import STaTSDecoder
from decoders.transformer import TransformerDecoder

__all__ = [
    "SEARCHES",
    "AdditiveAttention",
    "AttentionLSTMDecoder",
    "Decoder",
    "DecoderLayer",
    "EnsembleDecoder",
    "EnsembleMemory",
    "Hypotheses",
    "MultiHeadAttention",
    "Pick",
    "RecurrentDecoder",
    "Rules",
    "STaTSDecoder",
    "State",
    "Trace",
    "TrainOutput",
    "TransformerDecoder",
    "VideoMemory",
    "beam_search",
    "diverse_beam_search",
    "greedy_search",
    "keep_one_key",
    "masked_softmax",
    "mbr_search",
    "mean_of_real",
    "policy_log_probs",
    "sample_search",
    "select_state",
    "sinusoids",
]
