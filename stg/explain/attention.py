"""What the words of a caption attend to in a decoder's memory, with words that say what the numbers are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from decoders import AttentionLSTMDecoder, Decoder, STaTSDecoder, TransformerDecoder, VideoMemory

Part = Literal["frames", "motion", "regions", "grid", "objects"]
Weights = Mapping[str, Tensor]

_ONE = {"frames": "frame", "motion": "motion", "regions": "frame", "grid": "step"}
_SEVERAL = {"regions": "objects", "grid": "places"}
_NO_CAUSE = "Attention is what was read, not proof that it caused the word."
_GRAPH = "Where a graph joined the objects, each had taken from others before."


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """One map from the words of a caption to the parts of the memory that they attend to.

    Args:
        name, title, note: see `stg.explain.Attribution`.
        part: of the memory that was attended to.
        steps: ``[L F]`` weight of each step of that part; None where no step is chosen.
        items: ``[L F n]`` share of each item of each step in what was read; None where a step is one item, or its items
            share alike.
    """

    name: str
    title: str
    note: str
    part: Part
    steps: Float[Tensor, "L F"] | None
    items: Float[Tensor, "L F n"] | None = None


@dataclass(frozen=True, eq=False)
class Attentions:
    """All attention maps of a decoder, and the share of each of its units where a gate weighs them.

    Args:
        maps: the most detailed first: those with items before those without.
        gate: ``[L U]``; None for a single unit.
        units: names of the units.
    """

    maps: tuple[AttentionMap, ...] = ()
    gate: Float[Tensor, "L U"] | None = None
    units: tuple[str, ...] = ()


@torch.no_grad()
def attentions(decoder: Decoder, words: Sequence[int], memory: VideoMemory) -> Attentions:
    """What each word of a caption attended to when it was predicted from the words before it.

    Args:
        decoder: in evaluation mode.
        words: ids of the ``L`` words of the caption, without the first (bos) and the last (eos) one.
        memory: of one video.

    Raises:
        ValueError: the memory is of more than one video.
    """
    if memory.num_videos != 1:
        raise ValueError(f"the memory holds {memory.num_videos} videos: give that of the caption's video alone")
    if not words:
        return Attentions()
    # A word is predicted from those before it, so what is read [1 L] begins with bos and lacks the last word.
    read = torch.tensor([[decoder.bos, *words[:-1]]], device=memory.frames.device)
    # In double precision, as shares are multiplied and summed below.
    weights = {name: value[0].double() for name, value in decoder.attention(read, memory).items()}
    maps = []
    for name in weights:
        kind, _, stream = name.partition(".")
        if kind in _MAPS:
            maps.append(_MAPS[kind](decoder, weights, stream, memory))
    # What is shown first: maps with places or objects, and of these the ones that chose a frame.
    maps.sort(key=lambda found: (found.items is None, not found.name.startswith("ts")))
    if isinstance(decoder, STaTSDecoder) and len(decoder.units) > 1:
        return Attentions(tuple(maps), weights["gate"], tuple(map(_unit, decoder.units)))
    return Attentions(tuple(maps))


def _unit(name: str) -> str:
    stream, _, order = name.partition(".")
    return f"{order.upper()} of {_SEVERAL.get(stream, stream)}"


# --- the Transformer


def _frames(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    note = f"How much the word attends to each frame. {_heads(decoder, 'frames')}{_NO_CAUSE}"
    return AttentionMap("frames", "Attention to frames", note, "frames", weights["frames"])


def _motion(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    note = f"How much the word attends to the motion around each frame. {_heads(decoder, 'motion')}{_NO_CAUSE}"
    return AttentionMap("motion", "Attention to motion", note, "motion", weights["motion"])


def _objects(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    note = f"How much the word attends to each object, apart from the frames. {_heads(decoder, 'objects')}"
    if isinstance(decoder, TransformerDecoder):
        gates = [
            gate.detach().tanh().abs().mean().item()
            for name, gate in decoder.named_parameters()
            if name.endswith(".gate")
        ]
        note += f"A gate lets through {', '.join(f'{gate:.2f}' for gate in gates)} of it, layer by layer. "
    return AttentionMap("objects", "Attention to objects", f"{note}{_GRAPH} {_NO_CAUSE}", "objects", weights["objects"])


def _heads(decoder: Decoder, view: str) -> str:
    if not isinstance(decoder, TransformerDecoder):
        return ""
    mean = "It is the mean over all heads of all decoder layers, which may differ from each other. "
    encoder = decoder.encoders[view]
    assert isinstance(encoder, nn.ModuleList)
    one = "object" if view == "objects" else "frame"
    mixed = f"The encoder has mixed the {one}s before, so that {'an' if one == 'object' else 'a'} {one} carries "
    mixed += "information of others too. "
    return mean + mixed if len(encoder) else mean


# --- the two-layer LSTM


def _list(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    clip = isinstance(decoder, AttentionLSTMDecoder) and decoder.summary == "clip"
    besides = f"Each word also read {'one vector of the whole video' if clip else 'the mean of all frames'}."
    if "regions" not in decoder.reads:
        note = f"Share of each frame in the sum that was read for the word. {besides} {_NO_CAUSE}"
        return AttentionMap("temporal", "Temporal attention", note, "frames", weights["attention"])
    assert memory.region_mask is not None
    # The decoder attends to one list [L, F R] of all objects of all frames.
    items = weights["attention"].unflatten(1, memory.region_mask.shape[1:])
    note = (
        "Share of each object in the sum that was read for the word; a frame has that of all its objects. "
        f"{besides} {_GRAPH} {_NO_CAUSE}"
    )
    return AttentionMap("spatial", "Spatial attention", note, "regions", items.sum(2), items)


# --- STaTS


def _frame_then_places(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    steps, slots = weights[f"ts_frames.{stream}"], weights.get(f"ts_regions.{stream}")
    if slots is None:
        note = f"Share of each frame in what was read for the word. {_NO_CAUSE}"
        return AttentionMap(_name("ts", weights, stream), f"TS: which {_ONE[stream]}", note, _part(stream), steps)
    # Eq. 10: slot j is the mean of what stands there, by the steps' weights; so each item's share of the sum follows.
    here = steps[:, :, None] * _real(memory, stream)
    items = slots[:, None] * here / here.sum(1, keepdim=True).clamp(min=torch.finfo(here.dtype).tiny)
    what = _SEVERAL[stream]
    note = (
        f"First a frame was chosen, then {what} in it. Frames show the first choice, {what} their share in what was "
        "read. Where the choice of a frame is soft, several frames are read as one. "
        f"{_graph(stream)}{_NO_CAUSE}"
    )
    return AttentionMap(
        _name("ts", weights, stream), f"TS: a frame, then its {what}", note, _part(stream), steps, items
    )


def _places_then_time(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    places, real, what = weights[f"st_regions.{stream}"], _real(memory, stream), _SEVERAL[stream]
    shared = places.ndim == 2
    # Divided by the number of steps: each counts the same here, and all shares of a word sum to 1.
    items = (places[:, None] * real if shared else places) / real.any(1).sum().clamp(min=1)
    note = (
        f"First {what} were weighed, {'once for all frames' if shared else 'in each frame by itself'}; then all frames "
        "were read together, by their mean or a recurrent network. No frame was chosen, and each counts the same here. "
        f"{_graph(stream)}{_NO_CAUSE}"
    )
    return AttentionMap(_name("st", weights, stream), f"ST: {what}, then time", note, _part(stream), None, items)


def _all_items(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    items, what = weights[f"st_items.{stream}"], _SEVERAL[stream]
    note = f"Share of each of the {what} of all frames in what was read for the word. {_graph(stream)}{_NO_CAUSE}"
    return AttentionMap(
        _name("st", weights, stream), f"ST: {what} of all frames", note, _part(stream), items.sum(2), items
    )


def _steps(decoder: Decoder, weights: Weights, stream: str, memory: VideoMemory) -> AttentionMap:
    what = f"the mean of all {_SEVERAL[stream]} of each frame" if stream in _SEVERAL else "each frame"
    note = f"Share of {what} in what was read for the word. {_graph(stream)}{_NO_CAUSE}"
    return AttentionMap(
        _name("st", weights, stream), f"ST: which {_ONE[stream]}", note, _part(stream), weights[f"st_frames.{stream}"]
    )


def _name(order: str, weights: Weights, stream: str) -> str:
    streams = {name.partition(".")[2] for name in weights} - {""}
    return order if len(streams) == 1 else f"{order}.{stream}"


def _graph(stream: str) -> str:
    return f"{_GRAPH} " if stream == "regions" else ""


def _part(stream: str) -> Part:
    return cast(Part, stream)


def _real(memory: VideoMemory, stream: str) -> Tensor:
    """``[F n]``, 1 where an item of the one video is real."""
    if stream == "grid":
        assert memory.grid is not None
        assert memory.grid_mask is not None
        return memory.grid_mask[0, :, None].expand(-1, memory.grid.shape[2]).double()
    assert memory.region_mask is not None
    return (memory.region_mask[0] & memory.frame_mask[0, :, None]).double()


_MAPS: Mapping[str, Callable[[Decoder, Weights, str, VideoMemory], AttentionMap]] = {
    "frames": _frames,
    "motion": _motion,
    "objects": _objects,
    "attention": _list,
    "ts_frames": _frame_then_places,
    "st_regions": _places_then_time,
    "st_items": _all_items,
    "st_frames": _steps,
}
"""By the kind of a map of `decoders.Decoder.attention`: what it shows."""
