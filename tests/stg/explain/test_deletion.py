"""Hiding what was attended to costs more than hiding anything else, where the attention tells the truth."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decoders import AttentionLSTMDecoder, Decoder, STaTSDecoder, TransformerDecoder, VideoMemory
from stg.explain.attention import attentions
from stg.explain.deletion import DeletionTest
from stg.explain.explanation import Deletion

C, FRAMES, REGIONS, FIRST_WORD, WORDS = 16, 6, 2, 3, 6
V = FIRST_WORD + WORDS


def toy(videos: int, seed: int) -> tuple[VideoMemory, Tensor]:
    """Videos of two words each; one region, alone in telling it, holds the first word, another frame's the second."""
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(WORDS, (videos, 2), generator=random)
    regions = 0.1 * torch.randn(videos, FRAMES, REGIONS, C, generator=random)
    frame = torch.rand(videos, FRAMES, generator=random).topk(2).indices
    slot = torch.randint(REGIONS, (videos, 2), generator=random)
    for place in range(2):
        at = (torch.arange(videos), frame[:, place], slot[:, place])
        regions[(*at, words[:, place])] += 2
        regions[(*at, torch.full_like(slot[:, 0], WORDS + place))] += 2  # says which of the words it is
    mask = torch.ones(videos, FRAMES, REGIONS, dtype=torch.bool)
    frames = regions.sum(2)
    return VideoMemory(frames, mask.any(2), regions, mask), words + FIRST_WORD


DECODERS = {
    "frames": lambda: TransformerDecoder(V, C, 1, 1, heads=2, hidden=32, dropout=0.0),
    "spatial": lambda: AttentionLSTMDecoder(V, C, 16, 16, "spatial", dropout=0.0),
    "ts": lambda: STaTSDecoder(V, C, 16, 16, streams=("regions",), order="ts", temperature=1.0, dropout=0.0),
}
HIDES = {"frames": "frames", "spatial": "regions", "ts": "regions"}


@pytest.fixture(scope="module", params=DECODERS)
def trained(request: pytest.FixtureRequest) -> tuple[str, Decoder]:
    torch.manual_seed(1)
    decoder = DECODERS[request.param]()
    optimiser = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    for step in range(100):
        memory, words = toy(48, seed=step)
        read = torch.cat([torch.full((48, 1), decoder.bos), words[:, :1]], 1)
        loss = torch.nn.functional.cross_entropy(decoder(read, memory).flatten(0, 1), words.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return request.param, decoder.eval()


def run(decoder: Decoder, name: str, moved: int = 0) -> Deletion:
    """The test over fresh videos, of the decoder's attention, or of that moved to other items."""
    memory, words = toy(24, seed=1000)
    test = DeletionTest(count=1)
    for row, caption in enumerate(words.tolist()):
        one = memory.select(torch.tensor([row]))
        maps = [
            replace(
                way,
                steps=way.steps.roll(moved, 1),
                items=None if way.items is None else way.items.roll((moved, moved), (1, 2)),
            )
            for way in attentions(decoder, caption, one).maps
        ]
        test.add(decoder, caption, one, maps if moved else None)
    (found,) = test.results()
    assert (found.title, found.hides, found.words, found.count) == (name, HIDES[name], 48, 1)
    return found


def test_attention_that_was_learned_passes(trained):
    name, decoder = trained
    found = run(decoder, name)
    assert len(set(found.random)) == 3
    assert all(found.attended > 2 * each for each in found.random)
    assert found.ratio > 2


def test_attention_to_the_wrong_items_fails(trained):
    name, decoder = trained
    found = run(decoder, name, moved=1)
    assert found.attended < 0.5 * sum(found.random) / 3


def slowly(decoder: Decoder, words: list[int], memory: VideoMemory, mask: str, weights: Tensor, count: int) -> float:
    """The mean fall with the most attended hidden, word by word: the video with a hole, and the caption up to there."""
    falls = []
    for place, word in enumerate(words):
        hole = getattr(memory, mask).clone()
        hole.flatten()[weights[place].argsort(descending=True)[:count]] = False
        read = torch.tensor([[decoder.bos, *words[:place]]])
        before, after = (decoder(read, one)[0, -1].log_softmax(-1) for one in (memory, replace(memory, **{mask: hole})))
        falls.append(float(before[word] - after[word]))
    return sum(falls) / len(falls)


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_hiding_is_what_hiding_one_by_one_is(name):
    torch.manual_seed(2)
    decoder, (memory, _) = DECODERS[name]().eval(), toy(1, seed=5)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    words, mask = [5, 3, 8, 3, 4], f"{HIDES[name].removesuffix('s')}_mask"
    real = getattr(memory, mask).clone()
    real[0, 1] = False
    memory = replace(memory, **{mask: real})
    (found,) = attentions(decoder, words, memory).maps
    weights = found.steps if found.items is None else found.items.flatten(1)
    test = DeletionTest(count=2)
    test.add(decoder, words, memory)
    (found,) = test.results()
    assert found.attended == pytest.approx(slowly(decoder, words, memory, mask, weights, 2), abs=1e-5)
    items = int(real.sum())
    assert (found.words, found.count) == (5, 2)
    for count, expected in ((items - 1, 1), (items, 0), (items + 3, 0)):
        test = DeletionTest(count=count)
        test.add(decoder, words, memory)
        assert len(test.results()) == expected, "a video with nothing left is left out"


@torch.no_grad()
def test_a_fifth_is_hidden_over_many_videos_and_random_is_of_real_items():
    decoder, (memory, words) = DECODERS["spatial"]().eval(), toy(3, seed=6)
    mask = torch.zeros(3, FRAMES, REGIONS, dtype=torch.bool)
    mask[0], mask[1, :2, 0], mask[2, 0, 0] = True, True, True  # 12, 2 and 1 objects
    test = DeletionTest(seeds=(0, 0, 5))
    for row in range(3):
        one = replace(memory, region_mask=mask).select(torch.tensor([row]))
        test.add(decoder, words[row].tolist(), one)
    test.add(decoder, [], memory.select(torch.tensor([0])))
    (found,) = test.results()
    assert (found.words, found.count) == (4, 2)  # (2 + 1) / 2, to the even number
    assert found.random[0] == found.random[1] != found.random[2]


@torch.no_grad()
def test_steps_of_a_grid_are_hidden_and_what_is_no_choice_is_not_tested():
    memory, _ = toy(1, seed=7)
    grid = torch.randn(1, 5, 4, C)
    memory = replace(memory, grid=grid, grid_mask=torch.ones(1, 5, dtype=torch.bool))
    decoder = STaTSDecoder(V, C, 8, 8, streams=("grid", "regions"), temporal="mean+temp_att").eval()
    test = DeletionTest()
    test.add(decoder, [4, 5], memory)
    found = {each.title: (each.hides, each.count) for each in test.results()}
    assert found == {
        "ts.grid": ("steps", 1),
        "ts.regions": ("regions", 2),
        "st.grid": ("steps", 1),
        "st.regions": ("frames", 1),
    }
    decoder = STaTSDecoder(V, C, 8, 8, streams=("grid",), order="st", temporal="mean").eval()
    test = DeletionTest()
    test.add(decoder, [4, 5], memory)
    assert test.results() == ()


def test_nothing_hidden_and_no_seed_are_refused():
    with pytest.raises(ValueError, match="count must be at least 1 or None, got 0"):
        DeletionTest(count=0)
    with pytest.raises(ValueError, match="needs at least one seed"):
        DeletionTest(seeds=())
