"""The Transformer against its equations, written with loops, and against torch's own layers."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from decoders.attention import MultiHeadAttention
from decoders.layers import AttentiveFusion, DecoderLayer, EncoderLayer, sinusoids
from decoders.memory import VideoMemory
from decoders.transformer import TransformerDecoder

BOS = 1
SMALL = {"channels": 12, "heads": 3, "hidden": 20, "max_length": 10}


def randomised(module: nn.Module) -> nn.Module:
    """Every parameter random, biases and norms too, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def affine(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + (0 if layer.bias is None else layer.bias)


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + layer.eps) * layer.weight + layer.bias


def attend(layer: MultiHeadAttention, query: Tensor, source: list[Tensor]) -> Tensor:
    """Vaswani et al., Eq. 1 and section 3.2.2, one query, head by head, key by key."""
    size = len(query) // layer.heads
    asked, heads = affine(layer.query, query), []
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        scores = [float(asked[part] @ affine(layer.key, item)[part]) / math.sqrt(size) for item in source]
        total = sum(math.exp(score) for score in scores)
        heads.append(
            sum(
                math.exp(score) / total * affine(layer.value, item)[part]
                for score, item in zip(scores, source, strict=True)
            )
        )
    return affine(layer.output, torch.cat(heads))


def feed_forward(layer: nn.Sequential, x: Tensor) -> Tensor:
    return affine(layer[2], affine(layer[0], x).clamp(min=0))


def position(t: int, channels: int) -> Tensor:
    row = []
    for channel in range(channels):
        angle = t / 10000 ** ((channel - channel % 2) / channels)
        row.append(math.cos(angle) if channel % 2 else math.sin(angle))
    return torch.tensor(row)


def reference(
    decoder: TransformerDecoder, words: list[int], views: dict[str, Tensor], times: list[int] | None = None
) -> Tensor:
    """Logits of one caption of one video without padding: loops over layers, positions, heads and keys."""
    encoded = {}
    for view, frames in views.items():
        at = times if times is not None and view == "objects" else range(len(frames))
        # What is at no one time has no position.
        steps = [frame + (position(t, decoder.channels) if t >= 0 else 0) for t, frame in zip(at, frames, strict=True)]
        for layer in decoder.encoders[view]:
            steps = [norm(layer.attention_norm, step + attend(layer.attention, step, steps)) for step in steps]
            steps = [norm(layer.feed_forward_norm, step + feed_forward(layer.feed_forward, step)) for step in steps]
        encoded[view] = steps
    states = [
        decoder.embedding.weight[word] * math.sqrt(decoder.channels) + position(t, decoder.channels)
        for t, word in enumerate(words)
    ]
    for layer in decoder.layers:
        states = [
            norm(layer.attention_norm, state + attend(layer.attention, state, states[: t + 1]))
            for t, state in enumerate(states)
        ]
        fused = []
        for state in states:
            said = [attend(layer.view_attention[view], state, steps) for view, steps in encoded.items()]
            weights = [1.0] * len(said)
            if decoder.fusion == "attentive":
                gate = layer.fusion
                raw = [
                    math.exp(
                        float(gate.score.weight[0] @ torch.tanh(affine(gate.word, state) + affine(gate.view, what)))
                    )
                    for what in said
                ]
                weights = [weight / sum(raw) for weight in raw]
            factors = [torch.tensor(weight) for weight in weights]
            if decoder.views[-1] == "objects":
                factors[-1] = torch.tensor([math.tanh(value) for value in layer.gate.tolist()])
            fused.append(sum(factor * what for factor, what in zip(factors, said, strict=True)))
        states = [norm(layer.view_norm, state + what) for state, what in zip(states, fused, strict=True)]
        states = [norm(layer.feed_forward_norm, state + feed_forward(layer.feed_forward, state)) for state in states]
    return torch.stack([affine(decoder.output, state) for state in states])


