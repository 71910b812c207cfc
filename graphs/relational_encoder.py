"""An encoder whose nodes know their boxes and whose convolutions know what their edges are."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.attention_edges import attention_operator
from graphs.conv import reset
from graphs.edge_geometry import RELATIVE_GEOMETRY, relative_geometry
from graphs.edges import EDGE_TYPES
from graphs.encoder import FrameSlots, VideoStates, edge_by_edge
from graphs.flat import GraphData, known_fields, require_fields
from graphs.node_inputs import NodeInputs
from graphs.relational import AttentionConv, RelationalConv, relational_operator
from graphs.variants import DENSE_TYPE

CONVOLUTIONS = ("typed", "attention")
"""The layers of :class:`RelationalEncoder`: :class:`graphs.RelationalConv`, :class:`graphs.AttentionConv`."""

_FIELDS = (
    "x", "frame", "edge_index", "edge_weight", "batch", "num_frames", "boxes", "size", "label", "scores", "track",
    "edge_type", "edge_attr",
)  # fmt: skip


class RelationalEncoder(torch.nn.Module):
    r"""An object branch that reads boxes, kinds of edges and their geometry: not in Pan et al. (2020).

    :class:`graphs.NodeInputs` makes the first states, of appearance and box; then come convolutions with weights of
    their own for each kind of edge (``typed``), or attention over the edges (``attention``), which know how the boxes
    of an edge lie to each other (:func:`graphs.relative_geometry`); then the average over each frame, as in
    :class:`graphs.STGEncoder`, whose face it has: ``encoder(data)``. With ``conv="typed"``, one type, ``box=None`` and
    ``geometry=False`` it is that encoder.

    All layers share operators of the edges, laid out once; while PyG explains the model, or where ``edge_weight``
    requires a gradient, they gather messages edge by edge, with equal results. `torch.export` takes it as it takes
    :class:`graphs.STGEncoder`, inside of a module that passes the fields on from arguments of its own.

    Args:
        in_channels: width ``D`` of the object features; -1 to take it from the first batch.
        channels: width ``C`` of the states.
        num_layers: number of convolutions; 0 leaves the first states alone.
        conv: "typed" or "attention".
        box, classes, score, motion, appearance: what the nodes read, as :class:`graphs.NodeInputs`.
        geometry: read ``edge_attr [E 9]``; where the graph has none, it is made of ``boxes``, ``frame`` and, for
            velocities, ``track`` where that is there.
        types: the kinds of edges, names of :data:`graphs.EDGE_TYPES`, or "dense"; one name: kinds are not told apart
            (``edge_type`` is not read). Kinds without edges cost nothing.
        heads: number of heads of attention layers.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 512,
        num_layers: int = 3,
        *,
        conv: str = "typed",
        box: str | None = "linear",
        classes: int = 0,
        score: bool = False,
        motion: bool = False,
        appearance: bool = True,
        geometry: bool = True,
        types: Sequence[str] = ("spatial", "temporal", "track"),
        heads: int = 8,
    ) -> None:
        super().__init__()
        if conv not in CONVOLUTIONS:
            raise ValueError(f"conv must be one of {', '.join(CONVOLUTIONS)}, got {conv!r}")
        numbers = {**EDGE_TYPES, "dense": DENSE_TYPE}
        if not types or isinstance(types, str) or any(name not in numbers for name in types):
            raise ValueError(f"types must be a list of names of edges, of {', '.join(numbers)}; got {types!r}")
        self.types, self.geometry = tuple(types), geometry
        self.nodes = NodeInputs(
            in_channels, channels, box=box, classes=classes, score=score, motion=motion, appearance=appearance
        )
        width, kinds = len(RELATIVE_GEOMETRY) if geometry else None, len(self.types)

        def layer() -> RelationalConv | AttentionConv:
            if conv == "typed":
                return RelationalConv(channels, types=kinds, edge_dim=width)
            return AttentionConv(channels, heads=heads, edge_dim=width, types=kinds if kinds > 1 else 0)

        self.convs = torch.nn.ModuleList([layer() for _ in range(num_layers)])
        # Numbers of kinds, from -1 to 255, to places in types; -1: none of them.
        place = torch.full((257,), -1)
        place[[numbers[name] + 1 for name in self.types]] = torch.arange(kinds)
        self.register_buffer("_place", place, persistent=False)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset(self.nodes, *self.convs)

    def forward(
        self,
        x: Float[Tensor, "N D"] | GraphData,
        frame: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
        edge_weight: Float[Tensor, " E"] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        num_frames: Int[Tensor, " B"] | int | None = None,
        **known: Tensor | None,
    ) -> VideoStates:
        """Encode a graph or a flat batch of graphs.

        Args:
            x: ``[N D]`` object features of all videos; or the graph that holds them, and nothing else.
            frame, edge_index, edge_weight, batch, num_frames: as :meth:`graphs.STGEncoder.forward`.
            known: by their names in a graph, ``edge_type [E]``, ``boxes [N 4]``, ``size [B 2]``, ``label``, ``scores``,
                ``track [N]`` and ``edge_attr [E 9]``, those that are read.

        Raises:
            ValueError: a field that is read and missing, one that is not known, edges of a kind that is not in
                ``types``, and what :class:`graphs.STGEncoder` refuses.
        """
        if not isinstance(x, Tensor):
            if known or any(part is not None for part in (frame, edge_index, edge_weight, batch, num_frames)):
                raise ValueError("the graph comes alone: leave out frame, edge_index and what else it holds")
            read = known_fields(x, _FIELDS)
            require_fields(read, "x", "frame", "edge_index", "num_frames")
            return self.forward(**read)
        if frame is None or edge_index is None or num_frames is None:
            raise ValueError("x needs frame, edge_index and num_frames along with it: give them, or the graph alone")
        if strange := [name for name in known if name not in _FIELDS]:
            raise ValueError(f"{strange[0]} is not known: what is read of a graph are {', '.join(_FIELDS)}")
        slots = FrameSlots.of(frame, batch, num_frames)
        reads = {name: known.get(name) for name in ("boxes", "size", "label", "scores", "track")}
        hidden = self.nodes(x, frame=frame, num_frames=num_frames, batch=batch, **reads)
        weight = x.new_ones(edge_index.size(1)) if edge_weight is None else edge_weight
        # The precision of the parameters decides: the store gives float32 weights to a float64 model too.
        weight = weight.to(torch.promote_types(hidden.dtype, torch.float32))
        kind = self._kinds(edge_index, known.get("edge_type"))
        attributes = self._attributes(edge_index, frame, batch, known)
        if attributes is not None:
            attributes = attributes.to(weight.dtype)
        edges = self._edges(edge_index, weight, kind, attributes, x.size(0), edge_by_edge(self.convs, edge_weight))
        for conv in self.convs:
            hidden = conv(hidden, *edges)
        return slots.states(hidden)

    def _edges(
        self, edge_index: Tensor, weight: Tensor, kind: Tensor, attributes: Tensor | None, nodes: int, one_by_one: bool
    ) -> tuple[Any, ...]:
        """What the layers take after the states: the edges, or one operator for all layers."""
        conv = self.convs[0] if len(self.convs) else None
        if isinstance(conv, RelationalConv) and not one_by_one:
            return (relational_operator(edge_index, weight, kind, nodes, len(self.types), attributes),)
        if isinstance(conv, AttentionConv) and not one_by_one:
            known = conv.known(kind, attributes, weight.dtype)
            if known is None or not known.requires_grad:
                return (attention_operator(edge_index, weight, nodes, conv.heads, known),)
        return (edge_index, weight, kind, attributes)

    def _kinds(self, edge_index: Tensor, edge_type: Tensor | None) -> Tensor:
        """The place of the kind of each edge in ``types``."""
        if len(self.types) == 1:
            return torch.zeros_like(edge_index[0])
        if edge_type is None:
            raise ValueError(f"edges of {len(self.types)} types need edge_type, which the graph has not: add it")
        kind = self._place[edge_type.long() + 1]  # type: ignore[index]
        if not torch.compiler.is_exporting() and bool((kind < 0).any()):
            number = int(edge_type[kind < 0][0])
            names = {other: name for name, other in (*EDGE_TYPES.items(), ("dense", DENSE_TYPE))}
            raise ValueError(
                f"the graph has edges of type {names.get(number, number)!r}, the encoder reads "
                f"{', '.join(self.types)}: name it in types, or select other edges"
            )
        return kind

    def _attributes(
        self, edge_index: Tensor, frame: Tensor, batch: Tensor | None, known: dict[str, Tensor | None]
    ) -> Tensor | None:
        if not self.geometry:
            return None
        attributes, boxes = known.get("edge_attr"), known.get("boxes")
        if attributes is None:
            if boxes is None:
                raise ValueError(
                    "geometry=True reads edge_attr, or boxes to make it of, and the graph has neither: give boxes, or "
                    "build with geometry=False"
                )
            return relative_geometry(edge_index, boxes, frame, batch, known.get("track"))
        if attributes.shape != (edge_index.size(1), len(RELATIVE_GEOMETRY)):
            raise ValueError(
                f"geometry=True reads edge_attr [{edge_index.size(1)} {len(RELATIVE_GEOMETRY)}] as RelativeGeometry "
                f"writes it, got {list(attributes.shape)}: remove it (del data.edge_attr), and it is made of boxes"
            )
        return attributes
