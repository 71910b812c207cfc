"""From a batch of graphs to the states of its objects and of its frames.

Every encoder has one face: ``encoder(data)``, with a graph or a flat batch of graphs (:class:`graphs.GraphData`), gives
:class:`VideoStates`. It reads the fields that it needs by their names in ``data``; empty frames and videos are masked.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graphs.conv import SparseOperator, STGConv, check_width, linear, reset, sparse_edges, sparse_operator
from graphs.flat import GraphData, known_fields, require_fields
from graphs.scatter import segment_mean


class VideoStates(NamedTuple):
    """What :class:`STGEncoder` makes of a batch of ``B`` videos; the longest has ``T`` frames."""

    nodes: Float[Tensor, "N C"]
    frames: Float[Tensor, "B T C"]
    frame_mask: Bool[Tensor, "B T"]


class FrameSlots(NamedTuple):
    """Where each node lies in the padded grid of the frames of all videos, so that empty frames keep their place."""

    slot: Int[Tensor, " N"]
    videos: int
    longest: int

    @staticmethod
    def of(
        frame: Int[Tensor, " N"], batch: Int[Tensor, " N"] | None, num_frames: Int[Tensor, " B"] | int
    ) -> "FrameSlots":
        """From what :meth:`STGEncoder.forward` takes by these names.

        Raises:
            ValueError: if nodes are not ordered, or lie in a frame or video that is not there.
        """
        lengths = torch.as_tensor(num_frames, device=frame.device).reshape(-1)
        video = torch.zeros_like(frame) if batch is None else batch
        # item() and shapes, not int() and len(): torch.export keeps them open.
        videos = lengths.shape[0]
        longest = cast(int, lengths.max().item()) if videos else 0
        slot = video * longest + frame
        if not torch.compiler.is_exporting():
            _check_nodes(frame, video, slot, lengths)
        return FrameSlots(slot, videos, longest)

    def states(self, nodes: Float[Tensor, "N C"]) -> VideoStates:
        """The states of the nodes, and their mean in each frame."""
        mean, count = segment_mean(nodes, self.slot, self.videos * self.longest)
        shape = (self.videos, self.longest)
        return VideoStates(nodes, mean.view(*shape, nodes.size(1)), (count > 0).view(shape))


class STGEncoder(torch.nn.Module):
    r"""Object branch of Pan et al. (2020): projection (Eq. 5), graph convolutions (Eq. 4), average over each frame.

    .. math:: H^{(0)} = X W_o,\qquad H^{(l+1)} = \mathrm{STGConv}(H^{(l)}), \qquad F'_o[t] = \mathrm{mean}_{i \in t} H_i

    The projection has no bias and no activation. The average takes the real objects only; a frame without objects
    becomes a zero vector with ``frame_mask`` False, where the paper's zero-padding would let padding take part.

    The edges are laid out as a :class:`SparseOperator` once and all layers share it. While PyG explains the model, or
    where ``edge_weight`` requires a gradient, the layers gather messages edge by edge instead, with equal results.

    Called with a graph, ``encoder(data)``, it reads ``x``, ``frame``, ``edge_index`` (or PyG's ``adj_t``),
    ``edge_weight`` and ``batch`` where they are there, and ``num_frames``; the same can be given one by one.

    `torch.export` takes it with any number of nodes, edges, frames and videos, from an example with two or more of
    each, by the edge-by-edge path and without the check of the nodes (torch 2.8 does not). `torch.compile` takes it in
    several graphs, as that check and the operator depend on values.

    Args:
        in_channels: width ``D`` of the object features; -1 to take it from the first batch, as PyG's layers do.
        channels: width ``C`` of the states.
        num_layers: number of convolutions; 0 leaves the projection alone.
    """

    def __init__(self, in_channels: int, channels: int = 512, num_layers: int = 3) -> None:
        super().__init__()
        self.project = linear(in_channels, channels)
        self.convs = torch.nn.ModuleList([STGConv(channels) for _ in range(num_layers)])

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset(self.project, *self.convs)

    def forward(
        self,
        x: Float[Tensor, "N D"] | GraphData,
        frame: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | SparseOperator | None = None,
        edge_weight: Float[Tensor, " E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        num_frames: Int[Tensor, " B"] | int | None = None,
    ) -> VideoStates:
        """Encode a graph or a flat batch of graphs, as PyG's ``Batch`` or the store gives it.

        Args:
            x: ``[N D]`` object features of all videos; or the graph that holds them, and nothing else.
            frame: ``[N]`` frame of each object inside its video; nodes are ordered by video, then by frame.
            edge_index: ``[2 E]`` edges, or a ready operator.
            edge_weight: ``[E]`` their weights, ones if None; None along with an operator.
            batch: ``[N]`` video of each object; None for a single video.
            num_frames: ``[B]`` frames of each video, those without objects included; a plain number for a single video.

        Returns:
            Node states ``[N C]``, frame states ``[B T C]`` with ``T = max(num_frames)``, and ``frame_mask [B T]``, True
            where the frame has objects.

        Raises:
            ValueError: if x has another width than the encoder, a field is missing, or nodes are not ordered, or lie in
                a frame or video that is not there.
        """
        if not isinstance(x, Tensor):
            if any(part is not None for part in (frame, edge_index, edge_weight, batch, num_frames)):
                raise ValueError("the graph comes alone: leave out frame, edge_index and what else it holds")
            return self.forward(**_parts(x))
        if frame is None or edge_index is None or num_frames is None:
            raise ValueError("x needs frame, edge_index and num_frames along with it: give them, or the graph alone")
        check_width(x, self.project.weight)
        slots = FrameSlots.of(frame, batch, num_frames)

        hidden = self.project(x)
        if not edge_by_edge(self.convs, edge_weight) and not isinstance(edge_index, SparseOperator):
            # The precision of the parameters decides: the store gives float32 weights to a float64 model too.
            dtype = torch.promote_types(self.project.weight.dtype, torch.float32)
            weight = x.new_ones(edge_index.size(1)) if edge_weight is None else edge_weight
            edge_index, edge_weight = sparse_operator(edge_index, weight.to(dtype), x.size(0)), None
        for conv in self.convs:
            hidden = conv(hidden, edge_index, edge_weight)
        return slots.states(hidden)


def edge_by_edge(convs: Iterable[torch.nn.Module], edge_weight: Tensor | None) -> bool:
    """Whether messages are needed one by one: PyG explains them, weights have gradients, or the graph is exported.

    An operator has neither messages nor a gradient for the weights, and is laid out by values.
    """
    learned = edge_weight is not None and edge_weight.requires_grad
    return torch.compiler.is_exporting() or learned or any(bool(conv.explain) for conv in convs)


def _parts(data: GraphData) -> dict[str, Any]:
    """What is read of a graph, by the names of the arguments."""
    read = known_fields(data, ("x", "frame", "edge_index", "edge_weight", "batch", "num_frames"))
    if "edge_index" not in read and "adj_t" in data:
        read["edge_index"], read["edge_weight"] = sparse_edges(data["adj_t"])
    require_fields(read, "x", "frame", "edge_index", "num_frames")
    return read


def _check_nodes(frame: Tensor, video: Tensor, slot: Tensor, lengths: Tensor) -> None:
    """Refuse nodes that would be averaged into a frame that is not theirs."""
    if len(frame) == 0:
        return
    strays = (video < 0) | (video >= len(lengths))
    if not bool(strays.any()):
        strays = (frame < 0) | (frame >= lengths[video])
    if bool(strays.any()):
        row = int(strays.int().argmax())
        raise ValueError(
            f"node {row} lies in frame {int(frame[row])} of video {int(video[row])}, but num_frames is "
            f"{lengths.tolist()}: frames count from 0 in each video, and batch=None means a single video"
        )
    if bool((slot[1:] < slot[:-1]).any()):
        raise ValueError("nodes must be ordered by video, then by frame: sort x, frame, batch and edges alike")
