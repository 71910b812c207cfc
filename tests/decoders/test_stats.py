"""STaTS against loops written from Eq. 1-12 of Cherian et al. (2020), and what each of its settings means."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from decoders import STaTSDecoder, VideoMemory, greedy_search, select_state
from decoders.stats_units import SpatioTemporal, TemporoSpatial, UnitGate
from decoders.streams import take_stream

V, C = 11, 16
WORDS = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 3, 2, 0], [1, 9, 2, 0, 0]])
REAL = WORDS != 0
TEMPORAL = ("mean", "lstm", "mean+lstm", "temp_att", "mean+temp_att", "ranked", "mean+ranked")


def build(streams: tuple[str, ...] = ("regions",), **settings) -> STaTSDecoder:
    torch.manual_seed(3)
    decoder = STaTSDecoder(V, C, 12, 10, streams=streams, **settings).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():  # far from zero, so that nothing may be forgotten
            parameter.normal_(std=0.4)
    return decoder


@pytest.fixture
def memory(make_memory) -> VideoMemory:
    """Ragged videos whose regions have gaps: a slot here, a whole frame in the middle of the first there."""
    memory = make_memory(regions=3)
    mask = memory.region_mask & (torch.rand(3, 5, 3) < 0.7)
    mask[:, 0, 1], mask[0, 2] = True, False
    return replace(memory, regions=memory.regions.masked_fill(~mask[..., None], torch.nan), region_mask=mask)


Step = dict[int, torch.Tensor]


def steps_of(memory: VideoMemory, stream: str, video: int) -> list[Step]:
    """The real places of each step that has any, by their number."""
    if stream in ("frames", "motion"):
        part, mask = getattr(memory, stream)[video][:, None], memory.frame_mask[video][:, None]
    elif stream == "regions":
        part, mask = memory.regions[video], memory.region_mask[video]
    else:
        part, mask = memory.grid[video], memory.grid_mask[video][:, None].expand(-1, memory.grid.shape[2])
    steps = [{j: part[t, j] for j in range(part.shape[1]) if mask[t, j]} for t in range(len(part))]
    return [step for step in steps if step]


def att(module, query, x) -> torch.Tensor:
    """Eq. 2."""
    inner = module.query.weight @ query + module.query.bias + module.key.weight @ x
    return module.score.weight[0] @ torch.tanh(inner)


def softmax(scores: list) -> list:
    total = sum(score.exp() for score in scores)
    return [score.exp() / total for score in scores]


def lstm(module, x, h, c) -> tuple[torch.Tensor, torch.Tensor]:
    gates = module.weight_ih_l0 @ x + module.bias_ih_l0 + module.weight_hh_l0 @ h + module.bias_hh_l0
    i, f, g, o = gates.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def weighted(weights, values) -> torch.Tensor:
    return sum(w * x for w, x in zip(weights, values, strict=True))


def slow_st(unit: SpatioTemporal, query, steps: list[Step], shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 3-8: ``x_ST`` and the ranking loss of one word."""
    nothing = torch.zeros(())
    if unit.temporal == "temp_att":
        items = [x for step in steps for x in step.values()]
        return weighted(softmax([att(unit.attention, query, x) for x in items]), items), nothing
    if unit.temporal == "mean+temp_att":
        means = [sum(step.values()) / len(step) for step in steps]
        return weighted(softmax([att(unit.attention, query, x) for x in means]), means), nothing
    if len(steps[0]) == 1 and unit.attention is None:
        xs = [step[0] for step in steps]
    elif shared:
        averages = [sum(step[j] for step in steps) / len(steps) for j in steps[0]]
        e = softmax([att(unit.attention, query, x) for x in averages])
        xs = [weighted(e, step.values()) for step in steps]
    else:
        xs = [
            weighted(softmax([att(unit.attention, query, x) for x in step.values()]), step.values()) for step in steps
        ]
    mean = sum(xs) / len(xs)
    if unit.temporal == "mean":
        return mean, nothing
    h, c = torch.zeros(C), torch.zeros(C)
    for x in xs:
        h, c = lstm(unit.ranked.lstm, x, h, c)
    pairs = [F.softplus(h @ xs[t - 1] + 1.0 - h @ xs[t]) for t in range(1, len(xs))]
    loss = sum(pairs) / len(pairs) if pairs else nothing
    if not unit.temporal.startswith("mean"):
        return h, loss
    return (mean + h if unit.join is None else unit.join.weight @ torch.cat([mean, h]) + unit.join.bias), loss


