"""What a node is before the first convolution: appearance and, where asked for, box, class and score."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.conv import check_width, linear, narrow_linear, reset
from graphs.flat import GraphData, known_fields, require_fields
from graphs.identity_edges import RATE, rate_of_change

BOX_INPUTS = ("linear", "sinusoidal")
"""How :class:`NodeInputs` takes the geometry of a box."""

_FIELDS = ("x", "boxes", "frame", "num_frames", "size", "batch", "label", "scores", "track")

# Waves a number, each half as long as the one before: the first takes twice the picture for a period, the last 1/16.
_WAVES = 6


def box_geometry(
    boxes: Float[Tensor, "N 4"],
    frame: Int[Tensor, " N"],
    num_frames: Int[Tensor, " B"] | int,
    size: Int[Tensor, "B 2"] | tuple[int, int] | None = None,
    batch: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "N 5"]:
    """Where each box is in its picture, how large, and when: numbers from about -1 to 1.

    Args:
        boxes: ``[N 4]`` corners ``(x1, y1, x2, y2)`` in pixels.
        frame: ``[N]`` frame of each object inside its video.
        num_frames: ``[B]`` frames of each video; a plain number for a single video.
        size: ``[B 2]`` height and width of each video's pictures in pixels, the order of :class:`graphs.VideoFeatures`;
            None where that is not known: the largest x2 and y2 of each video take its place.
        batch: ``[N]`` video of each object; None for a single video.

    Returns:
        ``[N 5]``: x and y of the centre, width, height, and time ``frame / (num_frames - 1)``, each from -1 (left, top,
        nothing, first frame) to 1 (right, bottom, the whole picture, last frame). A box beyond its picture goes beyond
        1; the time in a video of one frame is 0.

    Raises:
        ValueError: a size that is not of these videos, or below one pixel.
    """
    lengths = torch.as_tensor(num_frames, device=boxes.device).reshape(-1)
    video = torch.zeros_like(frame) if batch is None else batch
    picture = picture_sizes(boxes, lengths, video, size)[video]
    centre = (boxes[:, :2] + boxes[:, 2:]) / picture - 1
    extent = 2 * (boxes[:, 2:] - boxes[:, :2]) / picture - 1
    last = (lengths[video] - 1).to(boxes.dtype)
    time = torch.where(last > 0, 2 * frame / last.clamp(min=1) - 1, 0)
    return torch.cat([centre, extent, time.unsqueeze(1)], dim=1)


def box_motion(
    boxes: Float[Tensor, "N 4"],
    frame: Int[Tensor, " N"],
    num_frames: Int[Tensor, " B"] | int,
    track: Int[Tensor, " N"],
    size: Int[Tensor, "B 2"] | tuple[int, int] | None = None,
    batch: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "N 2"]:
    r"""How fast the centre of each box moves along its track, on a scale that tells slow motion from none.

    :math:`\mathrm{asinh}(30\,v)`, v in widths of the picture a frame (so that the picture's form does not count), from
    the box before to the one after it. Most boxes move by a few pixels, which a network cannot see next to numbers
    around 1.

    Args:
        boxes, frame, num_frames, size, batch: as :func:`box_geometry`.
        track: ``[N]`` track of each object inside its video; 0 for objects without (-1).
    """
    lengths = torch.as_tensor(num_frames, device=boxes.device).reshape(-1)
    video = torch.zeros_like(frame) if batch is None else batch
    width = picture_sizes(boxes, lengths, video, size)[video, :1]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return (RATE * rate_of_change(centre, frame, track, video) / width).asinh()


class NodeInputs(torch.nn.Module):
    r"""First states of the nodes: projected appearance (Pan et al., 2020, Eq. 5) and more, added up.

    .. math:: H^{(0)} = X W_o + W_g\,\gamma(g) + b_g + E[\mathrm{label}] + s\,w_s + W_m\,m

    ``g [N 5]`` is the :func:`box_geometry`, with frame time. ``box="linear"`` takes it as it is, as the box vectors of
    STIN and STLT do (Materzynska et al., 2020; Radevski et al., 2021); ``box="sinusoidal"`` its Fourier features
    (Tancik et al., 2020), sines and cosines of each number at six wavelengths, which tell near places apart.
    ``m [N 2]`` is the :func:`box_motion`. Without ``box``, ``classes``, ``score`` and ``motion`` it is the paper's
    projection alone, which knows no place. Without ``appearance`` a node is what STIN and STLT take: where it is, and
    of what class.

    Args:
        in_channels: width ``D`` of the object features; -1 to take it from the first batch, as PyG's layers do.
        channels: width ``C`` of the states.
        box: None, "linear" or "sinusoidal".
        classes: number of classes, above every ``label``; 0: the class is not read. Class 0 (not known) has a vector
            like any other.
        score: read the confidence of the detector.
        motion: read how the box moves along its track.
        appearance: read the object features; without them, box, classes, score or motion must be read.

    Shapes:
        x ``[N D]``, boxes ``[N 4]``, label, scores, track ``[N]`` -> ``[N C]``.

    Raises:
        ValueError: ``box`` of another name, ``classes`` below 0, or nothing that is read.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        box: str | None = None,
        classes: int = 0,
        score: bool = False,
        motion: bool = False,
        appearance: bool = True,
    ) -> None:
        super().__init__()
        if box is not None and box not in BOX_INPUTS:
            raise ValueError(f"box must be None or one of {', '.join(BOX_INPUTS)}, got {box!r}")
        if classes < 0:
            raise ValueError(f"classes must be 0 (the class is not read) or their number, got {classes}")
        if not (appearance or box or classes or score or motion):
            raise ValueError("appearance=False leaves nothing to read: give box, classes, score or motion")
        self.in_channels, self.channels = in_channels, channels
        self.box, self.classes, self.score, self.appearance = box, classes, score, appearance
        self.project = linear(in_channels, channels) if appearance else None
        width = 5 if box == "linear" else 2 * 5 * _WAVES
        self.place = None if box is None else torch.nn.Linear(width, channels)
        self.kind = torch.nn.Embedding(classes, channels) if classes else None
        self.confidence = torch.nn.Linear(1, channels, bias=False) if score else None
        self.motion = torch.nn.Linear(2, channels, bias=False) if motion else None
        self._draw_classes()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset(self.project, self.place, self.confidence, self.motion)
        self._draw_classes()

    def _draw_classes(self) -> None:
        # As large as the projection of standardised features, which PyTorch's own numbers would drown.
        if self.kind is not None:
            torch.nn.init.normal_(self.kind.weight, std=3**-0.5)

    def forward(
        self,
        x: Float[Tensor, "N D"] | GraphData,
        boxes: Float[Tensor, "N 4"] | None = None,
        frame: Int[Tensor, " N"] | None = None,
        num_frames: Int[Tensor, " B"] | int | None = None,
        size: Int[Tensor, "B 2"] | tuple[int, int] | None = None,
        batch: Int[Tensor, " N"] | None = None,
        label: Int[Tensor, " N"] | None = None,
        scores: Float[Tensor, " N"] | None = None,
        track: Int[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N C"]:
        """The first states of the nodes of a graph or a flat batch of graphs.

        Args:
            x: ``[N D]`` object features; or the graph, which holds all that is read by these names, and nothing else.
            boxes, frame, num_frames, size, batch: as :func:`box_geometry`, for ``box``.
            label: ``[N]`` class of each object, for ``classes``.
            scores: ``[N]`` confidence, for ``score``; of a graph without, its ``label_score``.
            track: ``[N]`` track of each object, for ``motion``.

        Raises:
            ValueError: if x has another width than the layer, something that is read is missing, or a label is not
                below ``classes``.
        """
        if not isinstance(x, Tensor):
            if any(part is not None for part in (boxes, frame, num_frames, size, batch, label, scores, track)):
                raise ValueError("the graph comes alone: leave out boxes, frame and what else it holds")
            read = known_fields(x, _FIELDS)
            require_fields(read, "x")
            return self.forward(**read)
        if self.project is not None:
            check_width(x, self.project.weight)
            hidden = self.project(x)
        else:
            hidden = next(self.parameters()).new_zeros(x.shape[0], self.channels)
        if self.place is not None:
            if boxes is None or frame is None or num_frames is None:
                raise ValueError(
                    f"box={self.box!r} reads boxes, frame and num_frames: give them, or build with box=None"
                )
            geometry = box_geometry(boxes, frame, num_frames, size, batch).to(self.place.weight.dtype)
            hidden = hidden + narrow_linear(self.place, geometry if self.box == "linear" else _waves(geometry))
        if self.kind is not None:
            hidden = hidden + self.kind(_checked(label, self.classes))
        if self.confidence is not None:
            if scores is None:
                raise ValueError(
                    "score=True reads scores [N], the confidence of the detector, which the graph has not: give them, "
                    "or build with score=False"
                )
            hidden = hidden + self.confidence(scores.unsqueeze(1).to(self.confidence.weight.dtype))
        if self.motion is not None:
            moves = _motion(boxes, frame, num_frames, track, size, batch)
            hidden = hidden + narrow_linear(self.motion, moves.to(self.motion.weight.dtype))
        return hidden

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.channels}, box={self.box!r}, classes={self.classes}, "
            f"score={self.score}, motion={self.motion is not None}, appearance={self.appearance})"
        )


