"""Samples against the probability of every caption there is."""

from collections import Counter

import pytest
import torch

from decoders.search import sampling
from decoders.search.rules import Rules
from decoders.search.sampling import draw, sample_search
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
    may_follow,
    random_tables,
    tables,
    toy,
)

SETTINGS = [
    {},
    {"temperature": 0.6},
    {"temperature": 2.5},
    {"top_k": 2},
    {"top_p": 0.7},
    {"top_k": 3, "top_p": 0.8, "temperature": 1.4},
    {"min_length": 2, "forbidden_endings": (A,)},
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2, "top_p": 0.9},
]


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def shares(row, allowed, temperature=1.0, top_k=0, top_p=1.0):
    """Probability of each word that may be drawn, from the definition."""
    ranked = sorted(allowed, key=lambda word: (-float(row[word]), word))
    weight = {word: float((row[word] / temperature).exp()) for word in ranked[: top_k or None]}
    whole, chosen, reached = sum(weight.values()), {}, 0.0
    for word, value in weight.items():
        if reached >= top_p:
            break
        chosen[word] = value / whole
        reached += value / whole
    return {word: value / reached for word, value in chosen.items()}


def chance_of(caption, table, max_length, cut, rules):
    log_probs, chance = table.log_softmax(-1), 1.0
    for place, word in enumerate(caption):
        allowed = may_follow(caption[:place], len(table), max_length, **rules) or [EOS]
        chance *= shares(log_probs[caption[place - 1] if place else BOS], allowed, **cut).get(word, 0.0)
    return chance


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_frequencies_are_the_probabilities_of_every_caption(settings):
    """Chi-square of each video within six deviations of its mean; what cannot be drawn never is."""
    memory, samples, length = random_tables(2, 6, seed=3), 4000, 4
    memory.frames.mul_(0.5)
    cut = {name: value for name, value in settings.items() if name in ("temperature", "top_k", "top_p")}
    rules = {name: value for name, value in settings.items() if name not in cut}
    found = sample_search(toy(6), memory, samples, length, generator=seed(1), **cut, rules=Rules(**rules))
    for video in range(2):
        table = memory.frames[video]
        known = dict(every_end(table, length, **rules))
        expected = {caption: chance_of(caption, table, length, cut, rules) for caption in known}
        assert sum(expected.values()) == pytest.approx(1.0)
        drawn = captions_of(found.words[video], found.lengths[video])
        count = Counter(drawn)
        assert all(expected[caption] > 0 for caption in count)
        often = [caption for caption in expected if expected[caption] * samples >= 5]
        rest = 1 - sum(expected[caption] for caption in often)
        cells = [(count[caption], expected[caption] * samples) for caption in often]
        if rest * samples >= 5:
            cells.append((samples - sum(count[caption] for caption in often), rest * samples))
        square = sum((seen - mean) ** 2 / mean for seen, mean in cells)
        freedom = max(len(cells) - 1, 1)
        assert abs(square - freedom) < 6 * (2 * freedom) ** 0.5
        assert found.log_probs[video].tolist() == pytest.approx([known[caption] for caption in drawn], abs=1e-9)
    assert torch.equal(found.scores, found.log_probs)


@pytest.mark.parametrize(
    "cut", [{"top_k": 1}, {"top_k": 3}, {"top_p": 1e-9}, {"top_p": 0.5}, {"top_k": 4, "top_p": 0.9}]
)
def test_the_support_is_exactly_what_the_cut_leaves(cut):
    log_probs = random_tables(1, 8, seed=5).frames[0].log_softmax(-1)
    log_probs[2, 3:6] = log_probs[2, 3]  # a tie across the edge
    log_probs[3, 2:] = NEVER
    words = draw(log_probs.repeat_interleave(3000, 0), **cut, generator=seed(2)).view(8, -1)
    for row in range(8):
        assert set(words[row].tolist()) == set(shares(log_probs[row], range(8), **cut)) - (
            {*range(2, 8)} if row == 3 else set()
        )


