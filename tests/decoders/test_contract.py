"""What every decoder promises; a new decoder adds one line to DECODERS."""

from dataclasses import replace

import pytest
import torch

from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.base import Decoder, select_state
from decoders.memory import VideoMemory
from decoders.search.beam import beam_search
from decoders.search.greedy import greedy_search
from decoders.search.rules import Rules
from decoders.stats import STaTSDecoder
from decoders.transformer import TransformerDecoder

VOCABULARY, CHANNELS, PAD, BOS, EOS = 11, 16, 0, 1, 2
SMALL = {"channels": CHANNELS, "heads": 4, "hidden": 24, "max_length": 12}

DECODERS = {
    "transformer": lambda: TransformerDecoder(VOCABULARY, **SMALL),
    "transformer-one-layer": lambda: TransformerDecoder(VOCABULARY, num_layers=1, num_encoder_layers=0, **SMALL),
    "transformer-add": lambda: TransformerDecoder(VOCABULARY, fusion="add", **SMALL),
    "transformer-attentive": lambda: TransformerDecoder(VOCABULARY, fusion="attentive", **SMALL),
    "transformer-gated": lambda: TransformerDecoder(VOCABULARY, gated=True, **SMALL),
    "transformer-add-gated": lambda: TransformerDecoder(VOCABULARY, fusion="add", gated=True, **SMALL),
    "attention-lstm-none": lambda: AttentionLSTMDecoder(VOCABULARY, CHANNELS, 12, 14, "none", max_length=12),
    "attention-lstm-temporal": lambda: AttentionLSTMDecoder(VOCABULARY, CHANNELS, 12, 14, "temporal", max_length=12),
    "attention-lstm-spatial": lambda: AttentionLSTMDecoder(VOCABULARY, CHANNELS, 12, 14, "spatial", max_length=12),
    "stats": lambda: STaTSDecoder(VOCABULARY, CHANNELS, 12, 10),
    "stats-st": lambda: STaTSDecoder(VOCABULARY, CHANNELS, 12, 10, order="st", temporal="lstm"),
    "stats-ts": lambda: STaTSDecoder(VOCABULARY, CHANNELS, 12, 10, order="ts", streams=("frames", "regions")),
    "stats-category": lambda: STaTSDecoder(
        VOCABULARY, CHANNELS, 12, 10, temporal="mean", categories=6, visual="output"
    ),
    "stats-grid": lambda: STaTSDecoder(VOCABULARY, CHANNELS, 12, 10, streams=("frames", "grid"), temporal="ranked"),
    "stats-output": lambda: STaTSDecoder(
        VOCABULARY, CHANNELS, 12, 10, streams=("regions", "frames"), temporal="mean+lstm", visual="output"
    ),
    "stats-temp_att": lambda: STaTSDecoder(
        VOCABULARY, CHANNELS, 12, 10, streams=("frames", "regions"), temporal="temp_att"
    ),
    "stats-topk-max": lambda: STaTSDecoder(
        VOCABULARY, CHANNELS, 12, 10, ("frames", "regions"), "ts", selection="topk", top_k=6, summary="max"
    ),
    "stats-straight_through": lambda: STaTSDecoder(
        VOCABULARY, CHANNELS, 12, 10, selection="straight_through", rank_l2=True
    ),
}


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    decoder = DECODERS[request.param]().eval()
    with torch.no_grad():
        # Far from uniform, so that captions differ and end; what begins at zero away from it, or it may be forgotten.
        decoder.output.weight.mul_(4)
        for name, parameter in decoder.named_parameters():
            if name.endswith(("bias", "gate")):
                parameter.normal_(std=0.3)
    return decoder


def captions(rows: int, length: int, seed: int = 5) -> torch.Tensor:
    words = torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    words[:, 0] = BOS
    return words


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_shapes_and_output_of_features(decoder, make_memory):
    words, memory = captions(3, 6), make_memory()
    logits = decoder(words, memory)
    assert logits.shape == (3, 6, VOCABULARY)
    close(decoder.output(decoder.features(words, memory)), logits)


def test_stepping_equals_teacher_forcing(decoder, make_memory):
    words, memory = captions(3, 7), make_memory()
    forced = decoder(words, memory).log_softmax(-1)
    state = decoder.init_state(memory)
    for position in range(words.shape[1]):
        log_probs, state = decoder.step(words[:, position], state)
        close(log_probs, forced[:, position])


