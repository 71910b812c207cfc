"""An ensemble keeps the promises of a decoder, and its probabilities are the mean of its members'."""

import pytest
import torch

from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.base import select_state
from decoders.ensemble import EnsembleDecoder, EnsembleMemory
from decoders.search.beam import beam_search
from decoders.search.diverse import diverse_beam_search
from decoders.search.greedy import greedy_search
from decoders.search.sampling import sample_search
from decoders.stats import STaTSDecoder
from decoders.transformer import TransformerDecoder
from tests.decoders.markov import BOS, PAD, captions_of, random_tables, toy

VOCABULARY = 11


def transformer(**settings):
    return sharp(TransformerDecoder(VOCABULARY, channels=16, heads=4, hidden=24, max_length=12, **settings))


def stats(**settings):
    return sharp(STaTSDecoder(VOCABULARY, 16, 12, 10, **settings))


def lstm(**settings):
    return sharp(AttentionLSTMDecoder(VOCABULARY, 8, 12, 14, "temporal", max_length=10, **settings))


def sharp(decoder):
    with torch.no_grad():
        decoder.output.weight.mul_(4)
    return decoder.eval()


@pytest.fixture
def mixed(make_memory):
    """Three kinds, one of which reads a narrower memory; and a nested ensemble."""
    wide, narrow = make_memory(), make_memory(channels=8, seed=4)
    inner = EnsembleDecoder([stats(), lstm()], [1.0, 3.0])
    decoder = EnsembleDecoder([transformer(), inner, lstm()])
    return decoder, EnsembleMemory([wide, EnsembleMemory([wide, narrow]), narrow])


def captions(rows, length=6):
    words = torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(5))
    words[:, 0] = BOS
    return words


def written(found):
    return [captions_of(words, lengths) for words, lengths in zip(found.words, found.lengths, strict=True)]


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0]])
def test_probabilities_are_the_weighted_mean(make_memory, weights):
    first, second, memory, words = transformer(), stats(), make_memory(), captions(3)
    parts = [decoder(words, memory).softmax(-1) for decoder in (first, second)]
    share = [0.5, 0.5] if weights is None else [1 / 3, 2 / 3]
    ensemble = EnsembleDecoder([first, second], weights)
    close(ensemble(words, memory).exp(), share[0] * parts[0] + share[1] * parts[1])
    close(ensemble(words, memory).exp().sum(-1), torch.ones(3, 6))


def test_stepping_several_hypotheses_of_a_video_equals_reading_all_words(mixed):
    decoder, memory = mixed
    words, video = captions(12), torch.arange(3).repeat_interleave(4)
    forced = decoder(words, memory, video)
    close(decoder.output(decoder.features(words, memory, video)), forced)
    state = select_state(decoder.init_state(memory), hypotheses=video)
    for position in range(6):
        log_probs, state = decoder.step(words[:, position], state)
        close(log_probs, forced[:, position])
    for name, value in state.items():
        assert value.shape[0] == (3 if name.startswith("memory.") else 12), name


def test_reordered_state_continues_the_reordered_captions(mixed):
    decoder, memory = mixed
    words = captions(6)
    state = select_state(decoder.init_state(memory), hypotheses=torch.tensor([0, 0, 1, 1, 2, 2]))
    for position in range(3):
        _, state = decoder.step(words[:, position], state)
    before = {name: value.clone() for name, value in state.items()}
    order, kept = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])
    log_probs, _ = decoder.step(words[order, 3], select_state(state, order, kept))
    close(log_probs, decoder(words[order], memory, torch.tensor([0, 0, 2, 2]))[:, 3])
    assert all(torch.equal(before[name], state[name]) for name in before)


def test_later_words_and_padding_change_nothing(mixed):
    decoder, memory = mixed
    words = captions(3)
    longer = torch.cat([words, torch.full((3, 3), PAD)], 1)
    close(decoder(longer, memory)[:, :6], decoder(words, memory))
    changed = words.clone()
    changed[:, 4] = (words[:, 4] - 2) % 8 + 3
    close(decoder(changed, memory)[:, :4], decoder(words, memory)[:, :4])