def _motion(
    boxes: Tensor | None,
    frame: Tensor | None,
    num_frames: Tensor | int | None,
    track: Tensor | None,
    size: Tensor | tuple[int, int] | None,
    batch: Tensor | None,
) -> Tensor:
    if boxes is None or frame is None or num_frames is None or track is None:
        raise ValueError(
            "motion=True reads boxes, frame, num_frames and track, the track of each object: give them (in a store: "
            "`python -m stg.store tracks STORE --out OTHER`; in graphs: graphs.LinkTracks()), or build with "
            "motion=False"
        )
    return box_motion(boxes, frame, num_frames, track, size, batch)


def picture_sizes(
    boxes: Tensor, lengths: Tensor, video: Tensor, size: Tensor | tuple[int, int] | None
) -> Float[Tensor, "B 2"]:
    """Width and height of the pictures of each video; where ``size`` is not known, the largest corner of its boxes."""
    if size is not None:
        return _sizes(size, lengths).to(boxes).flip(1)
    corner = boxes.new_zeros(lengths.shape[0], 2)
    corner = corner.scatter_reduce(0, video.unsqueeze(1).expand(-1, 2), boxes[:, 2:], "amax")
    # No extent in a video whose boxes all end at 0 or before.
    return torch.where(corner > 0, corner, 1)