def test_stepping_several_hypotheses_of_a_video_equals_teacher_forcing(decoder, make_memory):
    memory, width = make_memory(), 4
    words, video = captions(12, 5), torch.arange(3).repeat_interleave(width)
    forced = decoder(words, memory, video).log_softmax(-1)
    state = select_state(decoder.init_state(memory), hypotheses=video)
    for position in range(words.shape[1]):
        log_probs, state = decoder.step(words[:, position], state)
        close(log_probs, forced[:, position])
    for name, value in state.items():
        assert value.shape[0] == (3 if name.startswith("memory.") else 12), name


def test_reordered_state_continues_the_reordered_captions(decoder, make_memory):
    memory, words = make_memory(), captions(6, 4)
    state = select_state(decoder.init_state(memory), hypotheses=torch.tensor([0, 0, 1, 1, 2, 2]))
    for position in range(3):
        _, state = decoder.step(words[:, position], state)
    order, kept = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])  # video 1 leaves
    log_probs, _ = decoder.step(words[order, 3], select_state(state, order, kept))
    close(log_probs, decoder(words[order], memory, torch.tensor([0, 0, 2, 2]))[:, 3].log_softmax(-1))


def test_step_leaves_the_state_it_was_given(decoder, make_memory):
    state = decoder.init_state(make_memory())
    _, state = decoder.step(torch.full((3,), BOS), state)
    before = {name: value.clone() for name, value in state.items()}
    decoder.step(torch.tensor([3, 4, 5]), state)
    assert before.keys() == state.keys()
    for name, value in before.items():
        assert torch.equal(value, state[name]), name


def test_a_state_for_a_search_tells_the_same(decoder, make_memory):
    """Advanced once a word, it may be written over: past its room, reordered, and without a video that is done."""
    memory, words = make_memory(), captions(6, 12)
    start = torch.tensor([0, 0, 1, 1, 2, 2])
    spent = select_state(decoder.donate(decoder.init_state(memory)), start)
    kept = select_state(decoder.init_state(memory), start)
    for position in range(5):
        log_probs, spent = decoder.step(words[:, position], spent)
        expected, kept = decoder.step(words[:, position], kept)
        close(log_probs, expected)
    order, videos = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])
    spent, kept = select_state(spent, order, videos), select_state(kept, order, videos)
    for position in range(5, 12):
        log_probs, spent = decoder.step(words[order, position], spent)
        expected, kept = decoder.step(words[order, position], kept)
        close(log_probs, expected)


def test_two_ways_on_from_one_state_do_not_meet(decoder, make_memory):
    """Without `donate`, a state may be gone on with as often as one likes."""
    words, memory = captions(3, 4), make_memory()
    state = decoder.init_state(memory)
    for position in range(2):
        _, state = decoder.step(words[:, position], state)
    _, first = decoder.step(words[:, 2], state)
    decoder.step(words[:, 2].roll(1), state)
    close(decoder.step(words[:, 3], first)[0], decoder(words, memory)[:, 3].log_softmax(-1))


def test_later_words_never_change_earlier_predictions(decoder, make_memory):
    words, memory = captions(3, 7), make_memory()
    before = decoder(words, memory)
    for position in range(1, 7):
        changed = words.clone()
        changed[:, position:] = captions(3, 7, seed=position + 20)[:, position:]
        after = decoder(changed, memory)
        close(after[:, :position], before[:, :position])
        assert (after[:, position] - before[:, position]).abs().max() > 1e-4, "the word itself must matter"


def test_padding_words_changes_nothing(decoder, make_memory):
    words, memory = captions(3, 5), make_memory()
    padded = torch.cat([words, torch.full((3, 4), PAD)], 1)
    close(decoder(padded, memory)[:, :5], decoder(words, memory))