@pytest.mark.parametrize("fusion", [None, "add", "attentive"])
@torch.no_grad()
def test_equals_the_equations(make_memory, fusion):
    decoder = randomised(TransformerDecoder(9, fusion=fusion, **SMALL))
    memory = make_memory(channels=12, frames=4)
    words = torch.tensor([[BOS, 3, 8, 4], [BOS, 5, 5, 6], [BOS, 7, 3, 4]])
    logits = decoder(words, memory)
    for video in range(3):
        real = memory.frame_mask[video]
        views = {view: getattr(memory, view)[video, real] for view in decoder.views}
        expected = reference(decoder, words[video].tolist(), views)
        torch.testing.assert_close(logits[video], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fusion", [None, "add"])
@torch.no_grad()
def test_objects_are_attended_to_through_a_gate(make_memory, fusion):
    decoder = randomised(TransformerDecoder(9, fusion=fusion, gated=True, **SMALL))
    times = torch.tensor([[0, 3, -1, 9], [2, 2, -1, 9], [-1, -1, 1, 0]])
    memory = replace(make_memory(channels=12, frames=4), object_times=times)
    words = torch.tensor([[BOS, 3, 8, 4], [BOS, 5, 5, 6], [BOS, 7, 3, 4]])
    logits = decoder(words, memory)
    for video in range(3):
        real, seen = memory.frame_mask[video], memory.object_mask[video]
        views = {view: getattr(memory, view)[video, seen if view == "objects" else real] for view in decoder.views}
        expected = reference(decoder, words[video].tolist(), views, times[video, seen].tolist())
        torch.testing.assert_close(logits[video], expected, rtol=0, atol=1e-10)


def test_a_gated_decoder_begins_as_the_one_without_and_learns_to_open(make_memory):
    memory, words = make_memory(channels=12), torch.tensor([[BOS, 3, 8], [BOS, 5, 5], [BOS, 7, 3]])
    plain, gated = TransformerDecoder(9, **SMALL).eval(), TransformerDecoder(9, gated=True, **SMALL).eval()
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[1] if "encoders" in name else name.split(".")[2] for name in missing} == {
        "objects",
        "view_attention",
        "gate",
    }
    assert torch.equal(gated(words, memory), plain(words, memory))
    gated(words, memory).log_softmax(-1)[..., 3].sum().backward()
    for layer in gated.layers:
        assert layer.gate.grad.abs().min() > 0


def test_a_memory_without_objects_is_refused_by_name(make_memory):
    memory = replace(make_memory(channels=12), objects=None, object_mask=None)
    with pytest.raises(ValueError, match=r"gated=True reads memory\.objects, but the memory has none: give it objects"):
        TransformerDecoder(9, gated=True, **SMALL)(torch.tensor([[BOS, 3]] * 3), memory)


@torch.no_grad()
def test_a_video_without_frames_is_one_zero_frame(make_memory):
    decoder = randomised(TransformerDecoder(9, **SMALL))
    memory = make_memory(channels=12, frames=4)
    none = replace(memory, frame_mask=torch.zeros_like(memory.frame_mask))
    words = torch.tensor([[BOS, 3, 8]]).expand(3, -1)
    expected = reference(decoder, [BOS, 3, 8], {"frames": torch.zeros(1, 12)})
    torch.testing.assert_close(decoder(words, none), expected.expand(3, -1, -1), rtol=0, atol=1e-10)


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


