"""The loop over words that recurrent decoders share, and scheduled sampling."""

from dataclasses import replace

import pytest
import torch

from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.stats import STaTSDecoder
from decoders.transformer import TransformerDecoder

VOCABULARY, CHANNELS, PAD, BOS, EOS = 11, 6, 0, 1, 2


@pytest.fixture
def decoder() -> AttentionLSTMDecoder:
    decoder = AttentionLSTMDecoder(VOCABULARY, CHANNELS, embedding=5, attention=4).eval()
    with torch.no_grad():
        decoder.output.weight.mul_(6)  # far from uniform, so that what was read shows in what is predicted
    return decoder


@pytest.fixture
def memory(make_memory):
    return make_memory(channels=CHANNELS)


def captions(rows: int, length: int) -> torch.Tensor:
    words = torch.randint(3, VOCABULARY, (rows, length))
    words[:, 0] = BOS
    return words


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def marked(decoder: AttentionLSTMDecoder, rows: int, length: int) -> torch.Tensor:
    """Captions of one word that the decoder itself never writes: where it reads another, that is its own."""
    with torch.no_grad():
        decoder.output.bias[3] = -1e6
    words = torch.full((rows, length), 3)
    words[:, 0] = BOS
    return words


def test_read_words_equals_read_word_by_word(decoder, memory):
    words = captions(3, 6)
    together, state = decoder.read_words(words), decoder.init_state(memory)
    for position in range(6):
        read, state = decoder.read_word(words[:, position], state)
        close(read, together[:, position])
        _, state, _ = decoder.recur(read, state)


def test_taught_without_own_words_are_the_features(decoder, memory):
    words, video = captions(4, 6), torch.tensor([2, 0, 0, 1])
    taught = decoder.forward_train(words, memory, video)
    close(taught.features, decoder.features(words, memory, video))
    assert torch.equal(taught.words, words)
    assert taught.losses == {}


@torch.no_grad()
def test_all_own_words_at_their_likeliest_are_the_greedy_continuation(decoder, memory):
    words, video = captions(4, 7), torch.tensor([2, 0, 1, 1])
    taught = decoder.forward_train(words, memory, video, own_words=1.0, pick="argmax")
    written = words[:, :1]
    for _ in range(6):
        logits = decoder(written, memory, video)[:, -1]
        logits[:, [PAD, BOS]] = -torch.inf
        written = torch.cat([written, logits.argmax(1, keepdim=True)], 1)
    assert torch.equal(taught.words, written)
    assert not torch.equal(taught.words, words)
    close(taught.features, decoder.features(written, memory, video))


@pytest.mark.parametrize("pick", ["sample", "argmax"])
def test_features_and_gradients_are_those_of_the_words_that_were_read(decoder, make_memory, pick):
    memory, words = make_memory(videos=8, channels=CHANNELS), captions(8, 6)
    frames = memory.frames.requires_grad_()
    taught = decoder.forward_train(words, memory, own_words=0.5, pick=pick)
    assert 0 < (taught.words != words).sum() < 40
    inputs = [frames, *decoder.parameters()]
    gradients = torch.autograd.grad(decoder.output(taught.features).square().sum(), inputs)
    expected = torch.autograd.grad(decoder(taught.words, memory).square().sum(), inputs)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)
    assert gradients[0].any()


def test_each_word_is_drawn_for_itself(decoder, make_memory):
    memory, rows, length, share = make_memory(videos=1, channels=CHANNELS), 3000, 8, 0.3
    words = marked(decoder, rows, length)
    given, video = words.clone(), torch.zeros(rows, dtype=torch.int64)
    own = decoder.forward_train(words, memory, video, own_words=share).words != words
    assert torch.equal(words, given), "the targets are left alone"
    assert not own[:, 0].any(), "bos is always given"
    own = own[:, 1:].double()
    assert own.mean(0).sub(share).abs().max() < 0.04, "at every place"
    assert (own[:, 1:] * own[:, :-1]).mean() == pytest.approx(share**2, abs=0.015), "whatever the word before"
    mixed = (own.sum(1) > 0) & (own.sum(1) < length - 1)
    assert mixed.double().mean() == pytest.approx(1 - 0.7**7 - 0.3**7, abs=0.03), "within a caption"