def test_a_batch_equals_its_members_in_every_search(mixed):
    decoder, memory = mixed

    def searches(memory):
        yield greedy_search(decoder, memory, 8)
        yield beam_search(decoder, memory, 3, 8, n_best=2)
        yield diverse_beam_search(decoder, memory, 4, 2, 1.0, 8, n_best=3)
        yield sample_search(decoder, memory, 2, 8, top_k=1)  # draws the likeliest

    together = [written(found) for found in searches(memory)]
    assert together[3] == [[*caption, *caption] for caption in together[0]]
    for video in range(3):
        alone = memory.select(torch.tensor([video]))
        assert [written(found)[0] for found in searches(alone)] == [found[video] for found in together]


@pytest.mark.parametrize("build", [transformer, stats])
def test_one_member_writes_its_own_captions(build, make_memory):
    memory, decoder = make_memory(), build()
    for given in (memory, EnsembleMemory([memory])):
        for search in (greedy_search, beam_search, diverse_beam_search):
            alone, same = (
                search(one, own, max_length=8) for one, own in ((decoder, memory), (EnsembleDecoder([decoder]), given))
            )
            assert written(alone) == written(same)
            assert torch.equal(alone.log_probs, same.log_probs)
    first, second = (
        sample_search(one, memory, 4, 8, generator=torch.Generator().manual_seed(1))
        for one in (decoder, EnsembleDecoder([decoder]))
    )
    assert torch.equal(first.words, second.words)


def test_a_beam_of_everything_finds_the_best_of_the_mean():
    """Two transition matrices: the caption that is best on average is the best of neither."""
    first, second = random_tables(1, 5, seed=1), random_tables(1, 5, seed=6)
    ensemble = EnsembleDecoder([toy(), toy()])
    found = beam_search(ensemble, EnsembleMemory([first, second]), 60, 4, n_best=10)
    mean = torch.stack([memory.frames[0].softmax(-1) for memory in (first, second)]).mean(0)
    alone = random_tables(1, 5)
    alone.frames[0] = mean.log()
    expected = beam_search(toy(), alone, 60, 4, n_best=10)
    assert written(found) == written(expected)
    close(found.scores, expected.scores)


def test_what_one_member_bars_or_cannot_read_binds_all(make_memory):
    first, second = transformer(), lstm()
    first.suppressed, second.suppressed = (3,), (5, 3)
    ensemble = EnsembleDecoder([first, second])
    assert (ensemble.suppressed, ensemble.max_length) == ((3, 5), 10)
    assert ensemble.reads == first.reads | second.reads
    assert ensemble.learns_from == first.learns_from | second.learns_from
    assert not ensemble.training
    assert EnsembleDecoder([first, stats().train()]).training
    assert EnsembleDecoder([stats()]).max_length is None


def test_an_impossible_word_of_one_member_is_possible_for_the_other():
    first, second = random_tables(2, 6, seed=1), random_tables(2, 6, seed=2)
    first.frames[:, :, 4] = -torch.inf
    ensemble = EnsembleDecoder([toy(6), toy(6)])
    log_probs, _ = ensemble.step(torch.tensor([BOS, BOS]), ensemble.init_state(EnsembleMemory([first, second])))
    close(log_probs[:, 4].exp(), second.frames[:, BOS].softmax(-1)[:, 4] / 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EnsembleDecoder([]), "an ensemble needs at least one decoder, got none"),
        (lambda: EnsembleDecoder([toy(5), toy(6)]), r"members of an ensemble must share vocabulary, got \[5, 6\]"),
        (lambda: EnsembleDecoder([stats(), stats(eos=3)]), r"members of an ensemble must share eos, got \[2, 3\]"),
        (lambda: EnsembleDecoder([stats(), stats(pad=3)]), r"members of an ensemble must share pad, got \[0, 3\]"),
        (lambda: EnsembleDecoder([stats(), stats(bos=3)]), r"members of an ensemble must share bos, got \[1, 3\]"),
        (lambda: EnsembleDecoder([toy()], [1.0, 2.0]), r"weights must be 1 finite numbers above 0, one a member; got"),
        (lambda: EnsembleDecoder([toy()], [0.0]), r"weights must be 1 finite numbers above 0.*got \[0.0\]"),
        (lambda: EnsembleMemory([]), "an ensemble reads at least one memory, got none"),
        (
            lambda: EnsembleMemory([random_tables(2, 5), random_tables(3, 5)]),
            r"the members' memories hold \[2, 3\] videos: give all of them the same videos",
        ),
        (
            lambda: EnsembleDecoder([toy(), toy()]).init_state(EnsembleMemory([random_tables(2, 5)])),
            "1 memories for 2 members: one a member is needed",
        ),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
