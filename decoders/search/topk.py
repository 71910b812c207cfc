"""The likeliest words that may come next, with ties always broken alike."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders.search.rules import IMPOSSIBLE, WordFilter


def stable_topk(values: Float[Tensor, "R M"], count: int) -> tuple[Float[Tensor, "R k"], Int[Tensor, "R k"]]:
    """The ``k = min(count, M)`` largest of each row in falling order; of equals, the lower index first.

    `torch.topk` leaves open which of equal values it takes, so rows with a tie across the edge are sorted in full.
    """
    count = min(count, values.shape[1])
    # Blocks pay only where a row is much longer than what is wanted of it.
    if _BLOCK * (count + 2) > values.shape[1]:
        best, index, tied = _top(values, count)
    else:
        best, index, tied = _top_of_blocks(values, count)
    rows = None if tied is None else tied.nonzero()[:, 0]
    if rows is not None and len(rows):
        ordered, place = values[rows].sort(dim=1, descending=True, stable=True)
        best, index = best.index_copy(0, rows, ordered[:, :count]), index.index_copy(0, rows, place[:, :count])
    return best, index


_BLOCK = 64


def _top(
    values: Float[Tensor, "R M"], count: int
) -> tuple[Float[Tensor, "R k"], Int[Tensor, "R k"], Bool[Tensor, " R"] | None]:
    """The largest, in order, and in which rows another value equals the last of them (None: it does not matter)."""
    if count == 1:
        return *values.max(1, keepdim=True), None  # takes the first of equals
    more = min(count + 1, values.shape[1])
    top, index = values.topk(more, 1)
    index, order = index[:, :count].sort(1)
    best, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    return best, index.gather(1, order), None if more == count else top[:, count - 1] == top[:, count]


def _top_of_blocks(
    values: Float[Tensor, "R M"], count: int
) -> tuple[Float[Tensor, "R k"], Int[Tensor, "R k"], Bool[Tensor, " R"] | None]:
    """The same where rows are long: the largest ``k`` lie in the ``k`` blocks with the largest maxima, or in the rest.

    A maximum a block is one fast pass on a CPU, where `topk` and the place of a maximum take five to ten.
    """
    blocks = values.shape[1] // _BLOCK
    whole = values[:, : blocks * _BLOCK].unflatten(1, (blocks, _BLOCK))
    _, block, tied = _top(whole.amax(2), count)
    block = block.sort(1).values  # from low to high, as the first of equals is wanted
    rest = torch.arange(blocks * _BLOCK, values.shape[1], device=values.device).expand(len(values), -1)
    inside = block[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=values.device)
    places = torch.cat([inside.flatten(1), rest], 1)
    best, index, also_tied = _top(values.gather(1, places), count)
    if tied is not None and also_tied is not None:
        tied = tied | also_tied
    return best, places.gather(1, index), tied


def next_words(
    log_probs: Float[Tensor, "N V"],
    count: int,
    allowed: WordFilter,
    written: Int[Tensor, "N T"],
    videos: Int[Tensor, " A"],
    penalty: Float[Tensor, "A V"] | None = None,
) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
    """The likeliest words that the rules allow, with their log-probabilities.

    Where fewer words than ``count`` are possible, impossible ones follow at `IMPOSSIBLE`, the barred ones at -inf.

    Args:
        log_probs: of every word after each hypothesis ``[N V]``; written over.
        count: words wanted a hypothesis.
        allowed: what may follow.
        written: what each hypothesis has written, from bos on ``[N T]``.
        videos: the number of each video, whose hypotheses stand next to each other ``[A]``.
        penalty: what each word loses when words are chosen, not when they are paid ``[A V]``.
    """

    def likeliest(log_probs: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        if penalty is None:
            return stable_topk(log_probs, count)
        width = len(log_probs) // len(videos)
        choice = stable_topk((log_probs.unflatten(0, (-1, width)) - penalty[:, None]).flatten(0, 1), count)[1]
        return log_probs.gather(1, choice), choice

    allowed.bar(log_probs, written)  # which may be written over, by the contract of `Decoder.step`
    value, choice = likeliest(log_probs)
    # Fewer words are possible than wanted, or the decoder gives NaN: both are rare, and sorted out at leisure.
    if not bool(value.isfinite().all()):
        return likeliest(allowed.relax(log_probs, written, videos))
    return value.clamp(min=IMPOSSIBLE), choice