@torch.no_grad()
def test_layers_equal_those_of_torch(make_memory):
    """An understanding of "post-norm Transformer" that is not ours."""
    memory = make_memory(channels=12)
    frames, mask, x = memory.frames, memory.frame_mask, torch.randn(3, 6, 12)
    ours = randomised(EncoderLayer(12, 3, 20, 0.3))
    theirs = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True).eval()
    copy_attention(ours.attention, theirs.self_attn)
    for name, part in {"linear1": ours.feed_forward[0], "linear2": ours.feed_forward[2]}.items():
        getattr(theirs, name).load_state_dict(part.state_dict())
    theirs.norm1.load_state_dict(ours.attention_norm.state_dict())
    theirs.norm2.load_state_dict(ours.feed_forward_norm.state_dict())
    expected = theirs(frames, src_key_padding_mask=~mask)
    torch.testing.assert_close(ours(frames, mask)[mask], expected[mask], rtol=0, atol=1e-10)

    ours = randomised(DecoderLayer(12, 3, 20, 0.3, ("frames",)))
    theirs = nn.TransformerDecoderLayer(12, 3, 20, batch_first=True).eval()
    copy_attention(ours.attention, theirs.self_attn)
    copy_attention(ours.view_attention["frames"], theirs.multihead_attn)
    for name, part in {"linear1": ours.feed_forward[0], "linear2": ours.feed_forward[2]}.items():
        getattr(theirs, name).load_state_dict(part.state_dict())
    for name, part in {"norm1": ours.attention_norm, "norm2": ours.view_norm, "norm3": ours.feed_forward_norm}.items():
        getattr(theirs, name).load_state_dict(part.state_dict())
    causal = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected = theirs(x, frames, tgt_mask=causal, memory_key_padding_mask=~mask)
    actual = ours(x, {"frames": ours.view_keys_values("frames", frames)}, {"frames": mask})
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("queries", [1, 5])
@torch.no_grad()
def test_looking_equals_the_equation(queries):
    """What a search uses instead of `forward`."""
    attention = randomised(MultiHeadAttention(12, 3))
    x, source = torch.randn(2, queries, 12), torch.randn(2, 7, 12)
    mask = torch.rand(2, queries, 7) < 0.6
    mask[:, :, 0] = True
    bias = torch.zeros(2, queries, 7).masked_fill(~mask, -torch.inf)
    found = attention.look(x, *attention.ready(*attention.keys_values(source)), bias)
    for video in range(2):
        for query in range(queries):
            expected = attend(attention, x[video, query], list(source[video, mask[video, query]]))
            torch.testing.assert_close(found[video, query], expected, rtol=0, atol=1e-12)
    everything = attention.look(x, *attention.ready(*attention.keys_values(source)))
    torch.testing.assert_close(everything[0, 0], attend(attention, x[0, 0], list(source[0])), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [8, 7])
def test_sinusoids_are_those_of_the_formula(channels):
    expected = torch.stack([position(t, channels) for t in range(50)])
    torch.testing.assert_close(sinusoids(50, channels), expected, rtol=0, atol=1e-12)


def test_more_frames_than_the_table_has_rows(make_memory):
    long, short = (TransformerDecoder(9, **{**SMALL, "max_length": size}) for size in (40, 4))
    short.load_state_dict(long.state_dict())
    memory, words = make_memory(channels=12, frames=30), torch.full((3, 3), BOS)
    assert torch.equal(short.eval()(words, memory), long.eval()(words, memory))
    assert short.positions.shape == (4, 12), "a forward pass leaves the module as it was"


def test_too_many_words_are_refused(make_memory):
    decoder, memory = TransformerDecoder(9, **{**SMALL, "max_length": 3}).eval(), make_memory(channels=12)
    decoder(torch.full((3, 3), BOS), memory)
    with pytest.raises(ValueError, match="words have 4 positions, more than max_length=3: cut the captions or build"):
        decoder(torch.full((3, 4), BOS), memory)
    state = decoder.init_state(memory)
    for _ in range(3):
        _, state = decoder.step(torch.full((3,), BOS), state)
    with pytest.raises(ValueError, match="word number 4 is beyond max_length=3"):
        decoder.step(torch.full((3,), BOS), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 5}, "channels=12 must be a multiple of heads=5"),
        ({"fusion": "concat"}, "fusion must be None or one of add, attentive; got 'concat'"),
        ({"num_layers": 0}, "at least one decoder layer"),
        ({"eos": 0}, r"must be three different ids below the vocabulary's size 9, got \(0, 1, 0\)"),
        ({"eos": 9}, r"below the vocabulary's size 9, got \(0, 1, 9\)"),
        ({"max_length": 0}, "max_length must be at least 1 or None, got 0"),
    ],
)
def test_wrong_arguments_are_named(without_annotations, arguments, message):
    with pytest.raises(ValueError, match=message):
        TransformerDecoder(9, **{**SMALL, **arguments})


def test_a_vocabulary_needs_a_word():
    with pytest.raises(ValueError, match="vocabulary=3 leaves no word besides pad, bos and eos"):
        TransformerDecoder(3, **SMALL)


def test_memory_that_does_not_fit_is_named(make_memory):
    memory, words = make_memory(channels=12), torch.full((3, 2), BOS)
    with pytest.raises(ValueError, match=r"memory\.frames has 16 channels, the decoder 12"):
        TransformerDecoder(9, **SMALL)(words, make_memory(channels=16))
    with pytest.raises(ValueError, match=r"fusion='add' reads memory.motion, but the memory has none: give it motion"):
        TransformerDecoder(9, fusion="add", **SMALL)(words, replace(memory, motion=None))