def slow_ts(unit: TemporoSpatial, query, steps: list[Step], temperature: float) -> torch.Tensor:
    """Eq. 9-11, a place counting with the share of the attended time in which it is there."""
    summaries = [torch.stack(list(step.values())) for step in steps]
    summaries = [x.mean(0) if unit.summary == "mean" else x.amax(0) for x in summaries]
    a = softmax([att(unit.temporal, query, x) / temperature for x in summaries])
    places = sorted({j for step in steps for j in step})
    mass = [sum(a_t for a_t, step in zip(a, steps, strict=True) if j in step) for j in places]
    x = [
        sum(a_t * step[j] for a_t, step in zip(a, steps, strict=True) if j in step) / m
        for j, m in zip(places, mass, strict=True)
    ]
    if unit.spatial is None:
        return x[0]
    e = [m * att(unit.spatial, query, x_j).exp() for m, x_j in zip(mass, x, strict=True)]
    return weighted([e_j / sum(e) for e_j in e], x)


def slow(decoder: STaTSDecoder, memory: VideoMemory, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and ranking loss, one video, word, step and place at a time."""
    features, losses = torch.zeros(3, 5, C), []
    layer = decoder.self_attention
    for video in range(3):
        h, c, ys = torch.zeros(C), torch.zeros(C), []
        for i, word in enumerate(WORDS[video].tolist()):
            ys.append(decoder.embedding.weight[word])
            key = [layer.key.weight @ y + layer.key.bias for y in ys]
            value = [layer.value.weight @ y + layer.value.bias for y in ys]
            asks = layer.query.weight @ ys[-1] + layer.query.bias
            seen = weighted(softmax([asks @ k / math.sqrt(len(k)) for k in key]), value)
            query = torch.cat([layer.output.weight @ seen + layer.output.bias, h])
            units, ranks = [], []
            for stream in decoder.streams:
                steps = steps_of(memory, stream, video)
                if stream in decoder.st:
                    x, loss = slow_st(decoder.st[stream], query, steps, shared and stream == "grid")
                    units.append(x)
                    ranks.append(loss)
                if stream in decoder.ts:
                    units.append(slow_ts(decoder.ts[stream], query, steps, float(decoder.temperature)))
            if REAL[video, i] and ranks:
                losses.append(sum(ranks) / len(ranks))
            x = units[0]
            if len(units) > 1:  # Eq. 12
                gate = decoder.gate
                beta = [
                    w.weight[0] @ torch.tanh(u.weight @ x + gate.hidden.weight @ h)
                    for w, u, x in zip(gate.score, gate.unit, units, strict=True)
                ]
                x = weighted(softmax(beta), units)
            x = torch.tanh(x)
            read = [ys[-1]] + [x] * (decoder.visual == "input")
            h, c = lstm(decoder.lstm, torch.cat(read), h, c)
            features[video, i] = h
            if decoder.visual == "output":
                features[video, i] = decoder.behind.weight @ torch.cat([h, x]) + decoder.behind.bias
    return features, sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("streams", [("regions",), ("grid",), ("motion",), ("frames", "regions")], ids="+".join)
@pytest.mark.parametrize("order", ["st", "ts", "stats"])
def test_equals_the_equations(memory, streams, order):
    check(build(streams, order=order), memory)


@pytest.mark.parametrize("temporal", TEMPORAL)
def test_every_row_of_table_2_equals_the_equations(memory, temporal):
    check(build(temporal=temporal, order="st"), memory)


@pytest.mark.parametrize(
    "settings",
    [{"visual": "output"}, {"mean_join": "add"}, {"summary": "max", "temperature": 0.5}, {"spatial": "per_frame"}],
    ids=str,
)
def test_other_settings_equal_the_equations(memory, settings):
    check(build(("grid", "regions"), **settings), memory)


@torch.no_grad()
def check(decoder: STaTSDecoder, memory: VideoMemory) -> None:
    spatial = {unit.shared for name, unit in decoder.st.items() if name == "grid"}
    expected, rank = slow(decoder, memory, shared=True in spatial)
    taught = decoder.teach(WORDS, memory, real=REAL)
    torch.testing.assert_close(taught.features, expected, rtol=0, atol=1e-9)
    assert ("rank" in taught.losses) == decoder.ranks
    if decoder.ranks:
        torch.testing.assert_close(taught.losses["rank"], rank, rtol=0, atol=1e-9)


def test_spatial_attention_of_a_grid_is_one_for_all_steps_and_does_not_know_their_order(memory):
    order = torch.tensor([2, 0, 1])
    memory = replace(memory, grid_mask=torch.ones(3, 3, dtype=torch.bool))
    shuffled = replace(memory, grid=memory.grid[:, order])
    shared = build(("grid",))
    before, after = (shared.attention(WORDS, m)["st_regions.grid"][:, 0] for m in (memory, shuffled))
    assert before.shape == (3, 4)
    torch.testing.assert_close(before, after)
    own = build(("grid",), spatial="per_frame")
    before, after = (own.attention(WORDS, m)["st_regions.grid"][:, 0] for m in (memory, shuffled))
    assert before.shape == (3, 3, 4)
    torch.testing.assert_close(before[:, order], after)
    assert (before - after).abs().max() > 1e-2


def test_padded_steps_are_not_averaged(memory):
    decoder = build(("grid",))
    padded = memory.grid.masked_fill(~memory.grid_mask[..., None, None], torch.nan)
    torch.testing.assert_close(decoder(WORDS, replace(memory, grid=padded)), decoder(WORDS, memory))


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
        assert ("rank" in decoder.teach(WORDS, memory).losses) == ("ranked" in temporal)
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
    whole, short = (decoder.teach(WORDS[:1], m) for m in (memory, without))
    torch.testing.assert_close(whole.features, short.features)
    torch.testing.assert_close(whole.losses["rank"], short.losses["rank"])
    looked, expected = decoder.attention(WORDS[:1], memory), decoder.attention(WORDS[:1], without)
    for name in ("ts_frames.regions", "st_regions.regions"):
        torch.testing.assert_close(looked[name][:, :, kept], expected[name])
        assert not looked[name][:, :, 2].any()


@pytest.mark.parametrize("visual", ["input", "output"])
def test_weights_have_names_and_sum_to_one_on_what_is_real(memory, visual):
    decoder = build(("regions", "grid", "frames"), visual=visual)
    trace = decoder.attention(WORDS, memory)
    assert decoder.units == ("regions.st", "regions.ts", "grid.st", "grid.ts", "frames.st", "frames.ts")
    assert {name: tuple(value.shape[2:]) for name, value in trace.items()} == {
        "gate": (6,),
        "st_regions.regions": (5, 3),
        "ts_frames.regions": (5,),
        "ts_regions.regions": (3,),
        "st_regions.grid": (4,),
        "ts_frames.grid": (3,),
        "ts_regions.grid": (4,),
        "ts_frames.frames": (5,),
    }
    for name, value in trace.items():
        total = value.sum(-1)
        one = memory.region_mask.any(-1)[:, None].to(total) if name == "st_regions.regions" else torch.ones(())
        torch.testing.assert_close(total, one.expand_as(total))
    assert not trace["st_regions.regions"].masked_select(~memory.region_mask[:, None]).any()
    assert not trace["ts_frames.frames"].masked_select(~memory.frame_mask[:, None]).any()


def test_selection_at_low_temperature_is_the_maximum(memory):
    soft, hard = build(order="ts"), build(order="ts", selection="hard")
    expected = hard(WORDS, memory)
    chosen = hard.attention(WORDS, memory)["ts_frames.regions"]
    assert torch.equal(chosen.unique(), torch.tensor([0.0, 1.0]))
    assert (soft(WORDS, memory) - expected).abs().max() > 1e-6
    soft.anneal(1e-4)
    torch.testing.assert_close(soft(WORDS, memory), expected)
    # As Eq. 9-11 ask: the spatial softmax over what is real in the one frame.
    seen = memory.region_mask[torch.arange(3)[:, None], chosen.argmax(-1)]
    assert torch.equal(hard.attention(WORDS, memory)["ts_regions.regions"] > 0, seen)


@pytest.mark.parametrize(
    ("selection", "learns"), [("soft", True), ("straight_through", True), ("topk", True), ("hard", False)]
)
def test_gradient_of_the_selection(memory, selection, learns):
    decoder = build(order="ts", selection=selection).train()
    assert float(decoder.temperature) == pytest.approx(0.1)
    decoder(WORDS, memory).square().sum().backward()
    gradient = decoder.ts["regions"].temporal.key.weight.grad
    assert (gradient is not None and bool(gradient.abs().max() > 0)) == learns
    assert all(value.grad is None or value.grad.isfinite().all() for value in decoder.parameters())


def test_straight_through_and_top_one_look_as_the_maximum_does(memory):
    expected = build(order="ts", selection="hard")(WORDS, memory)
    torch.testing.assert_close(build(order="ts", selection="straight_through")(WORDS, memory), expected)
    torch.testing.assert_close(build(order="ts", selection="topk", top_k=1)(WORDS, memory), expected)
    soft = build(order="ts", temperature=2.0)(WORDS, memory)
    torch.testing.assert_close(build(order="ts", selection="topk", top_k=9, temperature=2.0)(WORDS, memory), soft)
    chosen = build(order="ts", selection="topk", top_k=2).attention(WORDS, memory)["ts_frames.regions"]
    assert (chosen > 0).sum(-1).unique().tolist() == [2]


def test_hard_at_test_is_soft_in_training(memory):
    settings = {"order": "ts", "temperature": 1.0, "dropout": 0.0}
    soft, mixed = build(**settings), build(at_test="hard", **settings)
    torch.testing.assert_close(mixed(WORDS, memory), build(selection="hard", **settings)(WORDS, memory))
    torch.testing.assert_close(mixed.train()(WORDS, memory), soft(WORDS, memory))


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


def test_equal_scores_gate_to_the_mean_and_tanh_comes_last():
    gate, units, hidden = UnitGate(2, C, 10), [torch.randn(2, 3, C), torch.randn(2, 3, C)], torch.randn(2, 3, C)
    x, weights = gate(units, hidden)
    assert ((weights > 0) & (weights < 1)).all()
    assert ((x > -1) & (x < 1)).all()
    for score in gate.score:
        torch.nn.init.zeros_(score.weight)
    x, weights = gate(units, hidden)
    torch.testing.assert_close(x, torch.tanh((units[0] + units[1]) / 2))
    assert torch.equal(weights, torch.full((2, 3, 2), 0.5))
    assert not any(parameter.shape == (10,) for parameter in gate.parameters()), "Eq. 12 prints no biases"


def test_one_unit_has_no_gate_but_its_tanh():
    gate, unit = UnitGate(1, C, 10), torch.randn(2, 3, C)
    assert not list(gate.parameters())
    x, weights = gate([unit], torch.randn(2, 3, C))
    torch.testing.assert_close(x, unit.tanh())
    assert torch.equal(weights, torch.ones(2, 3, 1))


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
    loss = decoder.teach(words, memory, video).losses["category"]
    means = [memory.frames[b][memory.frame_mask[b]].mean(0) for b in (1, 2, 2)]
    torch.testing.assert_close(loss, F.cross_entropy(decoder.classifier(torch.stack(means)), torch.tensor([1, 2, 2])))
    unknown = decoder.teach(WORDS, replace(memory, category=None)).losses["category"]
    assert unknown.item() == 0.0
    real = torch.tensor([True, True, False, True])[:, None] & (words == 1)  # nothing counts in the third caption
    fewer = decoder.teach(words, memory, video, real=real).losses["category"]
    torch.testing.assert_close(
        fewer, F.cross_entropy(decoder.classifier(torch.stack([means[0], means[2]])), torch.tensor([1, 2]))
    )
    assert decoder.teach(words, memory, video, real=torch.zeros_like(real)).losses["category"].item() == 0.0
    both = build(("frames",), categories=3, category_use="both")
    assert both.category is not None
    assert {"rank", "category"} == both.teach(WORDS, memory).losses.keys()


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


def test_the_ranking_loss_may_keep_the_norm(memory):
    for stream in ("frames", "regions"):
        plain, kept = build((stream,)), build((stream,), rank_l2=True)
        without, loss = (d.teach(WORDS, memory, real=REAL).losses["rank"] for d in (plain, kept))
        assert loss > without + 1e-3


@pytest.mark.parametrize("visual", ["input", "output"])
def test_own_words_are_read_and_ranked_too(memory, visual):
    decoder = build(visual=visual)
    torch.manual_seed(0)
    taught = decoder.teach(WORDS, memory, real=REAL, own_words=0.8)
    assert not torch.equal(taught.words, WORDS)
    again = decoder.teach(taught.words, memory, real=REAL)
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
    taught = decoder.train().teach(WORDS, empty, real=REAL)
    assert taught.features.isfinite().all()
    (decoder.output(taught.features).log_softmax(-1)[..., 3].sum() + taught.losses["rank"]).backward()
    gradients = {name: value.grad for name, value in decoder.named_parameters()} | {"frames": frames.grad}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert not frames.grad[~empty.frame_mask].any()
    assert frames.grad[empty.frame_mask].any()


def test_no_two_attentions_share_parameters():
    decoder = build(("regions", "grid"))
    attentions = [decoder.st[s].attention for s in ("regions", "grid")]
    attentions += [module for s in ("regions", "grid") for module in (decoder.ts[s].temporal, decoder.ts[s].spatial)]
    assert len({parameter.data_ptr() for module in attentions for parameter in module.parameters()}) == 6 * 4


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


@pytest.mark.parametrize("gap", [2.7, 3.1, 3.3, 4.3, 8.5, 8.65, 8.8, 20.0])
def test_a_slot_that_holds_something_in_unattended_frames_only_has_finite_gradients(gap):
    unit = TemporoSpatial(query=2, channels=3, attention=1, places=True).float()
    with torch.no_grad():
        unit.temporal.query.weight.zero_()
        unit.temporal.query.bias.zero_()
        unit.temporal.score.weight.fill_(gap / 2)
    mask = torch.tensor([[[True, False], [True, True]]])  # the second slot is empty in the attended frame
    values = 100 * torch.randn(1, 2, 2, 3, dtype=torch.float32) * mask[..., None]
    values.requires_grad_()
    parts = {
        "values": values,
        "mask": mask,
        "real": torch.ones(1, 2, dtype=torch.bool),
        "ts.frame_keys": torch.tensor([[[20.0], [-20.0]]], dtype=torch.float32, requires_grad=True),
        "ts.place_keys": torch.randn(1, 2, 2, 1, dtype=torch.float32),
    }
    x, trace = unit(torch.randn(1, 1, 2, dtype=torch.float32), parts, torch.tensor(0.1, dtype=torch.float32))
    x.sum().backward()
    assert values.grad.isfinite().all()
    assert parts["ts.frame_keys"].grad.isfinite().all()
    assert trace["ts_regions"][0, 0, 1] < 1e-8
    torch.testing.assert_close(x[0, 0], values[0, 0, 0])
