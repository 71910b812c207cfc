"""Search on a toy whose probabilities are written by hand, so that every caption can be enumerated."""

import itertools

import pytest
import torch

from decoders.search.beam import beam_search
from decoders.search.greedy import greedy_search
from decoders.search.rules import Rules
from decoders.search.topk import stable_topk
from tests.decoders.markov import BOS, EOS, NEVER, PAD, A, B, chances, everything, random_tables, tables, toy


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("min_length", [1, 2])
@pytest.mark.parametrize("n_best", [1, 7, None])
def test_a_beam_of_everything_finds_everything(alpha, min_length, n_best):
    memory = random_tables(4, vocabulary=5)
    beam = len(everything(memory.frames[0], 4, alpha, min_length))
    found = beam_search(toy(), memory, beam, 4, alpha, n_best or beam, rules=Rules(min_length))
    for video in range(4):
        score = {tuple(caption): score for score, caption in everything(memory.frames[video], 4, alpha, min_length)}
        lengths, scores = found.lengths[video].tolist(), found.scores[video].tolist()
        captions = [tuple(words[:length]) for words, length in zip(found.words[video].tolist(), lengths, strict=True)]
        # Captions made of the same steps in another order tie: their order is left open.
        assert len(set(captions)) == len(captions)
        assert [score[caption] for caption in captions] == pytest.approx(scores, abs=1e-12)
        assert scores == pytest.approx(sorted(score.values(), reverse=True)[: n_best or beam], abs=1e-12)


def test_beam_finds_what_greedy_misses():
    # Greedy takes a (0.6) and ends at 0.6 * 0.4 = 0.24; b (0.4) ends surely, 0.36 in all.
    memory = tables(chances(bos={A: 0.6, B: 0.4}, a={EOS: 0.4, A: 0.3, B: 0.3}, b={EOS: 0.9, A: 0.1}))
    greedy, beam = greedy_search(toy(), memory, 6), beam_search(toy(), memory, 2, 6)
    assert greedy.words.tolist() == [[[A, EOS]]]
    assert greedy.scores.exp().item() == pytest.approx(0.24)
    assert beam.words.tolist() == [[[B, EOS]]]
    assert beam.scores.exp().item() == pytest.approx(0.36)


def test_length_penalty_prefers_the_likelier_word():
    # a eos: 0.5 * 0.3 = 0.15; a b eos: 0.5 * 0.4 * 0.6 = 0.12; a word each: 0.387 against 0.493.
    memory = tables(chances(bos={A: 0.5, B: 0.5}, a={EOS: 0.3, B: 0.4, A: 0.3}, b={EOS: 0.6, A: 0.4}))
    plain, by_word = (beam_search(toy(), memory, 14, 3, alpha, n_best=14) for alpha in (0.0, 1.0))
    rank = {alpha: found.words[0].tolist() for alpha, found in ((0, plain), (1, by_word))}
    assert rank[0].index([A, EOS, PAD]) < rank[0].index([A, B, EOS])
    assert rank[1].index([A, EOS, PAD]) > rank[1].index([A, B, EOS])
    place = rank[1].index([A, B, EOS])
    assert by_word.scores[0, place].exp().item() == pytest.approx(0.12 ** (1 / 3))
    assert by_word.log_probs[0, place].exp().item() == pytest.approx(0.12)


@pytest.mark.parametrize("never", [NEVER, -1e9, -50.0])
@pytest.mark.parametrize("beam", [0, 1, 5])
def test_a_decoder_that_never_ends_is_cut(never, beam):
    table = torch.zeros(5, 5)
    table[:, EOS] = never
    found = search(tables(table), beam, 7)
    assert found.words.shape == (1, 1, 7)
    assert found.lengths.tolist() == [[7]]
    assert not torch.isin(found.words, torch.tensor([PAD, BOS, EOS])).any()
    assert found.scores.isfinite().all()


@pytest.mark.parametrize("never", [NEVER, -1e308, -1e9, -50.0])
@pytest.mark.parametrize("beam", [0, 1, 5])
@pytest.mark.parametrize("min_length", [1, 3])
def test_a_decoder_that_wants_to_end_at_once_writes_the_least(never, beam, min_length):
    table = torch.full((5, 5), never)
    table[:, EOS] = 0.0
    found = search(tables(table), beam, 7, min_length)
    assert found.words.tolist() == [[[A] * min_length + [EOS]]]
    assert found.scores.isfinite().all()
    assert found.log_probs.isfinite().all()


@pytest.mark.parametrize("beam", [0, 1, 4])
def test_a_decoder_that_allows_no_word_still_ends_with_finite_scores(beam):
    table = torch.full((5, 5), NEVER)
    table[:, PAD] = 0.0  # only what may never be written
    found = search(tables(table, torch.zeros(5, 5)), beam, 6)
    assert found.scores.isfinite().all()
    assert found.log_probs[0, 0] <= -2e4, "hopeless, and seen to be"
    assert found.log_probs[1, 0] > -10
    assert (found.lengths >= 2).all()


