"""A small graph classifier of clips whose edges can be left out, all else being equal."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch_geometric.utils import segment

from graphs import FlatBatch, MessageConv, NodeInputs


class Classifier(torch.nn.Module):
    """Box, class and time of the objects; layers of relations; largest and mean state of the objects of each class.

    Args:
        in_channels: width of ``x``.
        labels: number of labels, above every ``label``.
        classes: number of activities.
        edge_dims: kind of edges that is read, with weights of its own -> width of their attributes; none for a model
            without a graph.
        channels: width of the states.
        num_layers: number of layers.
        slot: width of the state of a class of objects.
        dropout: of messages, hidden states and readout.
    """

    def __init__(
        self,
        in_channels: int,
        labels: int,
        classes: int,
        edge_dims: Mapping[str, int],
        channels: int = 32,
        num_layers: int = 2,
        slot: int = 8,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.labels, self.kinds = labels, tuple(edge_dims)
        self.inputs = NodeInputs(in_channels, channels, box="linear")
        self.relations = torch.nn.ModuleList(
            torch.nn.ModuleDict({kind: MessageConv(channels, edge_dim=width) for kind, width in edge_dims.items()})
            for _ in range(num_layers)
        )
        self.within = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.LayerNorm(channels),
                torch.nn.Linear(channels, 2 * channels),
                torch.nn.ReLU(),
                torch.nn.Dropout(dropout),
                torch.nn.Linear(2 * channels, channels),
            )
            for _ in range(num_layers)
        )
        self.dropout = torch.nn.Dropout(dropout)
        self.slot = torch.nn.Linear(channels, slot)
        self.head = torch.nn.Linear(labels * (2 * slot + 1), classes)

    def forward(self, batch: FlatBatch) -> Tensor:
        """Logits ``[B K]`` of a batch of `benchmarks.activity_graphs.Clips`."""
        hidden = self.inputs(batch)
        for relations, within in zip(self.relations, self.within, strict=True):
            state = hidden
            for kind in self.kinds:
                hidden = hidden + self.dropout(relations[kind](state, batch[f"{kind}_index"], batch[f"{kind}_attr"]))
            hidden = hidden + self.dropout(within(hidden))
        return self.head(self.dropout(self.by_class(self.slot(hidden), batch)))

    def by_class(self, states: Tensor, batch: FlatBatch) -> Tensor:
        """``[B labels * (2 slot + 1)]``: of each class of objects, largest and mean state and whether there are any."""
        videos = len(batch.num_frames)
        place = batch.batch * self.labels + batch.label
        order = place.argsort(stable=True)
        ends = pointer(place[order], videos * self.labels)
        pooled = [segment(states[order], ends, reduce=how) for how in ("max", "mean")]
        there = (ends.diff() > 0).to(states.dtype).unsqueeze(1)
        return torch.cat([*pooled, there], 1).view(videos, -1)


def pointer(segments: Tensor, count: int) -> Tensor:
    """Where each segment begins, and the end of the last: ``[count + 1]``."""
    ends = torch.bincount(segments, minlength=count).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends])
