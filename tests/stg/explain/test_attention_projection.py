"""Where words looked: shares that make up what was read, laid over the right frames, objects and places."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decoders import AttentionLSTMDecoder, Decoder, STaTSDecoder, TransformerDecoder, VideoMemory
from graphs import STGEncoder
from stg.explain import Attribution
from stg.explain.attention import attentions
from stg.explain.attention_projection import attributions_of
from stg.models.captioner import Branch, Captioner
from stg.models.memory import MemoryBuilder, pad_grid, pad_regions, subsample_steps
from tests.stg.conftest import made_batch, made_video

C, WORDS = 8, [4, 5, 6, 5]


pytestmark = pytest.mark.usefixtures("double_precision")


def video(frames: int = 5, places: int = 4) -> VideoMemory:
    """One video whose third frame shows no object, and whose others have gaps; the last step of the grid is padding."""
    mask = torch.rand(frames, 3) < 0.6
    mask[:, 0], mask[2] = True, False
    regions = torch.randn(1, frames, 3, C).masked_fill(~mask[None, :, :, None], torch.nan)
    return VideoMemory(
        frames=torch.randn(1, frames, C),
        frame_mask=torch.ones(1, frames, dtype=torch.bool),
        regions=regions,
        region_mask=mask[None],
        motion=torch.randn(1, frames, C),
        grid=torch.randn(1, 3, places, C),
        grid_mask=torch.tensor([[True, True, False]]),
    )


def stats(*streams: str, **settings: Any) -> STaTSDecoder:
    decoder = STaTSDecoder(9, C, 6, 5, streams=streams, **settings).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return decoder


def lstm(memory: str, **settings: Any) -> AttentionLSTMDecoder:
    decoder = AttentionLSTMDecoder(9, C, 6, 5, memory, **settings).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return decoder


def attributed(
    decoder: Decoder, words: list[int], memory: VideoMemory, *, graph: Any, grid: tuple[int, int] | None = None
) -> tuple[tuple[Attribution, ...], np.ndarray | None, tuple[str, ...]]:
    """The attributions of the words, the share of each unit where a gate weighs them, and the units' names."""
    found = attentions(decoder, words, memory)
    gate = None if found.gate is None else found.gate.cpu().numpy()
    return attributions_of(found, memory, graph=graph, grid=grid), gate, found.units


class Given(Decoder):
    """Says that it looked where it is told, whatever it reads."""

    def __init__(self, maps: dict[str, Tensor], reads: frozenset[str] = frozenset()) -> None:
        super().__init__(9, C)
        self.maps, self._reads = maps, reads

    @property
    def reads(self) -> frozenset[str]:
        return self._reads

    def attention(self, words: Tensor, memory: VideoMemory, video: Tensor | None = None) -> dict[str, Tensor]:
        return {name: value.expand(1, words.shape[1], *value.shape) for name, value in self.maps.items()}

    features = init_state = advance = None


def read_by(unit: torch.nn.Module, decoder: Decoder, memory: VideoMemory) -> Tensor:
    """What a unit of STaTS handed on for each word ``[L C]``."""
    seen: list[Tensor] = []
    hook = unit.register_forward_hook(lambda module, inputs, output: seen.append(output[0][0]))
    decoder(torch.tensor([[1, *WORDS[:-1]]]), memory)
    hook.remove()
    return torch.cat(seen)


