"""Other temperatures and fewer edges out of stored weights, without their boxes and features."""

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphs.build import edge_fields
from graphs.edges import EDGE_TYPES
from graphs.encoder import VideoStates
from graphs.flat import GraphData

Tau = float | Float[Tensor, ""]
"""A temperature, above 0: a number, or a tensor of one number that may be learned."""

KeptEdges = tuple[Int[Tensor, "2 K"], Float[Tensor, " K"], Int[Tensor, " K"] | None, Int[Tensor, " K"]]


def sharpen_edges(
    edge_index: Int[Tensor, "2 E"],
    edge_weight: Float[Tensor, " E"],
    num_nodes: int,
    edge_type: Int[Tensor, " E"] | None = None,
    *,
    tau: Tau | Mapping[str, Tau] = 1.0,
    top_k: int | None = None,
) -> KeptEdges:
    r"""The edges that :func:`graphs.spatial_edges` and :func:`graphs.temporal_edges` draw with other options.

    Stored weights are a softmax of scores s at temperature 1 over what each target gathers by edges of one kind. So

    .. math:: w_{ij}^{1/\tau} / \sum_k w_{ik}^{1/\tau} = \mathrm{softmax}_j(s_{ij} / \tau)

    exactly: one store serves all temperatures, and one that is learned, as the result is differentiable in ``tau`` (and
    in ``edge_weight``). Weights of 0 stay 0. With ``top_k`` the highest weights of each target and kind stay, the loop
    of a node first, ties to the lower source; it is the same to draw fewer edges, as a softmax keeps their order.

    Apply it before time is turned (:func:`graphs.select_edges`): edges that are flipped no longer sum to 1 by target.
    What comes back is what a function in :data:`graphs.VARIANTS` returns.

    Args:
        edge_index: ``[2 E]`` edges in any order.
        edge_weight: ``[E]`` their weights, 0 or more.
        num_nodes: number ``N`` of nodes.
        edge_type: ``[E]`` kinds, numbers into :data:`graphs.EDGE_TYPES`; None: all are of one kind.
        tau: the temperature of all kinds, or one by the name of the kind. Kinds that are not named stay as they are,
            with all their edges. A learned one is kept above 0 by its owner, as ``log_tau.exp()`` is.
        top_k: keep so many edges a target and kind; None: all.

    Returns:
        ``edge_index``, ``edge_weight``, ``edge_type`` (None where none was given) of the edges that stay, in the order
        in which they came, and ``[E]`` int64, their places among those given. `torch.export` takes it without
        ``top_k``.

    Raises:
        ValueError: an option out of its range, a kind that has no such name, or negative weights.
    """
    _check(edge_weight, edge_type, tau, top_k)
    kinds = list(EDGE_TYPES)
    # The numbers of the kinds, which may be anything from -1 to 255, as places in the list; the last place: no name.
    place = edge_index.new_full((257,), len(kinds))
    place[[EDGE_TYPES[name] + 1 for name in kinds]] = torch.arange(len(kinds), device=place.device)
    kind = torch.zeros_like(edge_index[0]) if edge_type is None else place[edge_type.long() + 1]
    row = edge_index[1] * (len(kinds) + 1) + kind
    rows = num_nodes * (len(kinds) + 1)
    chosen = [name in tau if isinstance(tau, Mapping) else True for name in (*kinds, None)]
    own = torch.tensor(chosen, device=kind.device)[kind]
    kept = torch.arange(edge_index.size(1), device=row.device)
    if top_k is not None:
        kept = (~own | (_rank(edge_index, edge_weight, row) < top_k)).nonzero().squeeze(1)
    row, weight, own = row[kept], edge_weight[kept], own[kept]
    sharp = _softmax(weight, _temperatures(tau, [*kinds, None], weight)[kind[kept]], row, rows)
    return (
        edge_index[:, kept],
        torch.where(own, sharp, weight),
        None if edge_type is None else edge_type[kept],
        kept,
    )


class SharpenEdges(BaseTransform):
    """Turn the stored edges of a graph into those of other temperatures; see :func:`graphs.sharpen_edges`.

    ``edge_attr`` and other tensors by edge go with the edges that stay. Apply it before :class:`graphs.SelectVariant`
    turns time.
    """

    def __init__(self, tau: Tau | Mapping[str, Tau] = 1.0, top_k: int | None = None) -> None:
        _check(torch.zeros(0), torch.zeros(0, dtype=torch.int64), tau, top_k)
        self.tau, self.top_k = tau, top_k

    def forward(self, data: Data) -> Data:
        fields = edge_fields(data)
        data.edge_index, data.edge_weight, data.edge_type, kept = sharpen_edges(
            data.edge_index, data.edge_weight, data.frame.size(0), data.edge_type, tau=self.tau, top_k=self.top_k
        )
        for name in fields:
            data[name] = data[name][kept]
        return data

    def __repr__(self) -> str:
        return f"SharpenEdges(tau={self.tau}, top_k={self.top_k})"


