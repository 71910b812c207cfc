"""A graph convolution whose messages depend on both ends and on the edge, each edge by itself."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch_geometric.nn import Linear, MessagePassing
from torch_geometric.typing import OptTensor
from torch_geometric.utils import scatter, segment

from graphs.conv import check_attributes, check_width, output_width, reset


class MessageConv(MessagePassing):
    r"""What a node gathers by each edge is a small network of both states and the edge; largest and mean are kept.

    .. math::
        m_{ij} = \mathrm{ReLU}(A h_i + B h_j + E e_{ij} + a),\qquad
        h'_i = W \,[\max_j m_{ij} \,\|\, \mathrm{mean}_j\, m_{ij}] + b

    Messages as in Gilmer et al. (2017, Neural Message Passing) with one layer, the two aggregators as in Corso et al.
    (2020, PNA) without its scalers. Where the layers of the paper add up what neighbours are, this one finds the
    nearest one, or the largest step of a track: in a sum over ``e_ij`` these are lost. There is no residual, so that a
    model may add several of them, one a kind of edges. A node without edges gets ``b``. ``edge_weight`` is not read.
    Linear in the edges.

    Args:
        in_channels: width ``C`` of the states that come in; -1 to take it from the first batch.
        out_channels: width ``O`` of messages and of the states that go out; None: the same.
        edge_dim: width ``F`` of ``edge_attr``; None for a layer without.

    Shapes:
        x ``[N C]``, edge_index ``[2 E]``, edge_attr ``[E F]`` -> ``[N O]``.

    Raises:
        ValueError: ``in_channels=-1`` without ``out_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, edge_dim: int | None = None) -> None:
        super().__init__(aggr="max")
        out_channels = output_width(in_channels, out_channels)
        self.in_channels, self.out_channels, self.edge_dim = in_channels, out_channels, edge_dim
        layer = Linear if in_channels == -1 else torch.nn.Linear
        self.target = layer(in_channels, out_channels)
        self.source = layer(in_channels, out_channels, bias=False)
        self.edge = None if edge_dim is None else torch.nn.Linear(edge_dim, out_channels, bias=False)
        self.out = torch.nn.Linear(2 * out_channels, out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        reset(self.target, self.source, self.edge, self.out)

    def forward(
        self, x: Float[Tensor, "N C"], edge_index: Int[Tensor, "2 E"], edge_attr: Float[Tensor, "E F"] | None = None
    ) -> Float[Tensor, "N O"]:
        """Apply the layer; fastest where edges are ordered by target, as all edges of this package are.

        Args:
            x: ``[N C]`` node states.
            edge_index: ``[2 E]`` edges.
            edge_attr: ``[E F]`` what is known of each edge, for a layer with ``edge_dim``.

        Raises:
            ValueError: x or edge_attr of another width than the layer, or edge_attr missing or not expected.
        """
        if not is_lazy(self.target.weight):
            check_width(x, self.target.weight)
        check_attributes(edge_attr, self.edge_dim, edge_index.size(1))
        edge = None if self.edge is None else self.edge(edge_attr)
        return self.out(self.propagate(edge_index, target=self.target(x), source=self.source(x), edge=edge))

    # PyG reads these annotations: nothing but Tensor and its own OptTensor keeps its generated fast code.
    def message(self, target_i: Tensor, source_j: Tensor, edge: OptTensor) -> Tensor:
        ends = target_i + source_j
        return (ends if edge is None else ends + edge).relu()

    def aggregate(self, inputs: Tensor, index: Tensor, dim_size: int) -> Tensor:
        if torch.compiler.is_exporting():  # segments are laid out by values
            parts = [scatter(inputs, index, dim=0, dim_size=dim_size, reduce=how) for how in ("max", "mean")]
            return torch.cat(parts, dim=1)
        if bool((index[1:] < index[:-1]).any()):
            order = index.argsort(stable=True)
            inputs, index = inputs[order], index[order]
        ends = torch.bincount(index, minlength=dim_size).cumsum(0)
        ends = torch.cat([ends.new_zeros(1), ends])
        return torch.cat([segment(inputs, ends, reduce=how) for how in ("max", "mean")], dim=1)

    def __repr__(self) -> str:
        edge = "" if self.edge_dim is None else f", edge_dim={self.edge_dim}"
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}{edge})"