def test_a_seed_repeats_and_another_does_not():
    memory = random_tables(3, 7)
    first, again, other = (sample_search(toy(7), memory, 5, 6, generator=seed(number)).words for number in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_what_has_ended_leaves_the_batch():
    """Video 0 ends after one word, 1 after two, 2 never: none keeps a row for the others."""
    once = chances(bos={A: 1.0}, a={EOS: 1.0}, b={EOS: 1.0})
    twice = chances(bos={A: 1.0}, a={B: 1.0}, b={EOS: 1.0})
    never = chances(bos={A: 1.0}, a={B: 1.0}, b={A: 1.0})
    decoder = toy()
    found = sample_search(decoder, tables(once, twice, never), 2, 5)
    assert decoder.rows == [6, 6, 4, 2, 2]
    assert found.words[:, 1].tolist() == [[A, EOS, PAD, PAD, PAD], [A, B, EOS, PAD, PAD], [A, B, A, B, A]]
    assert found.lengths.tolist() == [[2, 2], [3, 3], [5, 5]]


def test_captions_of_one_video_that_end_apart_keep_their_own_words():
    """Half end at each word: rows are dropped in the middle, and each total is that of its own words."""
    memory = random_tables(6, 9, seed=8)
    memory.frames[:, :, EOS] += 2
    decoder = toy(9)
    found = sample_search(decoder, memory, 7, 9, generator=seed(4))
    assert decoder.rows[0] == 42 > decoder.rows[3] > decoder.rows[-1]
    for video in range(6):
        log_probs = memory.frames[video].log_softmax(-1)
        for caption, total in zip(
            captions_of(found.words[video], found.lengths[video]), found.log_probs[video].tolist(), strict=True
        ):
            assert caption.index(EOS) == len(caption) - 1 if EOS in caption else len(caption) == 9
            steps = zip((BOS, *caption), caption, strict=False)
            assert sum(float(log_probs[i, j]) for i, j in steps) == pytest.approx(total)


def test_a_decoder_that_allows_no_word_is_sampled_all_the_same():
    table = torch.full((5, 5), NEVER)
    table[:, PAD] = 0.0
    found = sample_search(toy(), tables(table, torch.zeros(5, 5)), 3, 4, generator=seed(0))
    assert found.log_probs.isfinite().all()
    assert (found.log_probs[0] <= -1e4).all()
    assert (found.log_probs[1] > -10).all()


def test_every_word_barred_ends_at_once():
    decoder = toy(5)
    decoder.suppressed = (A, B)
    found = sample_search(decoder, random_tables(2, 5), 3, 4)
    assert found.words.tolist() == [[[EOS]] * 3] * 2
    assert found.log_probs.tolist() == [[-1e4] * 3] * 2


def test_samples_enter_autograd_and_half_precision_is_summed_in_single():
    memory = random_tables(2, 6)
    memory.frames.requires_grad_()
    found = sample_search(toy(6), memory, 2, 4)
    assert not found.words.is_inference()
    assert not found.log_probs.requires_grad
    assert sample_search(toy(6), random_tables(2, 6).to(torch.bfloat16), 2, 4).log_probs.dtype == torch.float32


def test_nan_is_an_error_that_names_the_video():
    memory = random_tables(4, 5)
    memory.frames[2] = torch.nan
    with pytest.raises(ValueError, match="the decoder predicts NaN for word 1 of video 2"):
        sample_search(toy(), memory, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples=0 must be at least 1"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0 and finite"),
        ({"temperature": float("nan")}, "temperature=nan must be above 0"),
        ({"top_k": -1}, "top_k=-1 must be 0"),
        ({"top_p": 0.0}, "top_p=0.0 must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p=1.5 must be above 0 and at most 1"),
        ({"rules": Rules(min_length=9)}, "min_length=9 must lie between 1 and max_length=8"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_search(toy(), random_tables(1, 5), **{"max_length": 8, **arguments})


def test_a_generator_elsewhere_is_refused():
    class Elsewhere(torch.Generator):
        device = torch.device("meta")

    with pytest.raises(ValueError, match="the generator is on meta, the memory on cpu: make the generator on"):
        sample_search(toy(), random_tables(1, 5), generator=Elsewhere())


def test_very_many_samples_are_drawn_in_turn(monkeypatch):
    decoder, memory = toy(6), random_tables(2, 6, seed=3)
    rows = []

    def step(word, state, inner=decoder.step):
        rows.append(len(word))
        return inner(word, state)

    monkeypatch.setattr(decoder, "step", step)
    whole = sample_search(decoder, memory, 40, 4, generator=seed(5))
    assert max(rows) == 80
    one_video = 12 * decoder.vocabulary + 4 * 4 * decoder.channels
    monkeypatch.setattr(sampling, "MOST_NUMBERS", one_video * 2 * 7)  # seven captions of two videos
    rows.clear()
    turns, generator = sample_search(decoder, memory, 40, 4, generator=seed(5)), seed(5)
    assert max(rows) == 14
    assert turns.words.shape[:2] == whole.words.shape[:2] == turns.scores.shape == turns.lengths.shape
    parts = [sample_search(decoder, memory, count, 4, generator=generator) for count in (7, 7, 7, 7, 7, 5)]
    for video in range(2):
        expected = [each for part in parts for each in captions_of(part.words[video], part.lengths[video])]
        assert captions_of(turns.words[video], turns.lengths[video]) == expected
    assert torch.equal(turns.log_probs, torch.cat([part.log_probs for part in parts], 1))
