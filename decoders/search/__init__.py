"""Searches for the likeliest captions of any decoder, by name."""

from collections.abc import Callable

from decoders.search.beam import beam_search
from decoders.search.diverse import diverse_beam_search
from decoders.search.greedy import greedy_search
from decoders.search.hypotheses import Hypotheses
from decoders.search.mbr import mbr_search
from decoders.search.sampling import sample_search

SEARCHES: dict[str, Callable[..., Hypotheses]] = {
    "greedy": greedy_search,
    "beam": beam_search,
    "diverse": diverse_beam_search,
    "sample": sample_search,
    "mbr": mbr_search,
}
"""Name -> function of a decoder, a memory, ``max_length`` and those of the settings of these searches that it names."""
