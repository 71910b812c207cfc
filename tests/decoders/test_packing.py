"""Learning on packed words equals learning on padded ones, in features and gradients."""

import pytest
import torch

from decoders.packing import Packing
from decoders.transformer import TransformerDecoder

WORDS, CHANNELS = 11, 16
LENGTHS = [6, 2, 0, 7, 1]
VIDEO = torch.tensor([0, 1, 1, 2, 0])


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def real_words() -> torch.Tensor:
    """Five captions of unlike lengths, one of which does not count at all."""
    return torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def with_holes() -> torch.Tensor:
    """Predictions that do not count in the midst of captions, which later words read all the same."""
    return real_words() & (torch.rand(len(LENGTHS), max(LENGTHS)) < 0.5)


def test_packing_keeps_what_a_real_position_reads() -> None:
    real = torch.tensor([[True, False, True, False], [False, False, False, False], [False, True, False, False]])
    packing = Packing.of(real)
    assert packing is not None
    assert packing.rows.tolist() == [0, 1, 2, 8, 9]
    padded = torch.randn(3, 4, 5)
    packed = packing.pack(padded)
    assert torch.equal(packed, torch.cat([padded[0, :3], padded[2, :2]])[None])
    back = packing.unpack(packed)
    assert torch.equal(back[0, :3], padded[0, :3])
    assert torch.equal(back[2, :2], padded[2, :2])
    assert not back[0, 3].any()
    assert not back[1].any()


def test_captions_without_padding_are_left_as_they_are() -> None:
    assert Packing.of(torch.tensor([[False, True], [True, True]])) is None


@pytest.mark.parametrize("marks", [real_words, with_holes], ids=["prefixes", "holes"])
@pytest.mark.parametrize("fusion", [None, "add", "attentive"])
def test_features_and_gradients_equal_those_of_padded_words(make_memory, marks, fusion) -> None:
    decoder = TransformerDecoder(WORDS, CHANNELS, heads=4, hidden=24, max_length=12, fusion=fusion, dropout=0.0)
    for name, weight in decoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.3)
    memory, real = make_memory(), marks()
    words = torch.randint(3, WORDS, real.shape).masked_fill(~real_words(), 0)
    inputs = [memory.frames.requires_grad_(), memory.motion.requires_grad_(), *decoder.parameters()]

    def gradients(features: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        loss = torch.nn.functional.cross_entropy(decoder.output(features[real]), words.roll(-1, 1)[real])
        return torch.autograd.grad(loss, inputs, allow_unused=True)

    packed, padded = (
        decoder.forward_train(words, memory, VIDEO, real=real).features,
        decoder.features(words, memory, VIDEO),
    )
    close(packed[real], padded[real])
    for found, expected in zip(gradients(packed), gradients(padded), strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            close(found, expected)


def test_only_words_reach_the_feed_forward_layers(make_memory) -> None:
    decoder, real = TransformerDecoder(WORDS, CHANNELS, heads=4, hidden=24, num_encoder_layers=0), real_words()
    seen = []
    for layer in decoder.layers:
        for part in (layer.feed_forward, layer.attention.query, layer.view_attention["frames"].output):
            part.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:-1].numel()))
    decoder.forward_train(torch.full(real.shape, 3), make_memory(), VIDEO, real=real)
    assert seen == 6 * [sum(LENGTHS)]


def test_nothing_that_counts_gives_zeros_and_finite_gradients(make_memory) -> None:
    decoder, real = TransformerDecoder(WORDS, CHANNELS, heads=4, hidden=24), torch.zeros(3, 5, dtype=torch.bool)
    features = decoder.forward_train(torch.full((3, 5), 3), make_memory(), real=real).features
    assert features.shape == (3, 5, CHANNELS)
    assert not features.any()
    features.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in decoder.parameters())
