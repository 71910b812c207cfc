"""What tracks are to each other: the edges between their objects, gathered over all frames."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graphs.edge_geometry import (
    CONTACT_GEOMETRY,
    RELATIVE_GEOMETRY,
    contact_geometry,
    frames_apart,
    relative_geometry,
)
from graphs.edges import EDGE_TYPES
from graphs.flat import GraphData
from graphs.identity_edges import RATE, rate_of_change
from graphs.node_inputs import picture_sizes
from graphs.pooled_edges import pooled_edges
from graphs.scatter import group_mean_max
from graphs.variants import DENSE_TYPE

TRACK_GEOMETRIES = ("relative", "contact")
"""What :class:`TrackRelations` reads of an edge."""

_KINDS = (EDGE_TYPES["spatial"], EDGE_TYPES["temporal"], EDGE_TYPES["track"], DENSE_TYPE)


class TrackRelations(nn.Module):
    r"""A convolution over tracks, along the edges between their objects in all frames.

    One edge says how two boxes lie to each other at one time; what happens between two objects is how that changes.
    From track a to track b, over all edges e from an object of a to one of b,

    .. math::
        f_e = \mathrm{ReLU}(W [g_e ; w_e] + U p_{t(e)} + b_{k(e)}), \quad
        r_{ab} = R \Big[\tfrac{1}{T} \sum_e f_e \,;\, \max_e f_e\Big], \\
        m_{ab} = \mathrm{ReLU}(A z_b + B z_a + r_{ab}), \quad
        z'_b = \mathrm{LN}\Big(z_b + O \big[\mathrm{mean}_a\, m_{ab} \,;\, \max_a m_{ab}\big]\Big)

    with the geometry g and the weight w of an edge, the sinusoid p of the frame of its target, a bias for each kind k
    of edge, and T frames in the video. ``geometry="relative"`` is :func:`relative_geometry`; ``"contact"`` is
    :func:`contact_geometry` and how fast it changes, :math:`\mathrm{asinh}(30\,\Delta g)` a frame between the edges of
    one kind before and after of the same two tracks: relative motion, as between the ends of two tracks in VidVRD
    (Shang et al., 2017), and the two columns of time of ``relative``. The pairs are those of interaction networks
    (Battaglia et al., 2016), the tracks those of STIN (Materzynska et al., 2020), which compares their boxes without
    edges. Linear in the edges; without any it is ``LN(z)``, as O begins at zero: what edges add is learned on top of
    what tracks know.

    Args:
        channels: width ``C`` of the states of the tracks.
        hidden: width of ``f``; default: twice as wide.
        geometry: ``relative`` or ``contact``.

    Raises:
        ValueError: a geometry of another name.
    """

    def __init__(self, channels: int, hidden: int | None = None, *, geometry: str = "relative") -> None:
        super().__init__()
        if geometry not in TRACK_GEOMETRIES:
            raise ValueError(f"geometry must be one of {', '.join(TRACK_GEOMETRIES)}, got {geometry!r}")
        hidden = hidden or 2 * channels
        self.channels, self.geometry = channels, geometry
        width = len(RELATIVE_GEOMETRY) if geometry == "relative" else 2 * len(CONTACT_GEOMETRY) + 2
        self.edge = nn.Linear(width + 1, hidden, bias=False)
        self.time = nn.Linear(channels, hidden, bias=False)
        self.kind = nn.Embedding(len(_KINDS) + 1, hidden)
        self.relation = nn.Linear(2 * hidden, channels)
        self.target, self.source = (nn.Linear(channels, channels, bias=False) for _ in range(2))
        self.output = nn.Linear(2 * channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)
        nn.init.zeros_(self.output.weight)

    def forward(
        self,
        x: Float[Tensor, "K C"],
        member: Int[Tensor, " N"],
        positions: Float[Tensor, "T C"],
        data: GraphData,
    ) -> Float[Tensor, "K C"]:
        """The tracks after what they are to each other.

        Args:
            x: ``[K C]`` states of the tracks of all videos.
            member: ``[N]`` the track of each object, a row of x.
            positions: ``[T C]`` sinusoids of the frames, ``T`` at least the longest video.
            data: the flat batch: ``edge_index``, ``edge_weight``, ``edge_type``, ``boxes``, ``frame``, ``num_frames``,
                ``batch``; and, where they are there, ``track`` (for the velocities of ``relative``) and ``size`` (for
                ``contact``; without it the largest corner of each video's boxes).
        """
        source, target = data.edge_index
        kinds = _places(data.edge_type)
        # Pairs of tracks that an edge joins, numbered from 0.
        pairs, pair = torch.unique(member[source] * len(x) + member[target], return_inverse=True)
        geometry = self._geometry(data, pair, kinds).to(x.dtype)
        known = torch.cat([geometry, data.edge_weight.to(x.dtype).unsqueeze(1)], 1)
        # Time and kind are multiplied once a frame and once a kind, and added once for both, not once an edge.
        moments = (self.time(positions).unsqueeze(1) + self.kind.weight).flatten(0, 1)
        moment = data.frame[target] * self.kind.num_embeddings + kinds
        total, largest, of = pooled_edges(known.to(moments.dtype), moment, pair, self.edge.weight, moments)
        # The sum over the length of the video and not over what was seen: short meetings weigh less.
        frames = torch.ones_like(pairs).index_copy(0, pair, data.num_frames[data.batch[target]])[of]
        relation = self.relation(torch.cat([total / frames.unsqueeze(1), largest], 1))
        giver, taker = pairs[of] // max(len(x), 1), pairs[of] % max(len(x), 1)
        message = (self.target(x).index_select(0, taker) + self.source(x).index_select(0, giver) + relation).relu()
        mean, largest, _ = group_mean_max(message, taker, len(x))
        return self.norm(x + self.output(torch.cat([mean, largest], 1)))

    def _geometry(self, data: GraphData, pair: Int[Tensor, " E"], kinds: Int[Tensor, " E"]) -> Float[Tensor, "E G"]:
        if self.geometry == "relative":
            track = data.track if "track" in data else None
            return relative_geometry(data.edge_index, data.boxes, data.frame, data.batch, track)
        size = data.to_dict().get("size")
        # A picture of which nothing is known but boxes has at least a pixel.
        pictures = picture_sizes(data.boxes, data.num_frames, data.batch, size).flip(1).clamp(min=1)
        contact = contact_geometry(data.edge_index, data.boxes, pictures, data.batch)
        change = (RATE * rate_of_change(contact, data.frame[data.edge_index[1]], kinds, pair)).asinh()
        return torch.cat([contact, change, frames_apart(data.edge_index, data.frame, contact.dtype)], 1)


def _places(edge_type: Int[Tensor, " E"]) -> Int[Tensor, " E"]:
    """The kind of each edge; all that are not from here share the last."""
    place = torch.full_like(edge_type, len(_KINDS), dtype=torch.int64)
    for number, kind in enumerate(_KINDS):
        place = place.masked_fill(edge_type == kind, number)
    return place
