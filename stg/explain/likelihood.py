"""How likely a decoder finds each word of a caption, so that gradients of it can be taken."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from decoders import Decoder, VideoMemory


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
