"""From a batch of graphs to the states of its objects and of its frames."""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graphs.conv import SparseOperator, STGConv, sparse_operator
from graphs.scatter import segment_mean


class VideoStates(NamedTuple):
    """What :class:`STGEncoder` makes of a batch of ``B`` videos; the longest has ``T`` frames."""

    nodes: Float[Tensor, "N C"]
    frames: Float[Tensor, "B T C"]
    frame_mask: Bool[Tensor, "B T"]


class STGEncoder(torch.nn.Module):
    r"""Object branch of Pan et al. (2020): projection (Eq. 5), graph convolutions (Eq. 4), average over each frame.

    .. math:: H^{(0)} = X W_o,\qquad H^{(l+1)} = \mathrm{STGConv}(H^{(l)}), \qquad F'_o[t] = \mathrm{mean}_{i \in t} H_i

    The projection has no bias and no activation. The average takes the real objects only; a frame without objects
    becomes a zero vector with ``frame_mask`` False, where the paper's zero-padding would let padding take part.

    The edges are laid out as a :class:`SparseOperator` once and all layers share it. While PyG explains the model, or
    where ``edge_weight`` requires a gradient, the layers gather messages edge by edge instead, with equal results.

    Args:
        in_channels: width ``D`` of the object features.
        channels: width ``C`` of the states.
        num_layers: number of convolutions; 0 leaves the projection alone.
    """

    def __init__(self, in_channels: int, channels: int = 512, num_layers: int = 3) -> None:
        super().__init__()
        self.project = torch.nn.Linear(in_channels, channels, bias=False)
        self.convs = torch.nn.ModuleList([STGConv(channels) for _ in range(num_layers)])

    def reset_parameters(self) -> None:
        self.project.reset_parameters()
        for layer in self.convs:
            cast(STGConv, layer).reset_parameters()

    def forward(
        self,
        x: Float[Tensor, "N D"],
        frame: Int[Tensor, " N"],
        edge_index: Int[Tensor, "2 E"] | SparseOperator,
        edge_weight: Float[Tensor, " E"] | None,
        batch: Int[Tensor, " N"] | None,
        num_frames: Int[Tensor, " B"] | int,
    ) -> VideoStates:
        """Encode a flat batch of graphs, as PyG's ``Batch`` or the store gives it.

        Args:
            x: ``[N D]`` object features of all videos.
            frame: ``[N]`` frame of each object inside its video; nodes are ordered by video, then by frame.
            edge_index: ``[2 E]`` edges, or a ready operator.
            edge_weight: ``[E]`` their weights, ones if None; None along with an operator.
            batch: ``[N]`` video of each object; None for a single video.
            num_frames: ``[B]`` frames of each video, those without objects included; a plain number for a single video.

        Returns:
            Node states ``[N C]``, frame states ``[B T C]`` with ``T = max(num_frames)``, and ``frame_mask [B T]``, True
            where the frame has objects.

        Raises:
            ValueError: if nodes are not ordered, or lie in a frame or video that is not there.
        """
        lengths = torch.as_tensor(num_frames, device=x.device).reshape(-1)
        video = torch.zeros_like(frame) if batch is None else batch
        longest = int(lengths.max()) if len(lengths) else 0
        # One number for each frame of the padded grid, so that empty frames keep their place.
        slot = video * longest + frame
        _check_nodes(frame, video, slot, lengths)

        hidden = self.project(x)
        # An operator has neither messages for PyG to explain nor a gradient for the weights.
        plain = any(conv.explain for conv in self.convs) or (edge_weight is not None and edge_weight.requires_grad)
        if not plain and not isinstance(edge_index, SparseOperator):
            # The precision of the parameters decides: the store gives float32 weights to a float64 model too.
            dtype = torch.promote_types(self.project.weight.dtype, torch.float32)
            weight = x.new_ones(edge_index.size(1)) if edge_weight is None else edge_weight
            edge_index, edge_weight = sparse_operator(edge_index, weight.to(dtype), x.size(0)), None
        for conv in self.convs:
            hidden = conv(hidden, edge_index, edge_weight)

        mean, count = segment_mean(hidden, slot, len(lengths) * longest)
        shape = (len(lengths), longest)
        return VideoStates(hidden, mean.view(*shape, hidden.size(1)), (count > 0).view(shape))


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