def test_without_a_choice_there_is_nothing_to_anneal(make_memory):
    decoder, memory, words = TransformerDecoder(9, **SMALL).eval(), make_memory(channels=12), torch.full((3, 2), BOS)
    before = decoder(words, memory)
    decoder.anneal(0.1)
    assert torch.equal(decoder(words, memory), before)


def test_the_published_sizes_are_the_default():
    decoder = TransformerDecoder(100)
    attention, feed_forward = 4 * (512 * 512 + 512), 512 * 1024 + 1024 + 1024 * 512 + 512
    encoder_layer, decoder_layer = attention + feed_forward + 2 * 1024, 2 * attention + feed_forward + 3 * 1024
    words = 100 * 512 + (100 * 512 + 100)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 2 * encoder_layer + 2 * decoder_layer + words
    assert decoder.layers[0].attention.heads == 8
    assert {part.p for part in decoder.modules() if isinstance(part, nn.Dropout)} == {0.3}
    assert "positions" not in decoder.state_dict()


def test_start_is_near_uniform_and_at_the_scale_of_the_positions():
    decoder = TransformerDecoder(1000, channels=64, heads=4, hidden=128).eval()
    assert (decoder.embedding.weight[3:] * 8).std().item() == pytest.approx(1.0, abs=0.02)
    assert not decoder.embedding.weight[0].any()
    memory = VideoMemory(torch.randn(4, 5, 64), torch.ones(4, 5, dtype=torch.bool))
    log_probs = decoder(torch.randint(3, 1000, (4, 8)), memory).log_softmax(-1)
    assert (-(log_probs.exp() * log_probs).sum(-1)).min() > 0.9 * math.log(1000)
    assert all(not value.any() for name, value in decoder.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("fusion", [None, "add", "attentive"])
def test_it_learns_which_caption_belongs_to_which_video(make_memory, fusion):
    decoder = TransformerDecoder(9, fusion=fusion, dropout=0.1, **SMALL)
    memory = make_memory(channels=12)
    words = torch.tensor([[BOS, 3, 4, 5, 2], [BOS, 3, 6, 7, 2], [BOS, 8, 4, 3, 2]])
    optimiser = torch.optim.Adam(decoder.parameters(), lr=1e-2)

    def learned() -> bool:
        for _ in range(10):
            loss = nn.functional.cross_entropy(decoder(words[:, :-1], memory).flatten(0, 1), words[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found = decoder.eval()(words[:, :-1], memory).argmax(-1)
        decoder.train()
        return torch.equal(found, words[:, 1:])

    assert any(learned() for _ in range(20))


def test_dropout_acts_in_training_only(make_memory):
    memory, words = make_memory(channels=12), torch.full((3, 4), BOS)
    decoder = TransformerDecoder(9, **SMALL)
    assert not torch.equal(decoder(words, memory), decoder(words, memory))
    decoder.eval()
    assert torch.equal(decoder(words, memory), decoder(words, memory))
    without = TransformerDecoder(9, dropout=0.0, **SMALL)
    without.load_state_dict(decoder.state_dict())
    assert torch.equal(without.train()(words, memory), decoder(words, memory))


def test_views_have_parameters_of_their_own():
    names = {name for name, _ in TransformerDecoder(9, fusion="add", **SMALL).named_parameters()}
    frames = {name for name in names if "frames" in name}
    assert {name.replace("frames", "motion") for name in frames} == {name for name in names if "motion" in name}
    assert not any("motion" in name for name, _ in TransformerDecoder(9, **SMALL).named_parameters())


@torch.no_grad()
def test_attentive_fusion_weighs_views_by_the_word():
    fusion = AttentiveFusion(6)
    x, first, second = torch.randn(3, 2, 4, 6).unbind(0)
    same = fusion(x, [first, first])
    torch.testing.assert_close(same, first, rtol=0, atol=1e-12)
    fusion.score.weight.zero_()
    torch.testing.assert_close(fusion(x, [first, second]), (first + second) / 2, rtol=0, atol=1e-12)
