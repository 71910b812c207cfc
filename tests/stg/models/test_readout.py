"""What decoders read of a graph: every object, or one step a track."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from decoders import sinusoids
from graphs import FlatBatch, GraphData
from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig, STConfig
from stg.explain.attention import attentions
from stg.explain.attention_projection import attributions_of
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.readout import GatherByQueries, JoinTokens, Readout, frame_tokens

CHANNELS = 8
FRAME, BATCH = [0, 0, 1, 1, 2, 0, 1, 1], [0, 0, 0, 0, 0, 2, 2, 2]
TRACK = [4, 1, 1, 4, -1, 0, 0, -1]


def videos(**changes: Any) -> FlatBatch:
    """Three videos of which the second has no object; the first has two tracks and an object without."""
    draw = torch.Generator().manual_seed(0)
    fields = {
        "x": torch.randn(8, 6, generator=draw, dtype=torch.float64),
        "boxes": torch.rand(8, 4, generator=draw),
        "frame": torch.tensor(FRAME),
        "batch": torch.tensor(BATCH),
        "num_frames": torch.tensor([3, 2, 2]),
        "scene": torch.randn(7, 5, generator=draw, dtype=torch.float64),
        "edge_index": torch.tensor([[0, 1, 5], [1, 0, 6]]),
        "edge_weight": torch.ones(3, dtype=torch.float64),
        "track": torch.tensor(TRACK),
    }
    return FlatBatch(**{**fields, **changes})


def nodes_of(batch: GraphData) -> Tensor:
    return torch.randn(len(batch.frame), CHANNELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def model_of(**settings: Any) -> Captioner:
    torch.manual_seed(3)
    usual = {"channels": CHANNELS, "heads": 2, "hidden": 16, "standardise": False, "branches": "joint"}
    widths = FeatureWidths(scene=5, motion=0, objects=6, grid=0, audio=0)
    settings = {**usual, **settings}
    return (
        build_captioner(ModelConfig(**settings), GraphConfig(), widths=widths, vocabulary=9, max_words=5)
        .double()
        .eval()
    )


def plain_track(readout: Readout, nodes: Tensor, members: list[int], frames: int) -> Tensor:
    """One track, object by object."""
    assert readout.hidden is not None
    assert readout.output is not None
    hidden = []
    for node in members:
        place = [
            math.sin(FRAME[node] / 10000 ** (c / CHANNELS)) if c % 2 == 0
            else math.cos(FRAME[node] / 10000 ** ((c - 1) / CHANNELS))
            for c in range(CHANNELS)
        ]  # fmt: skip
        step = readout.hidden.weight @ (nodes[node] + torch.tensor(place, dtype=torch.float64)) + readout.hidden.bias
        hidden.append([max(value, 0.0) for value in step.tolist()])
    sums = torch.tensor([sum(column) / frames for column in zip(*hidden, strict=True)], dtype=torch.float64)
    most = torch.tensor([max(column) for column in zip(*hidden, strict=True)], dtype=torch.float64)
    made = readout.output.weight @ torch.cat([sums, most]) + readout.output.bias
    return (made - made.mean()) / (made.var(unbiased=False) + readout.norm.eps).sqrt()


def test_a_track_is_one_step_made_of_all_its_objects() -> None:
    batch, readout = videos(), Readout("tracks", CHANNELS).double()
    nodes = nodes_of(batch)
    tokens = readout(nodes, batch)
    # By the number of the track within its video: -2 - 4, -2 - 1, and the object without a track by its own number.
    assert tokens.shows.tolist() == [[-6, -3, 4], [-1, -1, -1], [-2, 2, -1]]
    assert tokens.frame_mask.tolist() == [[True] * 3, [False] * 3, [True, True, False]]
    assert bool((tokens.times == -1).all())
    for video, step, members, frames in ((0, 0, [0, 3], 3), (0, 1, [1, 2], 3), (0, 2, [4], 3), (2, 0, [5, 6], 2)):
        wanted = plain_track(readout, nodes, members, frames)
        # Positions are a table in single precision.
        torch.testing.assert_close(tokens.frames[video, step], wanted, rtol=0, atol=1e-6)


def plain_norm(layer: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias


def plain_query(gather: GatherByQueries, vector: Tensor, objects: list[Tensor]) -> tuple[Tensor, list[float]]:
    """One learned query of one video: head by head, object by object; and what it gathered from each."""
    attention, heads, shares = gather.attention, [], [0.0] * len(objects)
    size = CHANNELS // attention.heads
    asked = attention.query(vector)
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        scores = [math.exp(float(asked[part] @ attention.key(one)[part]) / math.sqrt(size)) for one in objects]
        weights = [score / sum(scores) for score in scores]
        shares = [share + weight / attention.heads for share, weight in zip(shares, weights, strict=True)]
        values = [weight * attention.value(one)[part] for weight, one in zip(weights, objects, strict=True)]
        heads.append(torch.stack(values).sum(0))
    state = plain_norm(gather.attention_norm, vector + attention.output(torch.cat(heads)))
    first, _, second = gather.feed_forward
    return plain_norm(gather.norm, state + second(first(state).clamp(min=0))), shares


@torch.no_grad()
def test_each_learned_query_gathers_from_all_objects_of_its_video() -> None:
    torch.manual_seed(0)
    batch, readout = videos(), Readout("queries", CHANNELS, queries=3, heads=2).double()
    gather = readout.gather
    assert gather is not None
    for weight in readout.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    nodes = nodes_of(batch)
    tokens = readout(nodes, batch)
    assert tokens.frames.shape == (3, 3, CHANNELS)
    assert tokens.frame_mask.tolist() == [[True] * 3, [False] * 3, [True] * 3]
    assert tokens.shares is not None
    positions = sinusoids(3, CHANNELS).double()
    for video, members in ((0, range(5)), (2, range(5, 8))):
        objects = [plain_norm(readout.norm, nodes[node]) + positions[FRAME[node]] for node in members]
        for number, vector in enumerate(gather.vectors):
            wanted, shares = plain_query(gather, vector, objects)
            torch.testing.assert_close(tokens.frames[video, number], wanted, rtol=0, atol=1e-10)
            found = tokens.shares[video, number].tolist()
            assert found == pytest.approx([*shares, *[0.0] * (5 - len(shares))], abs=1e-10)


def test_the_order_of_objects_changes_no_query_and_their_frames_do() -> None:
    batch, readout = videos(), Readout("queries", CHANNELS, queries=3, heads=2).double()
    nodes, order = nodes_of(batch), torch.tensor([1, 0, 3, 2, 4, 5, 7, 6])
    swapped = readout(nodes[order], batch)
    torch.testing.assert_close(swapped.frames, readout(nodes, batch).frames)
    late = readout(nodes, videos(frame=torch.tensor([0, 1, 1, 2, 2, 0, 0, 1])))
    assert not torch.allclose(late.frames[0], swapped.frames[0])


def test_attention_to_queries_is_shown_on_the_objects_that_they_gathered_from() -> None:
    for join in ("sequence", "gate"):
        model, batch = model_of(readout="queries", queries=3, join=join), one_video()
        memory = model.memory(batch)
        found = attentions(model.decoder, [5, 6], memory)
        shown = attributions_of(found, memory, graph=batch)[-1]
        steps, shares = found.maps[-1].steps, memory.shares if join == "sequence" else memory.object_shares
        assert steps is not None
        assert shares is not None
        assert shown.nodes is not None
        assert shown.frames is not None
        torch.testing.assert_close(torch.from_numpy(shown.nodes), steps[:, -3:] @ shares[0, -3:])
        torch.testing.assert_close(torch.from_numpy(shown.frames).sum(1), torch.ones(2, dtype=torch.float64))
        # Object 4 is alone in picture 2.
        alone = torch.from_numpy(shown.nodes)[:, 4] + (steps[:, 2] if join == "sequence" else 0)
        torch.testing.assert_close(torch.from_numpy(shown.frames)[:, 2], alone)


def test_nodes_are_steps_at_their_frames() -> None:
    batch, readout = videos(), Readout("nodes", CHANNELS).double()
    nodes = nodes_of(batch)
    tokens = readout(nodes, batch)
    assert tokens.shows.tolist() == [[0, 1, 2, 3, 4], [-1] * 5, [0, 1, 2, -1, -1]]
    assert tokens.times.tolist() == [[0, 0, 1, 1, 2], [-1] * 5, [0, 1, 1, -1, -1]]
    torch.testing.assert_close(tokens.frames[0], readout.norm(nodes[:5]))
    torch.testing.assert_close(tokens.frames[2, :3], readout.norm(nodes[5:]))


def test_an_order_of_the_objects_of_a_frame_changes_no_track() -> None:
    batch, readout = videos(), Readout("tracks", CHANNELS).double()
    nodes = nodes_of(batch)
    order = torch.tensor([1, 0, 3, 2, 4, 5, 7, 6])
    other = videos(track=batch.track[order])
    swapped = readout(nodes[order], other)
    torch.testing.assert_close(swapped.frames[0], readout(nodes, batch).frames[0])


def test_joined_steps_are_marked_by_their_kind() -> None:
    join = JoinTokens(CHANNELS).double()
    frames, mask = torch.randn(2, 3, CHANNELS, dtype=torch.float64), torch.tensor([[True] * 3, [True, False, False]])
    found = join(frame_tokens(frames, mask), frame_tokens(frames, mask))
    torch.testing.assert_close(found.frames[:, :3], frames + join.kind.weight[0])
    torch.testing.assert_close(found.frames[:, 3:], frames + join.kind.weight[1])
    assert found.times[0].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("readout", ["frames", "nodes", "tracks", "queries"])
@pytest.mark.parametrize("decoder", ["transformer", "attention_lstm", "stats"])
def test_every_decoder_reads_scene_and_objects_and_no_padding(readout: str, decoder: str) -> None:
    model = model_of(readout=readout, decoder=decoder, stats=STaTSConfig(st=STConfig(temporal="temp_att")))
    batch, words = videos(), torch.tensor([[1, 5, 6], [1, 6, 5], [1, 5, 5]])

    def features(batch: FlatBatch) -> Tensor:
        return model.decoder.features(words, model.memory(batch))

    whole = features(batch)
    assert bool(whole.isfinite().all())
    assert model.needs_objects
    assert model.for_captioning() is model
    for name, video in (("x", 0), ("scene", 1)):
        changed = batch[name].clone()
        changed[0 if name == "x" else 4] += 1.0
        other = features(videos(**{name: changed}))
        moved = (other - whole).abs().flatten(1).amax(1) > 1e-9
        assert moved.tolist() == [row == video for row in range(3)], name


@pytest.mark.parametrize("readout", ["nodes", "tracks", "queries"])
@pytest.mark.parametrize(
    "decoder",
    [
        {"decoder": "transformer"},
        {"decoder": "attention_lstm", "attention_lstm": AttentionLSTMConfig(object_memory="temporal")},
        {"decoder": "stats", "stats": STaTSConfig(object_streams=("frames",), st=STConfig(temporal="temp_att"))},
    ],
)
def test_an_object_branch_alone_captions_from_every_readout(readout: str, decoder: dict[str, Any]) -> None:
    model = model_of(readout=readout, branches="object", **decoder)
    words, batch = torch.tensor([[1, 5, 6], [1, 6, 5], [1, 5, 5]]), videos()
    whole = model.decoder.features(words, model.memory(batch))
    x = batch.x.clone()
    x[6] += 1.0
    moved = model.decoder.features(words, model.memory(videos(x=x))) - whole
    assert (moved.abs().flatten(1).amax(1) > 1e-9).tolist() == [False, False, True]


def test_temperatures_of_edges_are_learned_with_the_model() -> None:
    settings = {"channels": CHANNELS, "heads": 2, "hidden": 16, "standardise": False, "readout": "nodes"}
    config = ModelConfig(branches="object", **settings)
    widths = FeatureWidths(scene=5, motion=0, objects=6)
    torch.manual_seed(0)
    model = build_captioner(config, GraphConfig(learned_temperature=True), widths=widths, vocabulary=9, max_words=5)
    names = {name for name, _ in model.named_parameters() if "log_tau" in name}
    assert names == {"objects.log_tau"}
    batch = videos(
        x=videos().x.float(), scene=videos().scene.float(), edge_type=torch.zeros(3, dtype=torch.int64),
        edge_index=torch.tensor([[0, 1, 5], [1, 1, 6]]), edge_weight=torch.tensor([0.6, 0.4, 1.0]),
    )  # fmt: skip
    model.decoder.features(torch.tensor([[1, 5, 6]] * 3), model.memory(batch)).square().sum().backward()
    gradient = dict(model.named_parameters())["objects.log_tau"].grad
    assert gradient is not None
    assert gradient[0] != 0
    with pytest.raises(ValueError, match=r"learned_temperature needs graph\.time_flow literal.*got both"):
        GraphConfig(learned_temperature=True, time_flow="both")


def test_words_place_objects_by_their_frame_and_not_by_their_number() -> None:
    model = model_of(readout="nodes", branches="object")
    memory, words = model.memory(videos()), torch.tensor([[1, 5, 6]])
    swap = torch.tensor([1, 0, 3, 2, 4])
    assert memory.times is not None
    one = memory.select(torch.tensor([0]))
    other = type(memory)(one.frames[:, swap], one.frame_mask, times=one.times)
    torch.testing.assert_close(model.decoder.features(words, one), model.decoder.features(words, other))
    late = type(memory)(one.frames, one.frame_mask, times=memory.times[:1].flip(1))
    assert not torch.allclose(model.decoder.features(words, one), model.decoder.features(words, late))


def one_video() -> FlatBatch:
    """The first of the videos."""
    return videos(
        x=videos().x[:5], frame=torch.tensor(FRAME[:5]), batch=torch.zeros(5, dtype=torch.int64),
        scene=videos().scene[:3], num_frames=torch.tensor([3]), track=torch.tensor(TRACK[:5]),
        edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(1, dtype=torch.float64), boxes=videos().boxes[:5],
    )  # fmt: skip


def test_attention_to_tracks_is_shown_on_their_objects() -> None:
    model, batch = model_of(readout="tracks"), one_video()
    memory = model.memory(batch)
    found = attentions(model.decoder, [5, 6], memory)
    (shown,) = attributions_of(found, memory, graph=batch)
    steps = found.maps[0].steps
    assert steps is not None
    assert shown.nodes is not None
    assert shown.frames is not None
    # Steps: three frames, track 4 (objects 0 and 3), track 1 (objects 1 and 2), object 4.
    wanted = torch.stack([steps[:, 3] / 2, steps[:, 4] / 2, steps[:, 4] / 2, steps[:, 3] / 2, steps[:, 5]], 1)
    torch.testing.assert_close(torch.from_numpy(shown.nodes), wanted)
    assert shown.by_track
    by_object = model_of(readout="nodes")
    (other,) = attributions_of(
        attentions(by_object.decoder, [5], by_object.memory(batch)), by_object.memory(batch), graph=batch
    )
    assert (other.title, other.by_track) == (shown.title, False)
    in_first = steps[:, 0] + wanted[:, 0] + wanted[:, 1]
    torch.testing.assert_close(torch.from_numpy(shown.frames[:, 0]), in_first)
    torch.testing.assert_close(torch.from_numpy(shown.frames).sum(1), torch.ones(2, dtype=torch.float64))


def test_a_store_without_tracks_is_told_how_to_get_them() -> None:
    batch = videos()
    del batch.track
    with pytest.raises(ValueError, match=r"stg\.store tracks STORE --out OTHER"):
        Readout("tracks", CHANNELS).double()(nodes_of(batch), batch)
    with pytest.raises(ValueError, match="kind must be nodes, tracks or queries, got 'frames'"):
        Readout("frames", CHANNELS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branches": "scene", "readout": "nodes"}, "readout='nodes' is for branches full, object or joint"),
        ({"branches": "concat", "readout": "tracks"}, "readout='tracks' is for branches full, object or joint"),
        ({"branches": "joint", "decoder": "stats"}, "branches='joint' puts objects behind frames"),
        ({"branches": "object", "decoder": "stats", "readout": "nodes"}, "set stats.object_streams to frames"),
        (
            {
                "branches": "full",
                "decoder": "stats",
                "readout": "queries",
                "stats": STaTSConfig(object_streams=("frames", "regions")),
            },
            "reads frames, regions: set stats.object_streams to frames",
        ),
        (
            {"branches": "object", "decoder": "attention_lstm", "readout": "nodes"},
            "set attention_lstm.object_memory to temporal",
        ),
        (
            {
                "branches": "object",
                "decoder": "stats",
                "readout": "nodes",
                "stats": STaTSConfig(object_streams=("frames",)),
            },
            "is in no order of time",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


def test_the_lstm_that_attends_to_frames_reads_tracks_as_such() -> None:
    model = model_of(
        readout="tracks", branches="object", decoder="attention_lstm",
        attention_lstm=AttentionLSTMConfig(object_memory="temporal"),
    )  # fmt: skip
    assert model.memory(videos()).frames.shape == (3, 3, CHANNELS)


@pytest.mark.parametrize("readout", ["nodes", "tracks", "queries"])
@pytest.mark.parametrize("branches", ["joint", "object"])
def test_videos_without_any_object_are_captioned(readout: str, branches: str) -> None:
    model = model_of(readout=readout, branches=branches)
    whole = videos()
    empty = {name: whole[name][:0] for name in ("x", "boxes", "frame", "batch", "track", "edge_weight")}
    memory = model.memory(videos(**empty, edge_index=whole.edge_index[:, :0]))
    features = model.decoder.features(torch.tensor([[1, 5, 6]] * 3), memory)
    assert bool(features.isfinite().all())