def _sizes(size: Tensor | tuple[int, int], lengths: Tensor) -> Tensor:
    sizes = torch.as_tensor(size, device=lengths.device)
    sizes = sizes.reshape(1, -1) if sizes.dim() == 1 else sizes
    videos = lengths.shape[0]
    if sizes.shape != (videos, 2):
        raise ValueError(
            f"size must be [{videos} 2], height and width of the pictures of each video, got {list(sizes.shape)}"
        )
    if not torch.compiler.is_exporting() and bool((sizes < 1).any()):
        row = int((sizes < 1).any(dim=1).int().argmax())
        raise ValueError(
            f"size must be height and width in pixels, both at least 1, got {sizes[row].tolist()} for video {row}: "
            "give None where it is not known"
        )
    return sizes


def _waves(geometry: Tensor) -> Tensor:
    """Fourier features ``[N 2 * 5 * waves]``."""
    octave = torch.arange(_WAVES, device=geometry.device, dtype=geometry.dtype)
    angle = (geometry.unsqueeze(2) * (math.pi / 2 * 2**octave)).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _checked(label: Tensor | None, classes: int) -> Tensor:
    if label is None:
        raise ValueError(
            f"classes={classes} reads label [N], the class of each object, which the graph (or a video of the batch) "
            "has not: give it (VideoFeatures(label=...)), or build with classes=0"
        )
    if torch.compiler.is_exporting():
        return label
    bad = (label < 0) | (label >= classes)
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise ValueError(
            f"label must lie in 0..{classes - 1} (classes={classes}), got {int(label[row])} for node {row}: build with "
            "a number of classes above every label"
        )
    return label
