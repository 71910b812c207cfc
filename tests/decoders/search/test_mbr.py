"""The caption that most others agree with, against the definition with counters."""

from collections import Counter
from math import sqrt

import pytest
import torch

from decoders.search import mbr
from decoders.search.hypotheses import Hypotheses
from decoders.search.mbr import agreement, mbr_search
from decoders.search.sampling import sample_search
from tests.decoders.markov import EOS, PAD, random_tables, toy


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def slow_agreement(captions):
    """Of one video's captions, tuples of words, in double precision."""

    def grams(words, order):
        return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))

    def shared(one, other):
        parts = [(grams(one, order), grams(other, order)) for order in (1, 2, 3, 4)]
        return sum((a & b).total() / sqrt(a.total() * b.total()) for a, b in parts if a and b) / 4

    return [sum(shared(one, other) for other in captions) / len(captions) for one in captions]


@pytest.mark.parametrize("words", [2, 5])
@pytest.mark.parametrize("length", [1, 3, 9])
def test_agreement_is_that_of_counted_n_grams(words, length):
    """Few words, so that n-grams repeat within a caption; captions of no, one and all words."""
    ids = torch.randint(1, 1 + words, (3, 7, length), generator=seed(length))
    long = torch.randint(0, length + 1, (3, 7, 1), generator=seed(2))
    long[0, :2, 0] = torch.tensor([0, length])
    ids.masked_fill_(torch.arange(length) >= long, 0)
    want = [slow_agreement([tuple(w for w in row if w) for row in video]) for video in ids.tolist()]
    torch.testing.assert_close(agreement(ids, 0).double(), torch.tensor(want, dtype=torch.double), atol=1e-6, rtol=0)


def text(found, video, place):
    return tuple(w for w in found.words[video, place].tolist() if w not in (EOS, PAD))


def test_best_are_the_drawn_captions_that_agree_most():
    memory, cut = random_tables(4, 6), {"temperature": 1.3, "top_p": 0.95}
    drawn = sample_search(toy(6), memory, 12, 6, **cut, generator=seed(3))
    found = mbr_search(toy(6), memory, 12, 6, n_best=3, **cut, generator=seed(3))
    for video in range(4):
        captions = [text(drawn, video, place) for place in range(12)]
        scores = dict(zip(captions, slow_agreement(captions), strict=True))
        best = sorted(scores, key=lambda caption: -scores[caption])[:3]
        assert found.scores[video].tolist() == pytest.approx([scores[caption] for caption in best], abs=1e-6)
        for place in range(3):
            caption = text(found, video, place)
            assert scores[caption] == pytest.approx(scores[best[place]], abs=1e-6)
            row = captions.index(caption)
            assert found.log_probs[video, place] == drawn.log_probs[video, row]
            assert found.lengths[video, place] == drawn.lengths[video, row]


def drawing(monkeypatch, captions):
    """Let the drawn captions of one video be these."""
    longest = max(map(len, captions))
    words = torch.tensor([[[*caption, *[PAD] * (longest - len(caption))] for caption in captions]])
    numbers = -torch.arange(1.0, 1 + len(captions))[None]
    lengths = torch.tensor([list(map(len, captions))])
    monkeypatch.setattr(mbr, "sample_search", lambda *_, **__: Hypotheses(words, lengths, numbers, numbers))


def test_no_caption_comes_twice_while_there_are_others(monkeypatch):
    often, once = [4, 5, EOS], [4, 6, EOS]
    drawing(monkeypatch, [often, once, often, often])
    found = mbr_search(toy(6), random_tables(1, 6), 4, 6, n_best=3)
    assert [text(found, 0, place) for place in range(3)] == [(4, 5), (4, 6), (4, 5)]


def test_two_ways_to_say_one_thing_beat_the_likeliest(monkeypatch):
    drawing(monkeypatch, [[3, EOS], [3, EOS], [4, 5, 6, EOS], [4, 5, 7, EOS], [4, 5, 8, EOS]])
    assert text(mbr_search(toy(6), random_tables(1, 6), 5, 6), 0, 0) == (4, 5, 6)


@pytest.mark.parametrize("n_best", [0, 6])
def test_refuses_more_captions_than_are_drawn(n_best):
    with pytest.raises(ValueError, match=f"n_best={n_best} must lie in 1..samples=5"):
        mbr_search(toy(6), random_tables(1, 6), 5, 6, n_best=n_best)