@pytest.mark.parametrize("filling", [0.0, 1e6, torch.nan])
def test_padding_frames_changes_nothing(decoder, make_memory, filling):
    words, memory = captions(3, 5), make_memory()

    def pad(value: torch.Tensor, axis: int, filling: float | bool) -> torch.Tensor:
        shape = list(value.shape)
        shape[axis] = 3
        return torch.cat([value, torch.full(shape, filling, dtype=value.dtype)], axis)

    longer = replace(
        memory,
        frames=pad(memory.frames, 1, filling).masked_fill(~pad(memory.frame_mask, 1, False)[..., None], filling),
        frame_mask=pad(memory.frame_mask, 1, False),
        regions=pad(pad(memory.regions, 1, filling), 2, filling),
        region_mask=pad(pad(memory.region_mask, 1, False), 2, False),
        motion=pad(memory.motion, 1, filling).masked_fill(~pad(memory.frame_mask, 1, False)[..., None], filling),
        objects=pad(memory.objects, 1, filling).masked_fill(~pad(memory.object_mask, 1, False)[..., None], filling),
        object_mask=pad(memory.object_mask, 1, False),
    )
    close(decoder(words, longer), decoder(words, memory))


def test_the_video_matters_and_every_real_frame_of_it(decoder, make_memory):
    words, memory = captions(3, 5), make_memory(regions=1)
    before = decoder(words, memory)
    for frame in range(5):
        frames, regions, motion = memory.frames.clone(), memory.regions.clone(), memory.motion.clone()
        for value in (frames, regions, motion):
            value[:, frame] += 1.0
        moved = decoder(words, replace(memory, frames=frames, regions=regions, motion=motion))
        difference = (moved - before).flatten(1).abs().amax(1)
        assert torch.equal(difference > 1e-6, memory.frame_mask[:, frame]), frame


def test_a_batch_equals_its_members(decoder, make_memory):
    words, memory = captions(3, 5), make_memory()
    together = decoder(words, memory)
    found, several = greedy_search(decoder, memory, 8), beam_search(decoder, memory, 3, 8, n_best=2)
    for video in range(3):
        alone = memory.select(torch.tensor([video]))
        close(decoder(words[[video]], alone)[0], together[video])
        assert written(greedy_search(decoder, alone, 8)) == written(found)[video : video + 1]
        assert written(beam_search(decoder, alone, 3, 8, n_best=2)) == written(several)[video : video + 1]


def test_captions_sharing_a_video_equal_repeated_memory(decoder, make_memory):
    memory, video, words = make_memory(), torch.tensor([2, 0, 0, 2, 1, 2]), captions(6, 5)
    close(decoder(words, memory, video), decoder(words, memory.select(video)))


@pytest.mark.parametrize("filling", [0.5, torch.nan])
def test_a_video_without_frames_has_finite_values_and_gradients(decoder, make_memory, filling):
    memory, words = make_memory(), captions(3, 5)
    none = torch.tensor([False, True, False])[:, None]
    frames = memory.frames.masked_fill(none[..., None], filling).requires_grad_()
    motion = memory.motion.masked_fill(none[..., None], filling).requires_grad_()
    empty = replace(
        memory,
        frames=frames,
        motion=motion,
        frame_mask=memory.frame_mask & ~none,
        region_mask=memory.region_mask & ~none[..., None],
        objects=memory.objects.masked_fill(none[..., None], filling),
        object_mask=memory.object_mask & ~none,
    )
    logits = decoder(words, empty)
    logits.log_softmax(-1)[..., 3].sum().backward()
    assert logits.isfinite().all()
    gradients = {"frames": frames.grad} | {name: value.grad for name, value in decoder.named_parameters()}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
    assert not frames.grad[~empty.frame_mask].any(), "padding gets no gradient"
    assert frames.grad[empty.frame_mask].any()


def test_beam_one_equals_greedy(decoder, make_memory):
    memory = make_memory(videos=6, frames=6)
    greedy = greedy_search(decoder, memory, 9)
    for length_penalty in (0.0, 1.0):
        beam = beam_search(decoder, memory, 1, 9, length_penalty=length_penalty)
        assert torch.equal(beam.words, greedy.words)
        assert torch.equal(beam.lengths, greedy.lengths)
        close(beam.log_probs, greedy.log_probs)


def test_greedy_equals_the_slow_path(decoder, make_memory):
    memory = make_memory(videos=3, frames=4)
    found = greedy_search(decoder, memory, 9)
    for video, (words, score) in enumerate(written(found)[b][0] for b in range(3)):
        prefix, total = [BOS], 0.0
        while len(prefix) <= 9 and prefix[-1] != EOS:
            log_probs = next_words(decoder, memory, video, prefix)
            log_probs[[PAD, BOS] + [EOS] * (len(prefix) == 1)] = -torch.inf
            prefix.append(int(log_probs.argmax()))
            total += float(log_probs.max())
        assert words == prefix[1:]
        assert score == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize(("beam", "length_penalty", "min_length"), [(2, 0.0, 1), (4, 1.0, 1), (5, 0.6, 3)])
