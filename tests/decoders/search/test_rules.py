"""Every search obeys every rule: against the enumerated captions that do, and with every kind of decoder."""

import pytest
import torch

from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.base import Decoder
from decoders.ensemble import EnsembleDecoder
from decoders.search.beam import beam_search
from decoders.search.diverse import diverse_beam_search
from decoders.search.greedy import greedy_search
from decoders.search.hypotheses import Hypotheses
from decoders.search.rules import Rules
from decoders.search.sampling import sample_search
from decoders.stats import STaTSDecoder
from decoders.transformer import TransformerDecoder
from tests.decoders.markov import (
    BOS,
    EOS,
    NEVER,
    PAD,
    A,
    B,
    captions_of,
    chances,
    every_end,
    everything,
    may_follow,
    random_tables,
    tables,
    toy,
)

SEARCHES = {
    "greedy": lambda *arguments, **rules: greedy_search(*arguments, rules=Rules(**rules)),
    "beam": lambda *arguments, **rules: beam_search(*arguments[:2], 4, arguments[2], n_best=3, rules=Rules(**rules)),
    "diverse": lambda *arguments, **rules: diverse_beam_search(
        *arguments[:2], 4, 2, 0.5, arguments[2], n_best=3, rules=Rules(**rules)
    ),
    "sample": lambda *arguments, **rules: sample_search(*arguments[:2], 5, arguments[2], rules=Rules(**rules)),
}
RULES = [
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3},
    {"forbidden_endings": (3,)},
    {"forbidden_endings": (3, 5), "min_length": 3},
    {"forbidden_endings": (4,), "no_repeat_ngram": 2, "min_length": 2},
]
LENGTH = 5


def obeys(caption, no_repeat_ngram=0, forbidden_endings=(), min_length=1):
    """Of the caption as a whole, whatever the order in which it was written."""
    words = [word for word in caption if word != EOS]
    grams = [tuple(words[i : i + no_repeat_ngram]) for i in range(len(words) - no_repeat_ngram + 1)]
    repeats = no_repeat_ngram > 0 and len(set(grams)) < len(grams)
    return len(words) >= min_length and not repeats and words[-1] not in forbidden_endings


def obedient(table, rules):
    """Captions that obey, best first, of all that there are."""
    every = [(score, tuple(caption)) for score, caption in everything(table, LENGTH, 0.0)]
    return [(score, caption) for score, caption in every if obeys(caption, **rules)]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_a_beam_of_everything_finds_the_captions_that_obey(rules):
    memory = random_tables(3, 6, seed=7)
    beam = len(everything(memory.frames[0], LENGTH, 0.0))
    count = min(10, len(obedient(memory.frames[0], rules)))
    found = beam_search(toy(6), memory, beam, LENGTH, 0.0, count, rules=Rules(**rules))
    for video in range(3):
        known = {caption: score for score, caption in obedient(memory.frames[video], rules)}
        captions = captions_of(found.words[video], found.lengths[video])
        assert len(set(captions)) == count
        assert [known[caption] for caption in captions] == pytest.approx(found.log_probs[video].tolist())
        assert found.scores[video].tolist() == pytest.approx(sorted(known.values(), reverse=True)[:count])


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_greedy_and_a_beam_of_one_take_the_likeliest_word_that_is_allowed(rules):
    memory = random_tables(40, 6, seed=9)
    memory.frames[:, :, EOS] += 0.7
    found, one = (
        search(toy(6), memory, *beam, LENGTH, rules=Rules(**rules))
        for search, beam in ((greedy_search, ()), (beam_search, (1,)))
    )
    for video in range(40):
        log_probs, words, total = memory.frames[video].log_softmax(-1), [], 0.0
        while len(words) < LENGTH and EOS not in words:
            row = log_probs[words[-1] if words else BOS]
            words.append(max(may_follow(words, 6, LENGTH, **rules), key=lambda word: float(row[word])))
            total += float(row[words[-1]])
        assert captions_of(found.words[video], found.lengths[video]) == [tuple(words)]
        assert captions_of(one.words[video], one.lengths[video]) == [tuple(words)]
        assert found.log_probs[video, 0].item() == pytest.approx(total)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_no_caption_of_any_search_breaks_a_rule_that_it_would_love_to(search, rules):
    """Repeats, forbidden words and early ends are made the likeliest; the last word is often one that is cut."""
    memory = random_tables(12, 9, seed=3)
    for word in (3, 5, EOS):
        memory.frames[:, :, word] += 3
    memory.frames.add_(4 * torch.eye(9))
    found = SEARCHES[search](toy(9), memory, 6, **rules)
    free = SEARCHES[search](toy(9), memory, 6)
    assert all(obeys(caption, **rules) for caption in every_caption(found))
    assert not all(obeys(caption, **rules) for caption in every_caption(free)), "or the test shows nothing"


