"""What the settings of STaTS mean for its captions and losses (its equations: test_stats_equations.py)."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from decoders.base import select_state
from decoders.memory import VideoMemory
from decoders.search.greedy import greedy_search
from decoders.stats import STaTSDecoder
from decoders.streams import take_stream
from tests.decoders.stats_cases import REAL, TEMPORAL, WORDS, C, V, build


def test_rows_of_table_2_differ_and_use_what_they_say(memory):
    memory = replace(memory, region_mask=torch.ones(3, 5, 3, dtype=torch.bool), regions=torch.randn(3, 5, 3, C))
    memory = replace(memory, frame_mask=torch.ones(3, 5, dtype=torch.bool))
    backwards = replace(memory, regions=memory.regions.flip(1))
    outputs = {}
    for temporal in TEMPORAL:
        decoder = build(temporal=temporal, order="st")
        outputs[temporal] = decoder(WORDS, memory)
        knows_order = "lstm" in temporal or "ranked" in temporal
        assert bool((outputs[temporal] - decoder(WORDS, backwards)).abs().max() > 1e-6) == knows_order, temporal
        assert ("rank" in decoder.forward_train(WORDS, memory).losses) == ("ranked" in temporal)
        assert {"temp_att": "st_items.regions", "mean+temp_att": "st_frames.regions"}.get(
            temporal, "st_regions.regions"
        ) in decoder.attention(WORDS, memory)
    torch.testing.assert_close(outputs.pop("ranked"), outputs["lstm"])  # they differ in the loss alone
    torch.testing.assert_close(outputs.pop("mean+ranked"), outputs["mean+lstm"])
    values = list(outputs.values())
    assert min((a - b).abs().max().item() for i, a in enumerate(values) for b in values[:i]) > 1e-3


def test_a_step_where_nothing_was_seen_is_no_step(memory):
    decoder = build()
    kept = torch.tensor([0, 1, 3, 4])
    memory = memory.select(torch.tensor([0]))
    without = replace(
        memory,
        frames=memory.frames[:, kept],
        frame_mask=memory.frame_mask[:, kept],
        motion=memory.motion[:, kept],
        regions=memory.regions[:, kept],
        region_mask=memory.region_mask[:, kept],
    )
    whole, short = (decoder.forward_train(WORDS[:1], m) for m in (memory, without))
    torch.testing.assert_close(whole.features, short.features)
    torch.testing.assert_close(whole.losses["rank"], short.losses["rank"])
    looked, expected = decoder.attention(WORDS[:1], memory), decoder.attention(WORDS[:1], without)
    for name in ("ts_frames.regions", "st_regions.regions"):
        torch.testing.assert_close(looked[name][:, :, kept], expected[name])
        assert not looked[name][:, :, 2].any()


def test_temperature_is_annealed_and_saved_with_the_weights():
    decoder = build()
    decoder.anneal(0.7)
    other = build()
    other.load_state_dict(decoder.state_dict())
    assert float(other.temperature) == pytest.approx(0.7)
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"a temperature must be above 0, got {wrong}"):
            decoder.anneal(wrong)
    assert float(decoder.temperature) == pytest.approx(0.7)


def test_self_attention_sees_no_later_word_and_may_be_cached(memory):
    decoder = build()
    read = decoder.read_words(WORDS)
    changed = WORDS.clone()
    changed[:, 3:] = 8
    torch.testing.assert_close(decoder.read_words(changed)[:, :3], read[:, :3])
    earlier = WORDS.clone()
    earlier[:, 1] = 8
    assert (decoder.read_words(earlier)[:, 4] - read[:, 4]).abs().max() > 1e-3
    state = decoder.init_state(memory)
    for position, word in enumerate(WORDS.unbind(1)):
        one, state = decoder.read_word(word, state)
        torch.testing.assert_close(one, read[:, position])


def test_a_known_class_matters_and_an_unknown_one_has_a_row(memory):
    decoder = build(categories=3)
    assert decoder.reads == {"regions", "category"}
    known = decoder(WORDS, replace(memory, category=torch.tensor([0, 1, 2])))
    unknown = decoder(WORDS, replace(memory, category=torch.tensor([-1, 1, -1])))
    differs = (known - unknown).flatten(1).abs().amax(1) > 1e-6
    assert differs.tolist() == [True, False, True]
    none = decoder(WORDS, replace(memory, category=None))
    torch.testing.assert_close(none, decoder(WORDS, replace(memory, category=torch.full((3,), -1))))


@pytest.mark.parametrize("visual", ["input", "output"])
def test_the_class_is_hidden_in_training_only(memory, visual):
    decoder = build(categories=3, category_dropout=1.0, dropout=0.0, visual=visual)
    known = replace(memory, category=torch.tensor([0, 1, 2]))
    none = replace(memory, category=None)
    assert (decoder(WORDS, known) - decoder(WORDS, none)).abs().max() > 1e-3
    torch.testing.assert_close(decoder.train()(WORDS, known), decoder(WORDS, none))
    torch.manual_seed(0)
    decoder.category_dropout = 0.5
    video = torch.zeros(8, dtype=torch.long)
    features = decoder.features(WORDS[:1].expand(8, -1), known, video)
    assert len(features[:, 0, 0].round(decimals=9).unique()) == 2, "drawn for each caption, not for each video"


def test_the_class_as_target(memory):
    decoder = build(("frames",), categories=3, category_use="target", category_dropout=1.0).train()
    assert decoder.category is None
    video = torch.tensor([0, 1, 2, 2])
    words = torch.cat([WORDS, WORDS[2:]])
    memory = replace(memory, category=torch.tensor([-1, 1, 2]))
    loss = decoder.forward_train(words, memory, video).losses["category"]
    means = [memory.frames[b][memory.frame_mask[b]].mean(0) for b in (1, 2, 2)]
    torch.testing.assert_close(loss, F.cross_entropy(decoder.classifier(torch.stack(means)), torch.tensor([1, 2, 2])))
    unknown = decoder.forward_train(WORDS, replace(memory, category=None)).losses["category"]
    assert unknown.item() == 0.0
    real = torch.tensor([True, True, False, True])[:, None] & (words == 1)  # nothing counts in the third caption
    fewer = decoder.forward_train(words, memory, video, real=real).losses["category"]
    torch.testing.assert_close(
        fewer, F.cross_entropy(decoder.classifier(torch.stack([means[0], means[2]])), torch.tensor([1, 2]))
    )
    assert decoder.forward_train(words, memory, video, real=torch.zeros_like(real)).losses["category"].item() == 0.0
    both = build(("frames",), categories=3, category_use="both")
    assert both.category is not None
    assert {"rank", "category"} == both.forward_train(WORDS, memory).losses.keys()


def test_a_class_is_read_where_predictions_depend_on_it(memory):
    def parts(**settings) -> tuple[frozenset[str], frozenset[str]]:
        decoder = build(**settings)
        return decoder.reads, decoder.learns_from

    assert parts() == ({"regions"}, {"regions"})
    assert parts(categories=3, category_use="target") == ({"regions"}, {"regions", "category"})
    for use in ("input", "both"):
        assert parts(categories=3, category_use=use) == ({"regions", "category"}, {"regions", "category"})
    target, unknown = build(categories=3, category_use="target"), replace(memory, category=None)
    assert torch.equal(target(WORDS, memory), target(WORDS, unknown))
    assert torch.equal(greedy_search(target, memory, 6).words, greedy_search(target, unknown, 6).words)


@pytest.mark.parametrize("visual", ["input", "output"])
def test_own_words_are_read_and_ranked_too(memory, visual):
    decoder = build(visual=visual)
    torch.manual_seed(0)
    taught = decoder.forward_train(WORDS, memory, real=REAL, own_words=0.8)
    assert not torch.equal(taught.words, WORDS)
    again = decoder.forward_train(taught.words, memory, real=REAL)
    torch.testing.assert_close(taught.features, again.features)
    torch.testing.assert_close(taught.losses["rank"], again.losses["rank"])


class RegionsOfFrames(STaTSDecoder):
    """Reads regions alone, each with its frame added, so that every frame matters."""

    def init_state(self, memory: VideoMemory):
        return super().init_state(replace(memory, regions=memory.regions + memory.frames[:, :, None]))


@pytest.mark.parametrize("settings", [{}, {"visual": "output"}, {"selection": "straight_through"}], ids=str)
def test_regions_alone_keep_the_promises_of_a_decoder(make_memory, settings):
    decoder = RegionsOfFrames(V, C, 12, 10, streams=("regions",), **settings).eval()
    memory = make_memory()
    forced, video = decoder(WORDS, memory), torch.arange(3).repeat_interleave(2)
    state = select_state(decoder.init_state(memory), hypotheses=video)
    for position in range(5):
        logits, state = decoder.advance(WORDS[video, position], state)
        torch.testing.assert_close(decoder.output(logits), forced[video, position])
    wider = replace(
        memory,
        regions=torch.cat([memory.regions, torch.full((3, 5, 2, C), torch.nan)], 2),
        region_mask=torch.cat([memory.region_mask, torch.zeros(3, 5, 2, dtype=torch.bool)], 2),
        frames=memory.frames.masked_fill(~memory.frame_mask[..., None], torch.nan),
    )
    torch.testing.assert_close(decoder(WORDS, wider), forced)
    none = torch.tensor([False, True, False])[:, None]
    frames = memory.frames.masked_fill(none[..., None], torch.nan).requires_grad_()
    empty = replace(
        memory,
        frames=frames,
        frame_mask=memory.frame_mask & ~none,
        region_mask=memory.region_mask & ~none[..., None],
    )
    taught = decoder.train().forward_train(WORDS, empty, real=REAL)
    assert taught.features.isfinite().all()
    (decoder.output(taught.features).log_softmax(-1)[..., 3].sum() + taught.losses["rank"]).backward()
    gradients = {name: value.grad for name, value in decoder.named_parameters()} | {"frames": frames.grad}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert not frames.grad[~empty.frame_mask].any()
    assert frames.grad[empty.frame_mask].any()


def test_a_missing_part_or_another_width_is_named(make_memory):
    decoder = build(("frames", "grid"))
    with pytest.raises(ValueError, match=r"the decoder reads memory.grid, but the memory has none: give it grid"):
        decoder(WORDS, replace(make_memory(), grid=None, grid_mask=None))
    with pytest.raises(ValueError, match=r"memory.frames has 8 channels, the decoder 16: project it before"):
        take_stream(make_memory(channels=8), "frames", 16)
    with pytest.raises(ValueError, match=r"a video has category 3, the decoder knows 0\.\.2 and -1"):
        build(categories=3)(WORDS, replace(make_memory(), category=torch.tensor([0, 3, 1])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"streams": ("frames", "sound")}, "streams must name some of frames, motion, regions, grid, each once"),
        ({"streams": ()}, r"each once; got \[\]"),
        ({"streams": ("frames", "frames")}, r"each once; got \['frames', 'frames'\]"),
        ({"order": "tsst"}, "order must be one of st, ts, stats; got 'tsst'"),
        ({"temporal": "max"}, "temporal must be one of mean, lstm, .*; got 'max'"),
        ({"selection": "gumbel"}, "selection must be one of soft, straight_through, hard, topk; got 'gumbel'"),
        ({"temperature": 0.0}, "temperature must be above 0, .*; got 0.0, 3"),
        ({"top_k": 0}, "top_k at least 1.*; got 0.1, 0,"),
        ({"category_dropout": 1.5}, r"category_dropout in 0\.\.1; got .* 1\.5"),
    ],
)
@pytest.mark.usefixtures("without_annotations")
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        STaTSDecoder(V, C, 12, 10, **settings)
