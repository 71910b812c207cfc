"""STaTS against loops written from Eq. 1-12 of Cherian et al. (2020)."""

import math

import pytest
import torch
import torch.nn.functional as F

from decoders.memory import VideoMemory
from decoders.stats import STaTSDecoder
from decoders.stats_attention import SpatioTemporal, TemporoSpatial
from tests.decoders.stats_cases import REAL, TEMPORAL, WORDS, C, build

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
    taught = decoder.forward_train(WORDS, memory, real=REAL)
    torch.testing.assert_close(taught.features, expected, rtol=0, atol=1e-9)
    assert ("rank" in taught.losses) == decoder.ranks
    if decoder.ranks:
        torch.testing.assert_close(taught.losses["rank"], rank, rtol=0, atol=1e-9)


@pytest.mark.parametrize("stream", ["frames", "regions"])
@torch.no_grad()
def test_the_ranking_loss_may_keep_half_the_squared_norm(memory, stream):
    plain, kept = build((stream,)), build((stream,), rank_l2=True)
    without, loss = (decoder.forward_train(WORDS, memory, real=REAL).losses["rank"] for decoder in (plain, kept))
    norms = []
    for video, word in REAL.nonzero().tolist():
        if stream == "frames":
            steps = memory.frames[video][memory.frame_mask[video]]
        else:
            looked = plain.attention(WORDS, memory)["st_regions.regions"][video, word]
            regions, mask = memory.regions[video], memory.region_mask[video]
            steps = [sum(e[j] * x[j] for j in range(3) if m[j]) for e, x, m in zip(looked, regions, mask, strict=True)]
            steps = [step for step, m in zip(steps, mask, strict=True) if m.any()]
        h, c = torch.zeros(C), torch.zeros(C)
        for x in steps:
            h, c = lstm(plain.st[stream].ranked.lstm, x, h, c)
        norms.append(h @ h if len(steps) > 1 else torch.zeros(()))
    torch.testing.assert_close(loss - without, 0.5 * sum(norms) / len(norms), rtol=0, atol=1e-12)
