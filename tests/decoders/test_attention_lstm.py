"""The two-layer attention LSTM against Eq. 1-5 written out, and what it does with padding, clip and regions."""

from dataclasses import replace

import pytest
import torch

from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.memory import VideoMemory
from decoders.search.greedy import greedy_search

VOCABULARY, CHANNELS, BOS = 11, 6, 1


def build(memory: str = "temporal", **changed: object) -> AttentionLSTMDecoder:
    return AttentionLSTMDecoder(VOCABULARY, CHANNELS, embedding=5, attention=4, memory=memory, **changed).eval()


@pytest.fixture
def ragged(make_memory) -> VideoMemory:
    """Holes anywhere, NaN in them; video 0 is whole, video 2 has no region, video 3 no frame."""
    memory = make_memory(videos=4, frames=5, channels=CHANNELS, regions=3)
    frame_mask, region_mask = torch.rand(4, 5) < 0.6, torch.rand(4, 5, 3) < 0.6
    frame_mask[0], frame_mask[3], region_mask[0], region_mask[2] = True, False, True, False
    return replace(
        memory,
        frames=memory.frames.masked_fill(~frame_mask[..., None], torch.nan),
        frame_mask=frame_mask,
        regions=memory.regions.masked_fill(~region_mask[..., None], torch.nan),
        region_mask=region_mask,
    )


def captions(rows: int, length: int) -> torch.Tensor:
    words = torch.randint(3, VOCABULARY, (rows, length))
    words[:, 0] = BOS
    return words


def lstm(x, h, c, wide, deep, bias):
    """An LSTM as everyone writes it, gate by gate."""
    enter, keep, new, leave = (wide @ x + deep @ h + bias).view(4, -1)
    c = torch.sigmoid(keep) * c + torch.sigmoid(enter) * torch.tanh(new)
    return torch.sigmoid(leave) * torch.tanh(c), c