@pytest.mark.parametrize("stream", ["regions", "grid"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ts", {"order": "ts", "temperature": 0.5}),
        ("ts", {"order": "ts", "selection": "hard"}),
        ("st", {"order": "st", "temporal": "mean"}),
        ("st", {"order": "st", "temporal": "mean", "spatial": "per_frame"}),
        ("st", {"order": "st", "temporal": "temp_att"}),
    ],
)
@torch.no_grad()
def test_items_times_their_share_are_what_was_read(name, settings, stream):
    decoder, memory = stats(stream, **settings), video()
    (way,) = attentions(decoder, WORDS, memory).maps
    assert (way.name, way.part, way.items is not None) == (name, stream, True)
    values = torch.nan_to_num(getattr(memory, stream)[0])
    read = torch.einsum("lfn,fnc->lc", way.items, values)
    torch.testing.assert_close(read, read_by(getattr(decoder, name)[stream], decoder, memory), rtol=0, atol=1e-12)
    torch.testing.assert_close(way.items.sum((1, 2)), torch.ones(4), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_row_belongs_to_the_word_that_was_predicted():
    memory = video()
    for decoder in (TransformerDecoder(9, C, heads=2, hidden=8), lstm("spatial"), stats("regions")):
        decoder.eval()
        before = decoder.attention(torch.tensor([[1, 4, 5, 6]]), memory)
        ways = attentions(decoder, WORDS, memory).maps
        last = attentions(decoder, [*WORDS[:3], 8], memory).maps
        first = attentions(decoder, [8, *WORDS[1:]], memory).maps
        for way, same, other in zip(ways, last, first, strict=True):
            for part in ("steps", "items"):
                rows = getattr(way, part)
                if rows is None:
                    continue
                assert len(rows) == 4
                assert torch.equal(rows, getattr(same, part)), "no word had a part in its own prediction"
                assert torch.equal(rows[0], getattr(other, part)[0])
                assert not torch.equal(rows[1], getattr(other, part)[1])
        assert {name: value.shape[1] for name, value in before.items()} == dict.fromkeys(before, 4)


def ragged_graph() -> Any:
    """One video: objects in frames 0, 2 and 3, none in 1 and 4; seven rows of motion and grid."""
    return made_batch([made_video(1, [2, 0, 3, 1, 0], rows=7, grid=True)])


@torch.no_grad()
def test_the_weight_of_a_place_goes_to_its_object():
    graph = ragged_graph()
    numbers = torch.arange(1.0, 7.0)
    regions, mask = pad_regions(numbers[:, None], graph.frame, graph.batch, graph.num_frames)
    memory = VideoMemory(torch.zeros(1, 5, C), torch.ones(1, 5, dtype=torch.bool), regions, mask)
    told = Given({"attention": regions[0, :, :, 0].flatten()}, frozenset({"regions"}))
    (look,), gate, units = attributed(told, WORDS, memory, graph=graph)
    assert (look.name, gate, units) == ("spatial", None, ())
    np.testing.assert_array_equal(look.nodes, numbers.expand(4, -1))
    np.testing.assert_array_equal(look.frames, torch.tensor([3.0, 0.0, 12.0, 6.0, 0.0]).expand(4, -1))


@torch.no_grad()
def test_a_whole_object_branch_lights_the_objects_it_read():
    """From the batch through the graph and the decoder: what was read is the nodes times their shares."""
    graph = ragged_graph()
    for name in ("x", "edge_weight", "scene", "motion", "grid"):
        graph[name] = graph[name].double()
    captioner = Captioner(
        objects=Branch(STGEncoder(6, C, 1), lstm("spatial"), MemoryBuilder(regions=torch.nn.Identity()))
    ).eval()
    (look,), _, _ = attributed(captioner.decoder, WORDS, captioner.memory(graph), graph=graph)
    nodes, _, _ = captioner.objects(
        graph.x, graph.frame, graph.edge_index, graph.edge_weight, batch=graph.batch, num_frames=graph.num_frames
    )
    memory, read = captioner.memory(graph), torch.tensor([[1, *WORDS[:-1]]])
    weights = captioner.decoder.attention(read, memory)["attention"][0]
    expected = weights @ torch.nan_to_num(memory.regions[0]).flatten(0, 1)
    np.testing.assert_allclose(look.nodes @ nodes.numpy(), expected.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(look.frames.sum(1), 1)
    assert not look.frames[:, [1, 4]].any()


def grid_memory(graph: Any, most: int = 0, places: int = 3) -> VideoMemory:
    rows, ptr = torch.arange(len(graph.grid)), graph.motion_ptr
    if most:
        rows, ptr = subsample_steps(ptr, most)
    grid, mask = pad_grid(torch.zeros(len(rows), places, C), ptr)
    pictures = int(graph.num_frames)
    return VideoMemory(
        torch.zeros(1, pictures, C), torch.ones(1, pictures, dtype=torch.bool), grid=grid, grid_mask=mask
    )


@pytest.mark.parametrize(
    ("pictures", "row", "rows", "most", "expected"),
    [
        # several pictures of one step share it
        (4, [0, 0, 1, 1], 2, 0, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
        # a step between two pictures is shared; one behind the last goes to the last
        (2, [0, 2], 4, 0, [[1, 0], [0.5, 0.5], [0, 1], [0, 1]]),
        # pictures need not fall into evenly spread steps
        (3, [1, 1, 3], 4, 0, [[0.5, 0.5, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0, 1]]),
        # of six steps, the memory holds the second and the fifth: a picture of another shows the nearest
        (3, [0, 2, 5], 6, 2, [[0.5, 0.5, 0], [0, 0, 1]]),
        # without rows, pictures are spread evenly
        (2, None, 4, 0, [[0.5, 0], [1, 0], [0.5, 0], [0, 1]]),
    ],
)
@torch.no_grad()
def test_steps_of_a_grid_go_to_the_nearest_pictures(pictures, row, rows, most, expected):
    graph = made_batch([made_video(1, [1] * pictures, rows=rows, grid=True)])
    if row is None:
        del graph.motion_row
        expected = [[1, 0], [1, 0], [0.5, 0.5], [0, 1]]
    else:
        graph.motion_row = torch.tensor(row)
    memory = grid_memory(graph, most)
    kept = memory.grid.shape[1]
    for step in range(kept):
        chosen = torch.zeros(kept)
        chosen[step] = 1
        told = Given({"ts_frames.grid": chosen, "ts_regions.grid": torch.tensor([0.2, 0.3, 0.5])})
        (look,), _, _ = attributed(told, WORDS, memory, graph=graph, grid=(1, 3))
        share = np.array(expected[step])
        np.testing.assert_allclose(look.frames, np.tile(share, (4, 1)), atol=1e-12)
        np.testing.assert_allclose(look.places[0], share[:, None, None] * np.array([[[0.2, 0.3, 0.5]]]), atol=1e-12)


@torch.no_grad()
def test_places_need_the_shape_of_their_grid():
    graph = ragged_graph()
    told = Given({"st_regions.grid": torch.arange(6.0)})
    memory = grid_memory(graph, places=6)
    (look,), _, _ = attributed(told, WORDS, memory, graph=graph, grid=(2, 3))
    assert look.frames is None
    np.testing.assert_allclose(look.places.sum(1)[0], [[0, 1, 2], [3, 4, 5]])
    (look,), _, _ = attributed(told, WORDS, memory, graph=graph)
    assert look.places is None
    with pytest.raises(ValueError, match="grid has 6 places, and 2 x 4 are 8"):
        attributed(told, WORDS, memory, graph=graph, grid=(2, 4))
    (look,), _, _ = attributed(
        Given({"st_regions.grid": torch.arange(4.0)}), WORDS, grid_memory(graph, places=4), graph=graph
    )
    assert look.places.shape == (4, 5, 2, 2)


@torch.no_grad()
def test_streams_units_and_gate_have_names():
    graph, memory = ragged_graph(), video(places=4)
    regions = torch.randn(6, C)
    laid_out, mask = pad_regions(regions, graph.frame, graph.batch, graph.num_frames)
    memory = replace(memory, regions=laid_out, region_mask=mask)
    decoder = stats("frames", "grid", "regions")
    attributions, gate, units = attributed(decoder, WORDS, memory, graph=graph)
    assert [look.name for look in attributions] == ["ts.grid", "ts.regions", "st.grid", "st.regions", "ts.frames"]
    assert units == ("ST of frames", "TS of frames", "ST of places", "TS of places", "ST of objects", "TS of objects")
    assert gate.shape == (4, 6)
    np.testing.assert_allclose(gate.sum(1), 1)
    for look in attributions:
        assert look.note.count("not proof") == 1, look.name
        shown = [each for each in (look.frames, look.nodes, look.places) if each is not None]
        assert shown
        for each in shown:
            np.testing.assert_allclose(each.reshape(4, -1).sum(1), 1, err_msg=look.name)
    (look,), gate, units = attributed(stats("frames", order="ts"), WORDS, memory, graph=graph)
    assert (look.name, gate, units) == ("ts", None, ())


@torch.no_grad()
def test_views_of_the_transformer_and_what_is_said_of_them():
    graph, memory = ragged_graph(), video()
    mixing = TransformerDecoder(9, C, heads=2, hidden=8, fusion="add").eval()
    attributions, _, _ = attributed(mixing, WORDS, memory, graph=graph)
    read = torch.tensor([[1, *WORDS[:-1]]])
    for look in attributions:
        np.testing.assert_array_equal(look.frames, mixing.attention(read, memory)[look.name][0].numpy())
        assert "encoder has mixed" in look.note
    assert [look.name for look in attributions] == ["frames", "motion"]
    plain = TransformerDecoder(9, C, num_encoder_layers=0, heads=2, hidden=8).eval()
    (look,), _, _ = attributed(plain, WORDS, memory, graph=graph)
    assert "encoder" not in look.note


@torch.no_grad()
def test_branches_joined_in_time_share_their_pictures():
    graph = ragged_graph()
    memory = VideoMemory(torch.zeros(1, 10, C), torch.ones(1, 10, dtype=torch.bool))
    (look,), _, _ = attributed(Given({"frames": torch.arange(10.0)}), WORDS, memory, graph=graph)
    np.testing.assert_array_equal(look.frames[0], [5, 7, 9, 11, 13])
    assert "two steps" in look.note


@torch.no_grad()
def test_a_video_without_anything_has_zeros():
    graph = made_batch([made_video(1, [0, 0], rows=2, grid=True)])
    none = torch.zeros(1, 2, dtype=torch.bool)
    memory = VideoMemory(
        torch.full((1, 2, C), torch.nan),
        none,
        regions=torch.full((1, 2, 1, C), torch.nan),
        region_mask=none[:, :, None],
        grid=torch.full((1, 2, 4, C), torch.nan),
        grid_mask=none,
    )
    decoders = [TransformerDecoder(9, C, heads=2, hidden=8), lstm("temporal"), lstm("spatial")]
    for decoder in [*decoders, stats("frames", "regions", "grid"), stats("regions", order="st", temporal="temp_att")]:
        attributions, _, _ = attributed(decoder.eval(), WORDS, memory, graph=graph)
        assert attributions
        for look in attributions:
            for shown in (look.frames, look.nodes, look.places):
                assert shown is None or not shown.any(), (type(decoder).__name__, look.name)


def test_no_words_and_nothing_to_tell():
    graph, memory = ragged_graph(), video()
    assert attributed(lstm("temporal"), [], memory, graph=graph) == ((), None, ())
    assert attributed(lstm("none"), WORDS, memory, graph=graph) == ((), None, ())
    assert attributed(Given({"other": torch.ones(3)}), WORDS, memory, graph=graph) == ((), None, ())


def test_a_memory_of_something_else_is_refused():
    graph, memory = ragged_graph(), video()
    with pytest.raises(ValueError, match="the memory holds 2 videos"):
        attributed(lstm("temporal"), WORDS, memory.select(torch.tensor([0, 0])), graph=graph)
    with pytest.raises(ValueError, match="the memory has 4 frames and the graph 5: give the memory of this graph"):
        attributed(lstm("temporal"), WORDS, video(frames=4), graph=graph)
    mask = torch.ones(1, 5, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="the memory has 15 objects and the graph 6"):
        attributed(
            lstm("spatial"), WORDS, replace(memory, region_mask=mask, regions=torch.zeros(1, 5, 3, C)), graph=graph
        )
    few = made_batch([made_video(1, [1] * 5, rows=2, grid=True)])
    with pytest.raises(ValueError, match="the memory has 3 steps of a grid and the graph 2"):
        attributed(stats("grid"), WORDS, memory, graph=few)