@pytest.mark.parametrize("beam", [0, 3])
def test_pad_and_bos_are_never_written_however_likely(beam):
    memory = random_tables(6, 6)
    memory.frames[:, :, [PAD, BOS]] += 30
    found = search(memory, beam, 8)
    written = torch.arange(found.words.shape[2]) < found.lengths[..., None]
    assert (found.words[written] > BOS).all()
    assert (found.words[~written] == PAD).all()


@pytest.mark.parametrize("beam", [4, 5, 50])
def test_a_vocabulary_smaller_than_the_beam(beam):
    """One word only: the captions are a, aa, aaa (cut)."""
    memory = random_tables(3, 4)
    found = beam_search(toy(4), memory, beam, 3, n_best=3)
    assert found.scores.isfinite().all()
    assert {tuple(words) for words in found.words[0].tolist()} == {(A, EOS, PAD), (A, A, EOS), (A, A, A)}
    with pytest.raises(ValueError, match="n_best=4, but only 3 captions exist with vocabulary=4, max_length=3"):
        beam_search(toy(4), memory, beam, 3, n_best=4)


@pytest.mark.parametrize("beam", [1, 3])
def test_barred_words_are_never_written_however_likely(beam):
    table = torch.full((6, 6), -5.0)
    table[:, 3] = 4.0
    decoder = toy(6)
    assert (search(tables(table), beam, 4, decoder=decoder).words == 3).any()
    decoder.suppressed = (3,)
    assert not (search(tables(table), beam, 4, decoder=decoder).words == 3).any()


def test_one_word_at_most():
    memory = random_tables(2, 6)
    for found in (greedy_search(toy(6), memory, 1), beam_search(toy(6), memory, 3, 1)):
        assert found.words.shape == (2, 1, 1)
        assert found.words[:, 0, 0].tolist() == (memory.frames[:, BOS, 3:].argmax(-1) + 3).tolist()


def test_ties_go_to_the_lower_word():
    memory = tables(torch.zeros(6, 6))
    assert greedy_search(toy(6), memory, 4).words.tolist() == [[[A, EOS]]]
    found = beam_search(toy(6), memory, 3, 4, n_best=3)
    # a, b, c; then a-eos, aa, ab; one found, so the beam of two keeps aa-eos, aaa; then aaa-eos.
    assert found.words.tolist() == [[[A, EOS, PAD, PAD], [A, A, EOS, PAD], [A, A, A, EOS]]]


def test_top_breaks_every_tie_by_the_lower_index():
    generator = torch.Generator().manual_seed(0)
    for levels, count in itertools.product((2, 5, 1000), (1, 3, 9, 40)):
        values = torch.randint(levels, (20, 40), generator=generator).double()
        values[3, 5:30] = -torch.inf
        best, index = stable_topk(values, count)
        for row in range(20):
            expected = sorted(range(40), key=lambda place: (-values[row, place].item(), place))[:count]
            assert index[row].tolist() == expected
            assert best[row].tolist() == values[row, expected].tolist()


def test_top_of_long_rows_breaks_every_tie_by_the_lower_index():
    """Rows that are looked at in blocks, with a rest that fills no block."""
    generator = torch.Generator().manual_seed(0)
    for width, levels, count in itertools.product((448, 700, 1030), (2, 40, 10**6), (1, 2, 5)):
        values = torch.randint(levels, (12, width), generator=generator).double()
        values[3, 20:] = -torch.inf
        values[4] = -torch.inf
        values[5, [60, 70, width - 1]] = 2e6
        best, index = stable_topk(values, count)
        for row in range(12):
            expected = sorted(range(width), key=lambda place: (-values[row, place].item(), place))[:count]
            assert index[row].tolist() == expected
            assert best[row].tolist() == values[row, expected].tolist()
    values[7, 500] = torch.nan
    assert stable_topk(values, 5)[0][7].isnan().any(), "NaN must come to light"


def test_finished_videos_leave_the_batch():
    # Video 0 ends after one word, 1 after two, 2 never.
    once = chances(bos={A: 1.0}, a={EOS: 1.0}, b={EOS: 1.0})
    twice = chances(bos={A: 1.0}, a={B: 1.0}, b={EOS: 1.0})
    never = chances(bos={A: 1.0}, a={B: 1.0}, b={A: 1.0})
    decoder = toy()
    found = greedy_search(decoder, tables(once, twice, never), 5)
    assert decoder.rows == [3, 3, 2, 1, 1]
    assert found.lengths.tolist() == [[2], [3], [5]]
    assert found.words[:, 0].tolist() == [[A, EOS, PAD, PAD, PAD], [A, B, EOS, PAD, PAD], [A, B, A, B, A]]

    decoder = toy()
    found = beam_search(decoder, tables(once, twice, never), 2, 5)
    # The second place of a beam goes to an impossible caption, which by the lower id is the one that ends.
    assert decoder.rows == [3, 6, 2, 1, 1]
    assert found.words[:, 0].tolist() == [[A, EOS, PAD, PAD, PAD], [A, B, EOS, PAD, PAD], [A, B, A, B, A]]


