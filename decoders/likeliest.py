"""The likeliest words that may come next, with ties broken in one way."""

from jaxtyping import Float, Int
from torch import Tensor

from decoders.rules import IMPOSSIBLE, Rules


def top(values: Float[Tensor, "R M"], count: int) -> tuple[Float[Tensor, "R k"], Int[Tensor, "R k"]]:
    """The ``k = min(count, M)`` largest of each row in falling order; of equals, the lower index first.

    `torch.topk` leaves open which of equal values it takes, so rows with a tie across the edge are sorted in full.
    """
    if count == 1:
        return values.max(1, keepdim=True)  # takes the first of equals
    count = min(count, values.shape[1])
    more = min(count + 1, values.shape[1])
    top, index = values.topk(more, 1)
    index, order = index[:, :count].sort(1)
    best, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    if more > count:
        tied = (top[:, count - 1] == top[:, count]).nonzero()[:, 0]
        if len(tied):
            ordered, place = values[tied].sort(dim=1, descending=True, stable=True)
            best, index = best.index_copy(0, tied, ordered[:, :count]), index.index_copy(0, tied, place[:, :count])
    return best, index


def next_words(
    log_probs: Float[Tensor, "N V"],
    count: int,
    rules: Rules,
    written: Int[Tensor, "N T"],
    videos: Int[Tensor, " A"],
    penalty: Float[Tensor, "A V"] | None = None,
) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
    """The likeliest words that the rules allow, with their log-probabilities.

    Where fewer words than ``count`` are possible, impossible ones follow at `IMPOSSIBLE`, the barred ones at -inf.

    Args:
        log_probs: of every word after each hypothesis ``[N V]``; written over.
        count: words wanted a hypothesis.
        rules: that say what may follow.
        written: what each hypothesis has written, from bos on ``[N T]``.
        videos: the number of each video, whose hypotheses stand next to each other ``[A]``.
        penalty: what each word loses when words are chosen, not when they are paid ``[A V]``.
    """

    def likeliest(log_probs: Float[Tensor, "N V"]) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        if penalty is None:
            return top(log_probs, count)
        width = len(log_probs) // len(videos)
        choice = top((log_probs.unflatten(0, (-1, width)) - penalty[:, None]).flatten(0, 1), count)[1]
        return log_probs.gather(1, choice), choice

    rules.bar(log_probs, written)  # the tensor is ours, by the contract of `Decoder.step`
    value, choice = likeliest(log_probs)
    if not bool(value.isfinite().all()):
        return likeliest(rules.relax(log_probs, written, videos))
    return value.clamp(min=IMPOSSIBLE), choice