def test_beam_search_equals_the_slow_path(decoder, make_memory, beam, length_penalty, min_length):
    memory = make_memory(videos=2, frames=4)
    found = beam_search(decoder, memory, beam, 7, length_penalty, n_best=beam, rules=Rules(min_length))
    for video in range(2):
        slow = slow_beam(decoder, memory, video, beam, 7, length_penalty, min_length)
        for (words, score), (expected, expected_score) in zip(written(found)[video], slow, strict=True):
            assert words == expected
            assert score == pytest.approx(expected_score, abs=1e-8)


def test_log_probs_are_those_of_the_words(decoder, make_memory):
    memory = make_memory()
    found = beam_search(decoder, memory, 4, 8, length_penalty=0.7, n_best=3)
    for video in range(3):
        for rank in range(3):
            length = int(found.lengths[video, rank])
            words = found.words[video, rank, :length]
            logits = decoder(torch.cat([torch.tensor([BOS]), words])[None, :-1], memory, torch.tensor([video]))
            total = logits.log_softmax(-1)[0, range(length), words].sum()
            close(found.log_probs[video, rank], total)
            close(found.scores[video, rank], total / length**0.7)
            assert (found.words[video, rank, length:] == PAD).all()


def test_found_captions_may_be_trained_on(decoder, make_memory):
    memory = make_memory()
    words = beam_search(decoder, memory, 3, 8).words[:, 0]
    decoder(words, memory).sum().backward()
    assert decoder.output.weight.grad is not None


def test_searching_twice_gives_the_same(decoder, make_memory):
    memory = make_memory()
    assert written(beam_search(decoder, memory, 3, 8)) == written(beam_search(decoder, memory, 3, 8))


def test_words_and_rows_out_of_range_are_named(decoder, make_memory):
    memory, words = make_memory(), captions(3, 5)
    words[1, 2] = VOCABULARY
    with pytest.raises(ValueError, match=r"words\[1, 2\] is 11, outside the vocabulary \(0..10\)"):
        decoder(words, memory)
    with pytest.raises(ValueError, match=r"video\[2\] is 3, outside the memory's videos \(0..2\)"):
        decoder(captions(3, 5), memory, torch.tensor([0, 1, 3]))
    with pytest.raises(ValueError, match="4 captions for 3 videos: pass video"):
        decoder(captions(4, 5), memory)
    with pytest.raises(ValueError, match="video names 2 rows for 3 captions"):
        decoder.check(captions(3, 5), memory, torch.tensor([0, 1]))


def written(found) -> list[list[tuple[list[int], float]]]:
    """For every video the captions without padding, each with its score (rounded: batches differ in the last bits)."""
    rows = zip(found.words.tolist(), found.lengths.tolist(), found.scores.tolist(), strict=True)
    return [[(words[:length], round(score, 9)) for words, length, score in zip(*row, strict=True)] for row in rows]


@torch.no_grad()
def next_words(decoder: Decoder, memory: VideoMemory, video: int, prefix: list[int]) -> torch.Tensor:
    return decoder(torch.tensor([prefix]), memory, torch.tensor([video]))[0, -1].log_softmax(-1)


def slow_beam(decoder, memory, video, beam, max_length, length_penalty, min_length) -> list[tuple[list[int], float]]:
    """Beam search in lists: every prefix is read anew, nothing is stopped early."""
    live, found = [([], 0.0)], []
    for position in range(max_length):
        candidates = []
        for rank, (prefix, total) in enumerate(live):
            log_probs = next_words(decoder, memory, video, [BOS, *prefix]).tolist()
            for word, log_prob in enumerate(log_probs):
                if word not in (PAD, BOS) and not (word == EOS and position < min_length):
                    candidates.append((-(total + log_prob), rank, word))
        candidates = sorted(candidates)[: beam - len(found)]
        continued = [([*live[rank][0], word], -cost) for cost, rank, word in candidates]
        live = [(words, total) for words, total in continued if words[-1] != EOS]
        found += [(words, total) for words, total in continued if words[-1] == EOS]
    scored = [(words, total / len(words) ** length_penalty) for words, total in found + live]
    return sorted(scored, key=lambda pair: -pair[1])
