"""Diverse beam search against the loop of the paper, in lists."""

import pytest
import torch

from decoders.search.beam import beam_search
from decoders.search.diverse import diverse_beam_search
from decoders.search.rules import Rules
from tests.decoders.markov import (
    BOS,
    EOS,
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


def slow(table, beam, groups, diversity, max_length, alpha, **rules):
    """Every caption that the groups find, best score first; nothing stops early."""
    log_probs, width = table.log_softmax(-1), beam // groups
    live, found, ended = [[(0.0, ())] for _ in range(groups)], [], [0] * groups
    for position in range(max_length):
        chosen = []
        for group in range(groups):
            grown = []
            for total, words in live[group]:
                last = words[-1] if words else BOS
                for word in may_follow(words, len(table), max_length, **rules):
                    real = total + float(log_probs[last, word])
                    grown.append((real - diversity * chosen.count(word), real, (*words, word)))
            best = sorted(grown, key=lambda item: -item[0])[: width - ended[group]]
            live[group] = []
            now = []
            for _, real, words in best:
                now.append(words[-1])
                if words[-1] == EOS or position + 1 == max_length:
                    found.append((real / len(words) ** alpha, words))
                    ended[group] += 1
                else:
                    live[group].append((real, words))
            chosen += now
    return sorted(found, key=lambda item: -item[0])


@pytest.mark.parametrize("rules", [{}, {"no_repeat_ngram": 2, "forbidden_endings": (4,), "min_length": 2}], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize(("beam", "groups"), [(6, 3), (6, 2), (4, 4), (5, 1)])
@pytest.mark.parametrize("diversity", [0.0, 0.4, 3.0])
def test_equals_the_loop_of_the_paper(beam, groups, diversity, alpha, rules):
    memory = random_tables(8, 8, seed=beam)
    memory.frames[:, :, EOS] += 1.0
    for n_best in (1, beam):
        found = diverse_beam_search(toy(8), memory, beam, groups, diversity, 6, alpha, n_best, rules=Rules(**rules))
        for video in range(8):
            expected = slow(memory.frames[video], beam, groups, diversity, 6, alpha, **rules)[:n_best]
            assert found.scores[video].tolist() == pytest.approx([score for score, _ in expected], abs=1e-12)
            assert sorted(captions_of(found.words[video], found.lengths[video])) == sorted(item[1] for item in expected)


@pytest.mark.parametrize("n_best", [1, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_one_group_is_beam_search(n_best, alpha):
    memory = random_tables(6, 9, seed=2)
    first, second = toy(9), toy(9)
    plain = beam_search(first, memory, 4, 7, alpha, n_best)
    grouped = diverse_beam_search(second, memory, 4, 1, 2.0, 7, alpha, n_best)
    for name in ("words", "lengths", "scores", "log_probs"):
        assert torch.equal(getattr(plain, name), getattr(grouped, name)), name
    assert first.rows == second.rows


def test_the_second_group_avoids_the_first_and_is_paid_in_full():
    # a (0.6) and b (0.4) both end surely; log 0.6 - log 0.4 = 0.405, so a penalty of 0.5 turns the second group.
    memory = tables(chances(bos={A: 0.6, B: 0.4}, a={EOS: 1.0}, b={EOS: 1.0}))
    for diversity, second, chance in ((0.5, B, 0.4), (0.4, A, 0.6)):
        found = diverse_beam_search(toy(), memory, 2, 2, diversity, 4, n_best=2)
        assert found.words.tolist() == [[[A, EOS], [second, EOS]]]
        assert found.log_probs.exp()[0].tolist() == pytest.approx([0.6, chance])
        assert torch.equal(found.scores, found.log_probs)


def test_diversity_gives_more_words_to_choose_from():
    memory = random_tables(10, 12, seed=1)
    few, many = (
        diverse_beam_search(toy(12), memory, 6, 3, diversity, 6, n_best=6).words.flatten(1) for diversity in (0.0, 3.0)
    )
    assert sum(len(row.unique()) for row in many) > 1.2 * sum(len(row.unique()) for row in few)


def test_finished_videos_leave_the_batch():
    # The first group ends after one word; the second, driven from it, a word later.
    once = chances(bos={A: 0.9, B: 0.1}, a={EOS: 1.0}, b={A: 1.0})
    slow_one = chances(bos={A: 1.0}, a={B: 1.0}, b={A: 1.0})
    decoder = toy()
    found = diverse_beam_search(decoder, tables(once, slow_one), 2, 2, 0.1, 5)
    assert decoder.rows == [4, 4, 2, 2, 2]
    assert found.words[:, 0].tolist() == [[A, EOS, 0, 0, 0], [A, B, A, B, A]]


def test_a_group_whose_captions_have_all_ended_takes_no_more_steps():
    # Driven from a, the second group ends at once after b; the first goes on alone.
    decoder = toy()
    memory = tables(chances(bos={A: 0.6, B: 0.4}, a={B: 1.0}, b={EOS: 0.9, A: 0.1}))
    found = diverse_beam_search(decoder, memory, 2, 2, 1.0, 6, n_best=2)
    assert decoder.rows == [2, 2, 1]
    assert found.words.tolist() == [[[A, B, EOS], [B, EOS, 0]]]
    assert found.log_probs.exp()[0].tolist() == pytest.approx([0.54, 0.36])


def test_more_captions_than_a_small_tree_has_are_refused():
    memory = random_tables(2, 4)
    rules = {"no_repeat_ngram": 1}
    assert len(list(every_end(memory.frames[0], 3, **rules))) == 1
    with pytest.raises(ValueError, match="n_best=4, but the rules leave the beam of video 0 only 2 captions: ask for"):
        diverse_beam_search(toy(4), memory, 4, 2, 0.5, 4, n_best=4, rules=Rules(**rules))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 0}, "groups=0 must divide beam=6"),
        ({"groups": 4}, "groups=4 must divide beam=6"),
        ({"diversity": -0.5}, "diversity=-0.5 must be 0 or larger"),
        ({"diversity": float("nan")}, "diversity=nan must be 0 or larger"),
        ({"n_best": 7}, "n_best=7 must lie between 1 and beam=6"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        diverse_beam_search(toy(), random_tables(1, 5), **{"beam": 6, "max_length": 8, **arguments})
