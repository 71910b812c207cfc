"""Beam search whose captions differ: groups of beams that avoid each other's words."""

from decoders.base import Decoder
from decoders.memory import VideoMemory
from decoders.search.beam import check_beam, check_found, grouped_beams
from decoders.search.hypotheses import Hypotheses
from decoders.search.rules import NO_RULES, Rules, WordFilter


def diverse_beam_search(
    decoder: Decoder,
    memory: VideoMemory,
    beam: int = 6,
    groups: int = 3,
    diversity: float = 0.5,
    max_length: int = 30,
    length_penalty: float = 0.0,
    n_best: int = 1,
    *,
    rules: Rules = NO_RULES,
) -> Hypotheses:
    r"""Diverse beam search with Hamming diversity (Vijayakumar et al., 2018, Alg. 1 and Sec. 5.1).

    The beam is split into equal groups. At every step they choose one after the other, each by

    .. math:: \log p(y_1 \dots y_t) - \lambda \cdot |\{\text{hypotheses of earlier groups that chose } y_t\text{ now}\}|

    A penalty counts at its own step only and is left out of all scores, by which captions of all groups are ranked at
    last. Groups may end up with the same caption; then it is returned more than once. A video is done when no
    hypothesis of any group can reach its ``n_best`` captions; until then every group continues, for the others to
    avoid. All else is as in `beam_search`, which this is with one group.

    Departure: as there, a hypothesis that ended leaves its group one place smaller, where the paper lets it stay.

    Args:
        decoder: in evaluation mode.
        memory: of ``B`` videos.
        beam: hypotheses kept a video, all groups together.
        groups: number of groups, a divisor of ``beam``.
        diversity: the weight ``lambda >= 0``, in log-probability.
        max_length: most words, eos included.
        length_penalty: as in `beam_search`.
        n_best: captions returned a video, at most ``beam``.
        rules: that captions obey.

    Raises:
        ValueError: as `beam_search`; where groups do not divide the beam, or the diversity is negative.
    """
    allowed = WordFilter(decoder, memory, max_length, rules)
    if groups < 1 or beam % groups:
        raise ValueError(f"groups={groups} must divide beam={beam}")
    if not 0 <= diversity < float("inf"):
        raise ValueError(f"diversity={diversity} must be 0 or larger")
    check_beam(decoder, allowed, beam, n_best, length_penalty)
    return check_found(
        grouped_beams(decoder, memory, allowed, groups, beam // groups, diversity, length_penalty, n_best)
    )