class LearnedTemperature(torch.nn.Module):
    r"""An encoder of graphs for which the temperature of the edges' softmax is learned, one number a kind.

    Before each pass the weights of the graph become those of :func:`sharpen_edges` at ``log_tau.exp()``, which begins
    at 1: the encoder begins as itself. Edges of other kinds stay as they are. Weights must still sum to 1 by target, as
    they are drawn: time may not have been turned (``time_flow`` literal).

    Args:
        encoder: takes a graph, and has convolutions ``convs``, as :class:`graphs.STGEncoder`.
        kinds: names of :data:`graphs.EDGE_TYPES`.

    Raises:
        ValueError: an unknown kind; when called, what :func:`sharpen_edges` refuses.
    """

    def __init__(self, encoder: torch.nn.Module, kinds: tuple[str, ...] = ("spatial", "temporal")) -> None:
        super().__init__()
        if strange := [name for name in kinds if name not in EDGE_TYPES]:
            raise ValueError(f"kinds must be of {', '.join(EDGE_TYPES)}; got {strange[0]!r}")
        self.encoder, self.kinds = encoder, kinds
        self.log_tau = torch.nn.Parameter(torch.zeros(len(kinds)))

    @property
    def convs(self) -> torch.nn.ModuleList:
        """The convolutions of the encoder."""
        convs = self.encoder.convs
        assert isinstance(convs, torch.nn.ModuleList)
        return convs

    def forward(self, data: GraphData) -> VideoStates:
        """Encode a graph, or a flat batch of graphs, which stays as it is."""
        data = copy.copy(data)
        _, data.edge_weight, _, _ = sharpen_edges(
            data.edge_index,
            data.edge_weight.to(torch.promote_types(self.log_tau.dtype, torch.float32)),
            data.frame.size(0),
            data.edge_type,
            tau=dict(zip(self.kinds, self.log_tau.exp(), strict=True)),
        )
        states: VideoStates = self.encoder(data)
        return states


def _softmax(weight: Tensor, tau: Tensor, row: Tensor, rows: int) -> Tensor:
    """Softmax of ``log(weight) / tau`` over each row; all 0 where the weights of a row are."""
    some = weight > 0
    # The logarithm of 0 would make the gradient of tau no number, although it is masked.
    score = torch.where(some, torch.where(some, weight, 1).log() / tau, -torch.inf)
    highest = score.new_full((rows,), -torch.inf).scatter_reduce(0, row, score.detach(), "amax")
    highest = torch.where(highest.isfinite(), highest, 0)
    power = (score - highest[row]).exp()
    total = power.new_zeros(rows).index_add(0, row, power)
    return power / torch.where(total > 0, total, 1)[row]


def _rank(edge_index: Tensor, weight: Tensor, row: Tensor) -> Tensor:
    """The place of each edge in its row, from 0."""
    source, target = edge_index
    order = source.argsort(stable=True)
    order = order[weight[order].argsort(descending=True, stable=True)]
    for key in (source != target, row):
        order = order[key[order].to(torch.int64).argsort(stable=True)]
    place = torch.arange(len(order), device=order.device)
    begins = torch.ones_like(order, dtype=torch.bool)
    begins[1:] = row[order][1:] != row[order][:-1]
    first = torch.where(begins, place, 0).cummax(0).values
    return torch.zeros_like(order).index_copy(0, order, place - first)


def _temperatures(tau: Tau | Mapping[str, Tau], kinds: list[str | None], like: Tensor) -> Tensor:
    """One for each kind; 1 for those that are not named."""
    given = [tau.get(name, 1.0) if isinstance(tau, Mapping) else tau for name in kinds]  # type: ignore[arg-type]
    return torch.stack([torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(()) for value in given])


def _check(edge_weight: Tensor, edge_type: Tensor | None, tau: Tau | Mapping[str, Tau], top_k: int | None) -> None:
    named = tau if isinstance(tau, Mapping) else {"": tau}
    if isinstance(tau, Mapping):
        if edge_type is None:
            raise ValueError("tau by kind needs edge_type: give it, or one tau for all edges")
        for name in tau:
            if name not in EDGE_TYPES:
                raise ValueError(f"tau names kinds of edges, of {', '.join(EDGE_TYPES)}; got {name!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, or None for all edges, got {top_k}")
    if torch.compiler.is_exporting():
        return
    for name, value in named.items():
        if not bool(torch.as_tensor(value > 0).all()):
            of = f" of {name}" if name else ""
            raise ValueError(f"tau{of} must be above 0, got {float(torch.as_tensor(value).detach())}")
    if bool((edge_weight < 0).any()):
        raise ValueError(f"edge_weight must be 0 or more, as a softmax gives it, got {float(edge_weight.min())}")
