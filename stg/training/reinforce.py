"""Learning from rewards: REINFORCE on captions that the model draws itself (Rennie et al., 2017; MIXER, 2016)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from decoders import Decoder, greedy_search, policy_log_probs, sample_search
from stg.data.batches import CaptionBatch
from stg.models.captioner import Captioner
from stg.runtime.distributed import SINGLE, Ranks
from stg.training.losses import local_share
from stg.training.rewards import Pending, Rewards

Baseline = Literal["greedy", "leave_one_out"]


def reward_losses(
    model: Captioner,
    batch: CaptionBatch,
    rewards: Rewards,
    *,
    baseline: Baseline = "greedy",
    samples: int = 1,
    dropout: bool = False,
    max_length: int = 31,
    ranks: Ranks = SINGLE,
) -> dict[str, Tensor]:
    r"""The loss whose gradient is that of the expected reward (Williams, 1992), for the decoder that captions.

    .. math:: L = - \frac{1}{N \bar\ell} \sum_{n=1}^{N} (r(y_n) - b_n) \sum_t \log \pi(y_{n,t} \mid y_{n,<t})

    over ``N`` drawn captions, ``samples`` of each video. The end of a sentence is drawn, rewarded and learned like any
    word; pads are not. The mean length of the batch's *given* captions, :math:`\bar\ell`, brings the loss to the scale
    of the cross-entropy of a word without depending on what was drawn, so that the estimator stays unbiased. Captions
    are drawn without dropout: the policy is the model that captions at test time.

    Args:
        model: in any mode, which is kept.
        rewards: knows the videos of the batch.
        baseline: ``greedy``: the reward of the video's greedy caption (self-critical); ``leave_one_out``: the mean
            reward of the video's other samples.
        samples: captions drawn of each video.
        dropout: learn with it, as a model in training mode does. It keeps few videos from being memorised, but
            the captions were drawn without it: the gradient is then that of the expected reward only about.
        max_length: most words, eos included.
        ranks: the processes that have a part of the batch each; ``N`` and the mean length are those of the whole batch.

    Returns:
        ``reward_loss`` and, without gradients, the mean ``reward`` of the samples and of their ``baseline``; of several
        processes the summands, as in `stg.training.losses.captioning_losses`.
    """
    decoder, videos = model.decoder, list(dict.fromkeys(item.video for item in batch.items))
    with captioning_mode(model):
        memory = model.memory(batch.graphs)
        drawn = sample_search(decoder, memory, samples=samples, max_length=max_length).words
        drawn = drawn.flatten(0, 1)
        asked = rewards.start([video for video in videos for _ in range(samples)], _captions(drawn, decoder))
        compared = None
        if baseline == "greedy":
            written = greedy_search(decoder, memory, max_length=max_length).words[:, 0]
            compared = rewards.start(videos, _captions(written, decoder))
        # Samples of a video are neighbours: row i of the captions reads video i // samples.
        rows = torch.arange(len(videos), device=drawn.device).repeat_interleave(samples)
        if not dropout:
            log_probs = policy_log_probs(decoder, drawn, memory, rows)
    # Encoded again: the memory above was made without dropout.
    if dropout:
        log_probs = policy_log_probs(decoder, drawn, model.memory(batch.graphs), rows)
    # Waits for the rewards, which were computed while the log-probabilities were.
    gained, base = _rewards_of(asked, compared, samples, log_probs)
    given = torch.stack([batch.real.sum(), batch.real.new_tensor(len(batch.real), dtype=torch.int64)])
    # Divided by the mean length of the whole batch, so that the loss has the size of one per word.
    words, captions = ranks.all_reduce(given * 0 if batch.stand_in else given)
    loss = reinforce_loss(log_probs, (gained - base).flatten()) / (words / captions)
    means = {"reward_loss": loss, "reward": gained.mean(), "baseline": base.mean()}
    return local_share(means, dict.fromkeys(means, len(drawn)), ranks, stand_in=batch.stand_in)


def _rewards_of(
    asked: Pending, compared: Pending | None, samples: int, like: Tensor
) -> tuple[Float[Tensor, "B k"], Float[Tensor, "B k"]]:
    """The rewards of the samples and of what each is compared with, in the precision and on the device of ``like``."""
    # In single precision at most: not every device has more.
    gained = torch.from_numpy(asked.result()).to(like).unflatten(0, (-1, samples))
    if compared is None:
        return gained, leave_one_out(gained)
    return gained, torch.from_numpy(compared.result()).to(like)[:, None].expand_as(gained)


def reinforce_loss(log_probs: Float[Tensor, "N L"], advantage: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Minus the mean over captions of advantage times log-probability; no gradient flows into the advantage.

    Args:
        log_probs: of the drawn words, 0 at pads.
        advantage: how much better than its baseline each caption is.
    """
    return -(advantage.detach() * log_probs.sum(1)).mean()


def leave_one_out(rewards: Float[Tensor, "B k"]) -> Float[Tensor, "B k"]:
    """The mean reward of the other samples of the same video; two or more are needed."""
    if rewards.shape[1] < 2:
        raise ValueError(f"leave_one_out compares the samples of a video: draw 2 or more, got {rewards.shape[1]}")
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def mix_losses(losses: dict[str, Tensor], rewarded: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """``(1 - weight)`` times the loss on given captions and ``weight`` times the reward loss; all parts are kept."""
    return {**losses, **rewarded, "loss": (1 - weight) * losses["loss"] + weight * rewarded["reward_loss"]}


@contextmanager
def captioning_mode(model: Captioner) -> Iterator[None]:
    """The mode of captioning, without dropout, for the time of a block."""
    training = model.training
    model.eval()
    try:
        # CuDNN's recurrent layers refuse to learn in this mode; those of torch itself do not.
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        model.train(training)


def _captions(words: Tensor, decoder: Decoder) -> list[list[int]]:
    return [[word for word in row if word != decoder.pad] for row in words.tolist()]