def eq_1_to_5(decoder: AttentionLSTMDecoder, caption, vbar, items) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and attention of one caption, from the global vector and the real items alone."""
    width = decoder.channels
    first = decoder.attention_gates.weight
    wide1 = torch.cat([decoder.video_gates.weight, decoder.word_gates.weight, first[:, :width]], 1)
    inputs = decoder.language_gates.in_features - width
    wide2, deep2 = decoder.language_gates.weight.split([inputs, width], 1)
    h1 = c1 = h2 = c2 = torch.zeros(width)
    logits, looked = [], []
    for word in caption:
        x = torch.cat([vbar, decoder.embedding.weight[word], h2])
        h1, c1 = lstm(x, h1, c1, wide1, first[:, width:], decoder.video_gates.bias)
        said = [h1]
        if items is not None:
            context, weights = look(decoder.look, h1, items)
            said = [context, h1]
            looked.append(weights)
        h2, c2 = lstm(torch.cat(said), h2, c2, wide2, deep2, decoder.language_gates.bias)
        logits.append(decoder.output.weight @ h2 + decoder.output.bias)
    return torch.stack(logits), torch.stack(looked) if looked else torch.zeros(0)


def look(attention, h1, items):
    """Eq. 2 and 3, item by item."""
    query = attention.query.weight @ h1 + (0 if attention.query.bias is None else attention.query.bias)
    scores = [float(attention.score.weight[0] @ torch.tanh(attention.key.weight @ v + query)) for v in items]
    total = sum(torch.tensor(score).exp() for score in scores)
    weights = [torch.tensor(score).exp() / total for score in scores]
    context = sum((weight * v for weight, v in zip(weights, items, strict=True)), torch.zeros(len(h1)))
    return context, torch.tensor(weights)


@pytest.mark.parametrize("query_bias", [False, True])
@pytest.mark.parametrize("summary", ["mean", "clip"])
@pytest.mark.parametrize("kind", ["none", "temporal", "spatial"])
@torch.no_grad()
def test_equals_the_equations(ragged, kind, summary, query_bias):
    decoder, video = build(kind, summary=summary, query_bias=query_bias), torch.tensor([3, 0, 2, 1, 0])
    words = captions(5, 4)
    logits, maps = decoder(words, ragged, video), decoder.attention(words, ragged, video)
    for row, place in enumerate(video.tolist()):
        real = ragged.frames[place][ragged.frame_mask[place]]
        mean = real.mean(0) if len(real) else torch.zeros(CHANNELS)
        mask = ragged.frame_mask[place] if kind == "temporal" else ragged.region_mask[place].flatten()
        every = ragged.frames[place] if kind == "temporal" else ragged.regions[place].flatten(0, 1)
        items = None if kind == "none" else every[mask]
        vbar = mean if summary == "mean" else ragged.clip[place]
        expected, looked = eq_1_to_5(decoder, words[row], vbar, items)
        torch.testing.assert_close(logits[row], expected, rtol=0, atol=1e-12)
        if kind == "none":
            assert maps == {}
        else:
            torch.testing.assert_close(maps["attention"][row][:, mask], looked, rtol=0, atol=1e-12)
            assert not maps["attention"][row][:, ~mask].any()


@torch.no_grad()
def test_sizes_of_the_paper_and_torchs_own_cells(make_memory):
    decoder = AttentionLSTMDecoder(VOCABULARY).eval()
    h2_columns = decoder.attention_gates.in_features - 512
    assert decoder.video_gates.in_features + decoder.word_gates.in_features + h2_columns == 512 + 512 + 512 == 1536
    first, second = torch.nn.LSTMCell(1536, 512), torch.nn.LSTMCell(1024, 512)
    weight = decoder.attention_gates.weight
    first.weight_ih.copy_(torch.cat([decoder.video_gates.weight, decoder.word_gates.weight, weight[:, :512]], 1))
    first.weight_hh.copy_(weight[:, 512:])
    second.weight_ih.copy_(decoder.language_gates.weight[:, :1024])
    second.weight_hh.copy_(decoder.language_gates.weight[:, 1024:])
    for cell, bias in ((first, decoder.video_gates.bias), (second, decoder.language_gates.bias)):
        cell.bias_ih.copy_(bias)
        cell.bias_hh.zero_()
    memory = make_memory(channels=512)
    state = decoder.init_state(memory)
    assert not any(state[f"{layer}_{part}"].any() for layer in ("attention", "language") for part in ("hidden", "cell"))
    word = torch.full((3,), BOS)
    features, new = decoder.advance(word, state)
    zero = torch.zeros(3, 512)
    mean = torch.stack([memory.frames[b, : 5 - b].mean(0) for b in range(3)])
    asked, _ = first(torch.cat([mean, decoder.embedding(word), zero], 1), (zero, zero))
    torch.testing.assert_close(new["attention_hidden"], asked, rtol=0, atol=1e-12)
    weights = decoder.attention(word[:, None], memory)["attention"][:, 0]
    context = torch.einsum("bf,bfc->bc", weights, memory.frames)
    written, _ = second(torch.cat([context, asked], 1), (zero, zero))
    torch.testing.assert_close(features, written, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "items"), [("temporal", 5), ("spatial", 15)])
def test_attention_sums_to_one_on_real_items(ragged, kind, items):
    weights = build(kind).attention(captions(4, 3), ragged)["attention"]
    assert weights.shape == (4, 3, items)
    mask = ragged.frame_mask if kind == "temporal" else ragged.region_mask.flatten(1)
    expected = mask.any(1).double()[:, None].expand(-1, 3)
    torch.testing.assert_close(weights.sum(2), expected, rtol=0, atol=1e-12)
    assert torch.equal(weights > 0, mask[:, None].expand(-1, 3, -1))


@torch.no_grad()
def test_the_map_of_a_region_unfolds_into_frames_by_regions(make_memory):
    memory = make_memory(channels=CHANNELS, videos=1, regions=3)
    decoder, words = build("spatial"), captions(1, 2)
    before = decoder.attention(words, memory)["attention"].unflatten(2, (5, 3))
    region_mask = memory.region_mask.clone()
    region_mask[0, 3, 1] = False
    after = decoder.attention(words, replace(memory, region_mask=region_mask))["attention"].unflatten(2, (5, 3))
    assert before[0, :, 3, 1].all()
    assert (after == 0).nonzero()[:, 2:].unique(dim=0).tolist() == [[3, 1]]


@pytest.mark.parametrize("regions", [0, 2])
def test_without_items_the_second_lstm_reads_a_zero_vector(make_memory, regions):
    memory = make_memory(channels=CHANNELS, regions=regions)
    memory = replace(memory, region_mask=torch.zeros_like(memory.region_mask))
    decoder, words = build("spatial"), captions(3, 4)
    without = build("none")
    shared = {name: value for name, value in decoder.state_dict().items() if not name.startswith("look")}
    shared["language_gates.weight"] = shared["language_gates.weight"][:, CHANNELS:]  # the columns of c
    without.load_state_dict(shared)
    torch.testing.assert_close(decoder(words, memory), without(words, memory), rtol=0, atol=1e-12)


@torch.no_grad()
def test_vanilla_has_no_attention_and_sees_the_global_vector_alone(make_memory):
    memory, words = make_memory(channels=CHANNELS), captions(3, 4)
    for summary, read in (("mean", frozenset()), ("clip", frozenset({"clip"}))):
        decoder = build("none", summary=summary)
        assert decoder.reads == read
        assert decoder.look is None
        assert decoder.attention(words, memory) == {}
        names = {name.split(".")[0] for name, _ in decoder.named_parameters()}
        assert names == {"output", "embedding", "video_gates", "word_gates", "attention_gates", "language_gates"}
        assert decoder.language_gates.in_features == 2 * CHANNELS
        assert torch.equal(decoder(words, replace(memory, regions=None, region_mask=None)), decoder(words, memory))
        assert torch.equal(decoder(words, memory), decoder(words, replace(memory, frames=memory.frames.flip(1)))) == (
            summary == "clip"
        )


def test_what_is_read_is_named():
    assert build("temporal").reads == frozenset()
    assert build("spatial").reads == {"regions"}
    assert build("spatial", summary="clip").reads == {"regions", "clip"}


@pytest.mark.parametrize("kind", ["none", "temporal", "spatial"])
def test_padding_that_holds_nan_reaches_no_gradient(ragged, kind):
    frames, regions = ragged.frames.requires_grad_(), ragged.regions.requires_grad_()
    decoder = build(kind, query_bias=True)
    decoder(captions(4, 4), ragged).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert torch.equal(frames.grad.any(2), ragged.frame_mask)
    if kind == "spatial":
        assert torch.equal(regions.grad.any(3), ragged.region_mask)


def test_the_video_is_projected_once_however_many_captions_it_has(make_memory):
    memory, video = make_memory(channels=CHANNELS), torch.arange(3).repeat_interleave(4)
    decoder, seen = build("spatial", max_length=9), []
    decoder.look.key.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    decoder(captions(12, 5), memory, video)
    assert seen == [(3, 10, CHANNELS)]
    state = decoder.init_state(memory)
    for name in ("memory.items", "memory.keys", "memory.mask", "memory.gates"):
        assert state[name].shape[0] == 3, name
    seen.clear()
    greedy_search(decoder, memory, 8)
    assert len(seen) == 1


def test_dropout_stands_before_the_output_and_outside_the_recurrence(make_memory):
    decoder, memory, words = build(dropout=0.5), make_memory(channels=CHANNELS), captions(3, 6)
    exact = decoder.features(words, memory)
    dropped = decoder.train().features(words, memory)
    kept = dropped != 0
    assert 0.3 < kept.double().mean() < 0.7
    torch.testing.assert_close(dropped[kept], 2 * exact[kept], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("decoder", "change", "message"),
    [
        ({"memory": "spatial"}, {"regions": None, "region_mask": None}, "memory='spatial' reads memory.regions, but"),
        (
            {"summary": "clip"},
            {"clip": None},
            "summary='clip' reads memory.clip, but the memory has none: give it",
        ),
        ({"summary": "clip"}, {"clip": torch.zeros(3, 7)}, "memory.clip has 7 channels, the decoder 6"),
        ({}, {"frames": torch.zeros(3, 5, 7)}, "memory.frames has 7 channels, the decoder 6"),
        ({"memory": "none"}, {"frames": torch.zeros(3, 5, 7)}, "memory.frames has 7 channels, the decoder 6"),
        ({"memory": "spatial"}, {"regions": torch.zeros(3, 5, 2, 8)}, "memory.regions has 8 channels, the decoder 6"),
    ],
)
def test_a_memory_that_does_not_fit_is_named(make_memory, decoder, change, message):
    with pytest.raises(ValueError, match=message):
        build(**decoder)(captions(3, 4), replace(make_memory(channels=CHANNELS), **change))


def test_unknown_settings_are_named(without_annotations):
    with pytest.raises(ValueError, match="memory must be one of none, temporal, spatial; got 'both'"):
        build("both")
    with pytest.raises(ValueError, match="summary must be one of mean, clip; got 'max'"):
        build(summary="max")