DECODERS = {
    "transformer": lambda: TransformerDecoder(11, channels=16, heads=4, hidden=24, max_length=12),
    "attention-lstm": lambda: AttentionLSTMDecoder(11, 16, 12, 14, "temporal", max_length=12),
    "stats": lambda: STaTSDecoder(11, 16, 12, 10),
    "ensemble": lambda: EnsembleDecoder([DECODERS["transformer"](), DECODERS["stats"]()]),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rules", RULES[1::2], ids=str)
def test_every_decoder_obeys_in_every_search(name, search, rules, make_memory):
    decoder = DECODERS[name]().eval()
    decoder.suppressed = (6,)
    found = SEARCHES[search](decoder, make_memory(), 8, **rules)
    captions = every_caption(found)
    assert all(obeys(caption, **rules) for caption in captions)
    assert not any(word in (PAD, BOS, 6) for caption in captions for word in caption)
    assert found.log_probs.isfinite().all()
    for video, words in enumerate(found.words):
        total = log_prob_of(decoder, words, found.lengths[video], make_memory(), video)
        torch.testing.assert_close(found.log_probs[video], total, rtol=0, atol=1e-8)


@pytest.mark.parametrize("search", SEARCHES)
def test_where_nothing_is_left_the_caption_ends_hopeless_but_finite(search):
    """Two words, none of them twice: after both there is no way on before eos may come."""
    options = {"no_repeat_ngram": 1, "min_length": 3}
    memory = tables(chances(bos={A: 0.5, B: 0.5}, a={B: 0.5, EOS: 0.5}, b={A: 0.5, EOS: 0.5}))
    if search in ("beam", "diverse"):
        found = beam_search(toy(), memory, 2, 5, n_best=2, rules=Rules(**options))
        assert len(list(every_end(memory.frames[0], 5, **options))) == 2
    else:
        found = SEARCHES[search](toy(), memory, 5, **options)
    for caption, total in zip(every_caption(found), found.log_probs.flatten().tolist(), strict=True):
        assert caption in ((A, B, EOS), (B, A, EOS))
        assert total == pytest.approx(-1e4 - 2 * 0.6931471805599453)


@pytest.mark.parametrize("search", [greedy_search, beam_search, diverse_beam_search, sample_search])
def test_every_word_barred_is_an_empty_caption(search):
    decoder = toy(5)
    decoder.suppressed = (A, B)
    found = search(decoder, random_tables(2, 5), max_length=4)
    assert found.words.tolist() == [[[EOS]]] * 2
    assert found.log_probs.tolist() == found.scores.tolist() == [[-1e4]] * 2


def test_a_way_on_that_the_decoder_never_takes_is_better_than_a_broken_rule():
    """After a only eos is predicted, but a may not end: the caption goes on with what is impossible, and says so."""
    memory = tables(chances(bos={A: 1.0}, a={EOS: 1.0}, b={EOS: 1.0}))
    found = greedy_search(toy(), memory, 4, rules=Rules(forbidden_endings=(A,)))
    assert found.words[0, 0, -2:].tolist() != [A, EOS]
    assert found.words[0, 0, -1] != A
    assert NEVER < found.log_probs[0, 0].item() <= -1e4


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1 must be 0"),
        ({"forbidden_endings": (5,)}, "forbidden_endings holds 5, which is no word of the vocabulary"),
        ({"forbidden_endings": (3, -1)}, "forbidden_endings holds -1, which is no word"),
        ({"forbidden_endings": [EOS]}, "forbidden_endings holds 2, which is no word"),
    ],
)
@pytest.mark.parametrize("search", [greedy_search, beam_search, diverse_beam_search, sample_search])
def test_wrong_rules_are_named(search, rules, message):
    with pytest.raises(ValueError, match=message):
        search(toy(), random_tables(1, 5), max_length=8, rules=Rules(**rules))


def every_caption(found: Hypotheses) -> list[tuple[int, ...]]:
    return captions_of(found.words.flatten(0, 1), found.lengths.flatten())


def log_prob_of(decoder: Decoder, words, lengths, memory, video):
    """What reading each caption of a video at once says of it."""
    read = torch.cat([torch.full_like(words[:, :1], BOS), words[:, :-1]], 1)
    log_probs = decoder(read, memory, torch.full((len(words),), video)).log_softmax(-1)
    real = torch.arange(words.shape[1]) < lengths[:, None]
    return log_probs.gather(2, words[..., None])[..., 0].masked_fill(~real, 0.0).sum(1).detach()