def test_a_beam_that_shrinks_narrows_the_batch():
    # The likeliest caption of each length ends at each step, and all beams are wanted: 3, 2, 1 rows remain.
    memory = tables(chances(bos={A: 0.8, B: 0.2}, a={EOS: 0.5, A: 0.3, B: 0.2}, b={EOS: 0.5, A: 0.5}))
    decoder = toy()
    beam_search(decoder, memory, 3, 6, n_best=3)
    assert decoder.rows[:2] == [1, 2]
    assert max(decoder.rows[2:]) <= 2
    assert len(decoder.rows) < 6, "nothing is left to search once three captions have ended"


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("n_best", [1, 3])
def test_a_beam_that_loses_captions_equals_a_search_in_lists(alpha, n_best):
    """Small beams and frequent ends: what was found no longer takes part, and leaves no place to others."""
    memory = random_tables(8, 7, seed=4)
    memory.frames[:, :, EOS] += 1.5
    found = beam_search(toy(7), memory, 3, 8, alpha, n_best)
    for video in range(8):
        log_probs, live, ended = memory.frames[video].log_softmax(-1), [(0.0, [BOS])], []
        for position in range(8):
            grown = [
                (total + float(log_probs[words[-1], word]), [*words, word])
                for total, words in live
                for word in range(EOS + (position == 0), 7)
            ]
            best = sorted(grown, reverse=True)[: 3 - len(ended)]
            live = [item for item in best if item[1][-1] != EOS and position < 7]
            ended += [
                (total / (position + 1) ** alpha, words[1:]) for total, words in best if (total, words) not in live
            ]
        expected = sorted(ended, reverse=True)[:n_best]
        assert found.scores[video].tolist() == pytest.approx([score for score, _ in expected], abs=1e-12)
        assert [
            words[:n] for words, n in zip(found.words[video].tolist(), found.lengths[video].tolist(), strict=True)
        ] == [words for _, words in expected]


def test_nothing_enters_autograd_and_the_memory_is_left_alone():
    memory = random_tables(2, 5)
    memory.frames.requires_grad_()
    before = memory.frames.detach().clone()
    for found in (greedy_search(toy(), memory, 5), beam_search(toy(), memory, 3, 5)):
        assert not found.scores.requires_grad
        assert not found.words.is_inference()
    assert torch.equal(memory.frames.detach(), before)


def test_half_precision_scores_are_summed_in_single():
    memory = random_tables(3, 6).to(torch.bfloat16)
    for found in (greedy_search(toy(6), memory, 6), beam_search(toy(6), memory, 3, 6)):
        assert found.log_probs.dtype == torch.float32


@pytest.mark.parametrize("beam", [0, 3])
def test_nan_is_an_error_that_names_the_video(beam):
    memory = random_tables(4, 5)
    memory.frames[2] = torch.nan
    with pytest.raises(ValueError, match=r"the decoder predicts NaN for word 1 of video 2: its weights or the video's"):
        search(memory, beam, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 0}, "min_length=1 must lie between 1 and max_length=0"),
        ({"rules": Rules(min_length=0)}, "min_length=0 must lie between 1 and max_length=8"),
        ({"rules": Rules(min_length=9)}, "min_length=9 must lie between 1 and max_length=8"),
        ({"max_length": 13}, "max_length=13 words, but the decoder reads at most 12"),
        ({"beam": 0}, "n_best=1 must lie between 1 and beam=0"),
        ({"n_best": 4}, "n_best=4 must lie between 1 and beam=3"),
        ({"length_penalty": -0.5}, "length_penalty=-0.5 must be 0 or larger"),
        ({"length_penalty": float("nan")}, "length_penalty=nan must be 0 or larger"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        beam_search(toy(max_length=12), random_tables(1, 5), **{"beam": 3, "max_length": 8, **arguments})


@pytest.mark.parametrize("beam", [0, 3])
def test_a_decoder_in_training_mode_is_refused(beam):
    with pytest.raises(ValueError, match=r"in training mode.*call decoder.eval\(\) first"):
        search(random_tables(1, 5), beam, 5, decoder=toy().train())


def search(memory, beam, max_length, min_length=1, decoder=None):
    """Greedy search for beam 0."""
    decoder = decoder or toy(memory.frames.shape[2])
    if beam == 0:
        return greedy_search(decoder, memory, max_length, rules=Rules(min_length))
    return beam_search(decoder, memory, beam, max_length, rules=Rules(min_length))
