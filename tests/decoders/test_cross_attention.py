"""What decoders say of where they looked: weights that sum to one, over what is real, and are those really used."""

from dataclasses import replace

import pytest
import torch

from decoders.base import Decoder
from decoders.memory import VideoMemory
from decoders.transformer import TransformerDecoder
from tests.decoders.test_contract import CHANNELS, DECODERS, SMALL, VOCABULARY, captions, close


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    torch.manual_seed(4)
    decoder = DECODERS[request.param]().eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return decoder


def with_an_empty_video(memory: VideoMemory) -> VideoMemory:
    """The last video has nothing real; what stands where nothing is real is NaN."""
    masks = {name: getattr(memory, name).clone() for name in ("frame_mask", "region_mask", "grid_mask", "object_mask")}
    for mask in masks.values():
        mask[-1] = False
    parts = {"frames": "frame_mask", "motion": "frame_mask", "regions": "region_mask", "grid": "grid_mask"}
    parts["objects"] = "object_mask"
    values = {}
    for name, of in parts.items():
        mask = masks[of]
        hidden = ~mask.view(*mask.shape, *(1,) * (getattr(memory, name).ndim - mask.ndim))
        values[name] = getattr(memory, name).masked_fill(hidden, torch.nan)
    return replace(memory, **values, **masks)


def reality(name: str, memory: VideoMemory, weights: torch.Tensor) -> torch.Tensor:
    """True where a map may be above 0, in the shape of the map without its words: ``[B ...]``."""
    kind, _, part = name.partition(".")
    frames, regions, grid = memory.frame_mask, memory.region_mask, memory.grid_mask
    if "objects" in (kind, part):
        frames = memory.object_mask
    if part == "grid":
        mask = grid[:, :, None].expand(-1, -1, memory.grid.shape[2])
    elif part == "regions":
        mask = regions & frames[:, :, None]
    elif kind == "attention":
        return frames if weights.shape[2] == frames.shape[1] else regions.flatten(1)
    else:
        return frames[:, None, None].expand(-1, *weights.shape[2:4], -1) if kind == "layers" else frames
    if kind in ("ts_frames", "st_frames"):
        return mask.any(2)
    return mask.any(1) if weights.ndim == 3 else mask


def summed_axes(name: str) -> tuple[int, ...]:
    return (-2, -1) if name.startswith("st_items") else (-1,)


@torch.no_grad()
def test_weights_of_real_items_sum_to_one(decoder, memory):
    memory, words, video = with_an_empty_video(memory), captions(5, 6), torch.tensor([2, 0, 1, 1, 0])
    maps = decoder.attention(words, memory, video)
    assert maps or getattr(decoder, "memory", "") == "none", "every decoder that looks at the video tells where"
    for name, weights in maps.items():
        assert weights.shape[:2] == (5, 6), name
        assert bool(((weights >= 0) & (weights <= 1 + 1e-12)).all()), name
        if name == "gate":
            close(weights.sum(-1), torch.ones(5, 6))
            continue
        real = reality(name, memory, weights)[video]
        assert not weights.masked_select(~real[:, None].expand_as(weights)).any(), name
        axes = summed_axes(name)
        expected = real.any(-1) if len(axes) == 1 else real.flatten(-2).any(-1)
        total = weights.sum(axes)
        close(total, expected[:, None].expand_as(total).double())
        assert not weights[video == 2].any(), f"{name} of a video without anything real"


@torch.no_grad()
def test_the_maps_of_a_batch_are_those_of_its_members(decoder, memory):
    words, video = captions(4, 5), torch.tensor([2, 0, 1, 1])
    together = decoder.attention(words, memory, video)
    assert decoder.attention(words[:, :3], memory, video).keys() == together.keys()
    for name, weights in together.items():
        close(decoder.attention(words[:, :3], memory, video)[name], weights[:, :3])  # no word looks ahead
        for row in range(4):
            alone = decoder.attention(words[row : row + 1], memory.select(video[row : row + 1]))[name]
            close(alone[0], weights[row])


@pytest.mark.parametrize("name", [name for name in DECODERS if name.startswith("transformer")])
@torch.no_grad()
def test_weights_of_the_transformer_are_those_of_its_pass(name, make_memory):
    """From the weights of the heads and the values, each layer's answer follows."""
    decoder, memory, words = DECODERS[name]().eval(), make_memory(), captions(4, 6)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    video, seen = torch.tensor([1, 0, 2, 1]), []
    hooks = [
        layer.view_attention[view].register_forward_hook(
            lambda module, inputs, output, key=(view, number): seen.append((key, module, inputs[2], output))
        )
        for number, layer in enumerate(decoder.layers)
        for view in decoder.views
    ]
    decoder(words, memory, video)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(decoder.layers) * len(decoder.views)
    maps = decoder.attention(words, memory, video)
    for (view, number), module, values, output in seen:
        weights = maps[f"layers.{view}"][:, :, number]
        heads = values.unflatten(2, (4, CHANNELS // 4))
        answer = torch.einsum("wlhf,wfhc->wlhc", weights, heads).flatten(2)
        torch.testing.assert_close(module.output(answer), output, rtol=0, atol=1e-12)
    for view in decoder.views:
        steps = getattr(memory, view).shape[1]
        assert maps[f"layers.{view}"].shape == (4, 6, len(decoder.layers), 4, steps)
        close(maps[view], maps[f"layers.{view}"].flatten(2, 3).mean(2))


@torch.no_grad()
def test_it_matters_not_whether_words_were_packed(make_memory):
    """What training computes without pads looked where `attention` says: the features it leads to are the same."""
    decoder, memory, words = TransformerDecoder(VOCABULARY, **SMALL).eval(), make_memory(), captions(3, 6)
    real = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    whole, cut = (decoder.attention(each, memory)["frames"] for each in (words, words.masked_fill(~real, 0)))
    close(whole[real], cut[real])
    close(decoder.forward_train(words, memory, real=real).features[real], decoder.features(words, memory)[real])


def test_a_decoder_that_cannot_tell_says_nothing(make_memory):
    decoder = DECODERS["transformer"]()
    assert Decoder.attention(decoder, captions(3, 2), make_memory()) == {}


@pytest.mark.parametrize("name", ["transformer-add", "attention-lstm-spatial", "stats-ts"])
def test_words_that_cannot_be_read_are_refused_here_too(name, make_memory):
    with pytest.raises(ValueError, match="4 captions for 3 videos"):
        DECODERS[name]().attention(captions(4, 2), make_memory())
