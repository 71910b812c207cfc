"""How likely a decoder finds each word of a caption, so that gradients of it can be taken."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from decoders import Decoder, VideoMemory
from stg.data.batches import pad_words


@contextmanager
def input_gradients(network: nn.Module) -> Iterator[None]:
    """Gradients of the inputs of a network, also below ``inference_mode``: no dropout, none kept for the weights.

    Afterwards the network is as it was. Tensors that were made in inference mode have to be cloned in here.
    """
    # Kept part by part: a caller may have frozen some of them.
    modes = [(part, part.training) for part in network.modules()]
    learned = [(weight, weight.requires_grad) for weight in network.parameters()]
    # cuDNN's recurrent layers give gradients in training mode only.
    without_cudnn = torch.backends.cudnn.flags(enabled=False)
    try:
        with torch.inference_mode(False), torch.enable_grad(), without_cudnn:
            network.eval().requires_grad_(False)
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        for weight, learns in learned:
            weight.requires_grad_(learns)


def word_log_probs(decoder: Decoder, memory: VideoMemory, words: Sequence[int]) -> Float[Tensor, " L1"]:
    """Log-probability of each word of a caption of one video, and last that it ends there, given the words before.

    Args:
        decoder: in evaluation mode.
        memory: of one video.
        words: ids, without the first and the last special word.
    """
    text = torch.tensor([[decoder.bos, *words, decoder.eos]], device=decoder.output.weight.device)
    log_probs = decoder(text[:, :-1], memory).log_softmax(-1)
    return log_probs.gather(-1, text[:, 1:, None])[0, :, 0]


def caption_log_probs(
    decoder: Decoder, memory: VideoMemory, captions: Sequence[Sequence[int]], video: Sequence[int] | None = None
) -> Float[Tensor, " W"]:
    """Log-probability of each of several captions as a whole, its end included: the sum of its `word_log_probs`.

    All captions are read in one pass.

    Args:
        decoder: in evaluation mode.
        memory: of one video or more.
        captions: ids, without the first and the last special word.
        video: the row of the memory that each caption is of; default: the first.
    """
    device = decoder.output.weight.device
    words, targets, real = (
        part.to(device) for part in pad_words([[decoder.bos, *words, decoder.eos] for words in captions])
    )
    rows = torch.tensor(video or [0] * len(captions), device=device)
    log_probs = decoder(words, memory, rows).log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    # Not by a product: what a decoder says at a pad may be anything.
    return log_probs.masked_fill(~real, 0.0).sum(1)