def test_own_words_follow_the_decoders_distribution(decoder, make_memory):
    memory, rows = make_memory(videos=1, channels=CHANNELS), 20000
    words, video = torch.full((rows, 2), BOS), torch.zeros(rows, dtype=torch.int64)
    drawn = decoder.forward_train(words, memory, video, own_words=1.0).words[:, 1]
    logits = decoder(torch.tensor([[BOS]]), memory)[0, 0].detach()
    logits[[PAD, BOS]] = -torch.inf
    frequency = drawn.bincount(minlength=VOCABULARY) / rows
    assert (frequency - logits.softmax(0)).abs().max() < 0.015


@pytest.mark.parametrize("pick", ["sample", "argmax"])
def test_pad_bos_and_barred_words_are_never_its_own(decoder, memory, pick):
    decoder.suppressed = (5,)
    with torch.no_grad():
        decoder.output.bias[[PAD, BOS, 5]] = 1e3
    taught = decoder.forward_train(captions(3, 9), memory, own_words=1.0, pick=pick)
    assert not torch.isin(taught.words[:, 1:], torch.tensor([PAD, BOS, 5])).any()


def test_the_same_seed_draws_the_same_words(decoder, memory):
    words, read = captions(3, 9), []
    for seed in (4, 4, 5):
        torch.manual_seed(seed)
        read.append(decoder.forward_train(words, memory, own_words=0.5).words)
    assert torch.equal(read[0], read[1])
    assert not torch.equal(read[0], read[2])


def test_words_of_another_integer_type_are_read_too(decoder, memory):
    taught = decoder.forward_train(captions(3, 9).int(), memory, own_words=0.5)
    assert taught.words.dtype == torch.int32


@pytest.mark.parametrize("pick", ["sample", "argmax"])
@pytest.mark.parametrize("visual", [None, "input", "output"])
def test_a_video_of_nan_reads_legal_words_and_reaches_the_loss(memory, visual, pick):
    if visual is None:
        decoder = AttentionLSTMDecoder(VOCABULARY, CHANNELS, embedding=5, attention=4)
    else:
        decoder = STaTSDecoder(VOCABULARY, CHANNELS, embedding=5, attention=4, visual=visual)
    decoder.eval().suppressed = (5,)
    words, frames = marked(decoder, 3, 40), memory.frames.clone()
    frames[1, 2, 3] = torch.nan
    taught = decoder.forward_train(words, replace(memory, frames=frames), own_words=1.0, pick=pick)
    assert not set(taught.words[:, 1:].flatten().tolist()) & {PAD, BOS, 5}
    assert taught.features[1].isnan().any()
    assert taught.features[[0, 2]].isfinite().all()
    assert all(loss.isnan() for loss in taught.losses.values())


class Counting(AttentionLSTMDecoder):
    """Has a loss of its own: how much real predictions look at the first frame, by video."""

    def losses(self, trace, state, real):
        return {"first": (trace["attention"][:, :, 0] * real).sum(), "rows": torch.tensor(len(state["memory.keys"]))}


@pytest.mark.parametrize("own_words", [0.0, 0.5])
def test_losses_come_from_what_was_looked_at_where_it_counts(memory, own_words):
    decoder = Counting(VOCABULARY, CHANNELS, embedding=5, attention=4).eval()
    words, video = captions(5, 6), torch.tensor([0, 1, 2, 2, 2])
    real = torch.rand(5, 6) < 0.5
    for given in (real, None):
        taught = decoder.forward_train(words, memory, video, real=given, own_words=own_words)
        looked = decoder.attention(taught.words, memory, video)["attention"]
        assert looked.shape == (5, 6, 5)
        close(taught.losses["first"], looked[:, :, 0][real if given is not None else ...].sum())
        assert taught.losses["rows"] == 5, "a row of the memory a caption"


@pytest.mark.parametrize("own_words", [-0.1, 1.5])
def test_what_is_no_probability_is_named(decoder, memory, own_words):
    with pytest.raises(ValueError, match=rf"own_words is a probability and must lie in 0..1; got {own_words}"):
        decoder.forward_train(captions(3, 4), memory, own_words=own_words)


def test_a_decoder_that_reads_all_words_at_once_has_no_own_words(memory):
    transformer = TransformerDecoder(VOCABULARY, CHANNELS, heads=2, hidden=8).eval()
    words = captions(3, 4)
    close(transformer.forward_train(words, memory).features, transformer.features(words, memory))
    with pytest.raises(ValueError, match="TransformerDecoder reads all words at once and cannot continue from its own"):
        transformer.forward_train(words, memory, own_words=0.1)
