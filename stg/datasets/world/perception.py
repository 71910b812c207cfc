"""A detector and a backbone for the built-in world: no learned weights, yet the protocols of the real ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.backbones import SceneMap
from stg.vision.detectors import Detections


@dataclass(frozen=True)
class WorldDetector:
    """Finds the objects of the built-in world as well and as badly as a good detector would.

    It knows the truth from the video's id (so it also takes frames decoded from the mp4 files of that world, whose
    names are the ids) and spoils it: boxes jitter, objects are missed, the more so the more they are hidden, and empty
    places are taken for objects, with lower scores. A missed object comes back with a score below one half, as from
    real detectors, so that a threshold of .5 decides. The same video and frame number always give the same answer.

    Args:
        truth: video id, frame numbers -> boxes ``[T O 4]`` in pixels and hidden shares ``[T O]``.
        size: width and height of the world's pictures.
        frames: frames of the world's videos.
        key: video id -> whole numbers that seed the draws, different for different worlds.
        jitter: deviation of each box edge, as a share of the box's side.
        miss: chance to miss an object in plain view.
        invent: false boxes with a score that may pass, per object and frame.
        world: what distinguishes this world from others, for the manifest.
    """

    truth: Callable[[str, np.ndarray], tuple[np.ndarray, np.ndarray]]
    size: int
    frames: int
    key: Callable[[str], tuple[int, ...]]
    jitter: float = 0.035
    miss: float = 0.05
    invent: float = 0.05
    world: dict[str, Any] = field(default_factory=dict)

    def __call__(self, sample: SampledFrames) -> list[Detections]:
        """One :class:`~stg.vision.detectors.Detections` a frame, boxes inside the picture, in random order.

        Raises:
            UserError: the video is not of this world: unknown id, other picture size, other length.
        """
        height, width = sample.frames.shape[1:3]
        if (height, width) != (self.size, self.size) or sample.total_frames != self.frames:
            raise UserError(
                f"video {sample.video!r} is no video of this world: it has {sample.total_frames} frames of "
                f"{width}x{height}, the world makes {self.frames} of {self.size}x{self.size}; "
                "use a real detector for other clips"
            )
        boxes, hidden = self.truth(sample.video, sample.frame_number)
        key = self.key(sample.video)
        return [
            # A generator for each frame: what is seen in one does not depend on which others are sampled.
            self._detect(box, share, np.random.default_rng((*key, int(number))))
            for box, share, number in zip(boxes, hidden, sample.frame_number, strict=True)
        ]

    def manifest(self) -> dict[str, Any]:
        """What decides the boxes."""
        return {
            "name": "world-detector",
            "version": 1,
            "jitter": self.jitter,
            "miss": self.miss,
            "invent": self.invent,
            **self.world,
        }

    def _detect(
        self, boxes: Float[np.ndarray, "O 4"], hidden: Float[np.ndarray, " O"], rng: np.random.Generator
    ) -> Detections:

        count = len(boxes)
        side = boxes[:, 2:] - boxes[:, :2]
        moved = boxes + rng.normal(0.0, self.jitter, (count, 4)) * np.concatenate([side, side], axis=1)
        # Things are overlooked by chance, and nearly always where another hides them.
        missed = rng.random(count) < self.miss + (1.0 - self.miss) * hidden**2
        scores = (rng.normal(0.88, 0.06, count) - 0.3 * hidden).clip(0.5, 0.99)
        # Overlooked things come with a low score: a threshold drops them, as with a real detector.
        scores = np.where(missed, rng.uniform(0.08, 0.45, count), scores)
        # Boxes of nothing: a model must not trust every box.
        false = int(rng.binomial(count, self.invent))
        centre = rng.uniform(0.1, 0.9, (false, 2)) * self.size
        reach = rng.uniform(0.06, 0.14, (false, 2)) * self.size
        found = np.concatenate([moved, np.concatenate([centre - reach, centre + reach], axis=1)])
        found = found.clip(0.0, float(self.size)).astype(np.float32)
        scores = np.concatenate([scores, rng.uniform(0.35, 0.72, false)]).astype(np.float32)
        # Drawn last, so that the actor cannot be guessed from its place in the list.
        order = rng.permutation(len(found))
        return Detections(boxes=found[order], scores=scores[order])


@dataclass(frozen=True)
class WorldBackbone:
    """Features without learned weights: random non-linear views of the pixels of crops and of the coarse picture.

    An object is the crop of its box and ``context`` pixels around it, shrunk to ``crop`` x ``crop`` points,
    standardised by constants, and put through ``tanh(W p + b)`` with fixed random W and b. The rim of background says,
    as the receptive field of a real network does, roughly how large the object is (the rim's share of the crop), where
    it is (the light of the wall), and what touches it; no coordinate enters.

    The scene is the picture averaged over ``grid`` x ``grid`` cells, which blurs shapes but does not hide them (with 6
    cells a scene branch names shapes at chance). Every ``patch`` x ``patch`` cells, and their change
    until the next sampled frame, go through ``relu(W p + b)`` with fixed random W and b, which is then averaged over
    each quarter of the picture. The change stands for the motion network (I3D) that is half of the scene
    branch's input in Pan et al. (2020, Eq. 6); without it this scene hardly distinguishes events.

    Args:
        crop: points along each side of a crop.
        context: pixels of surroundings taken on each side of a box.
        grid: cells along each side of the picture for the scene.
        patch: cells along each side of what one random feature of the scene sees.
        objects: width ``D`` of the object features.
        scene: width ``S`` of the scene features, a multiple of 4.
        seed: of the random projections; part of the manifest.
    """

    crop: int = 8
    context: float = 3.0
    grid: int = 16
    patch: int = 3
    objects: int = 256
    scene: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(1 <= side <= 256 for side in (self.crop, self.grid)) or not 0 <= self.context <= 256:
            raise ValueError(f"crop and grid must lie in 1..256, context in 0..256; got {self}")
        if not all(1 <= width <= 2**16 for width in (self.objects, self.scene)) or self.seed < 0:
            raise ValueError(f"widths must lie in 1..65536, and the seed be 0 or more; got {self}")
        if self.scene % 4 or self.grid <= self.patch or self.patch < 1:
            raise ValueError(
                f"scene must be a multiple of 4 and grid larger than patch; got {self.scene}, {self.grid}, {self.patch}"
            )

    def __call__(
        self, sample: SampledFrames, boxes: Sequence[np.ndarray]
    ) -> tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]:
        """Scene features of every frame and object features of every box, in the order of the frames.

        Args:
            sample: the frames.
            boxes: one ``[n 4]`` array of pixel boxes a frame; ``n`` may be 0.

        Raises:
            ValueError: the number of arrays is not the number of frames.
        """
        if len(boxes) != len(sample.frames):
            raise ValueError(f"video {sample.video!r} has {len(sample.frames)} frames but boxes for {len(boxes)}")
        frame = np.repeat(np.arange(len(boxes)), [len(box) for box in boxes])
        flat = np.concatenate([np.asarray(box, dtype=np.float32).reshape(-1, 4) for box in boxes])
        points = crops(sample.frames, frame, flat, self.crop, self.context)
        return self._scene(_standard(block_means(sample.frames, self.grid))), self._objects(_standard(points))

    def scene_map(self, sample: SampledFrames) -> SceneMap:
        """See :class:`stg.vision.backbones.LocatingBackbone`: a place is a patch; over the frame: the cells.

        Each quarter of the features is the mean over a quarter of the patches. What a patch counts is shared out evenly
        over the cells that it sees; it also sees their change until the next frame.
        """

        response = self._responses(_standard(block_means(sample.frames, self.grid)))
        places = response.shape[1]
        weights = np.zeros((4, 1, places, places), np.float32)
        for quarter, (rows, columns) in zip(weights[:, 0], _quarters(places), strict=True):
            quarter[rows, columns] = 1 / quarter[rows, columns].size
        maps = np.tile(response.transpose(0, 3, 1, 2), (1, 4, 1, 1))
        return SceneMap(maps, weights.repeat(self.scene // 4, 1).reshape(-1, places, places), self._over_cells)

    def _over_cells(self, places: Float[np.ndarray, "*rows P P"]) -> Float[np.ndarray, "*rows G G"]:
        cells = np.zeros((*places.shape[:-2], self.grid, self.grid), places.dtype)
        for i, j in np.ndindex(self.patch, self.patch):
            cells[..., i : i + places.shape[-2], j : j + places.shape[-1]] += places / self.patch**2
        return cells

    def manifest(self) -> dict[str, Any]:
        """What decides the features."""
        return {
            "name": "world-backbone",
            "version": 1,
            "crop": self.crop,
            "context": self.context,
            "grid": self.grid,
            "patch": self.patch,
            "objects": self.objects,
            "scene": self.scene,
            "mean": MEAN,
            "deviation": DEVIATION,
            "object_gain": OBJECT_GAIN,
            "scene_gain": SCENE_GAIN,
            "change": CHANGE,
            "seed": self.seed,
        }

    def _objects(self, points: Float32[np.ndarray, "N P P 3"]) -> Float32[np.ndarray, "N D"]:
        rng = np.random.default_rng((self.seed, 1))
        width = points[0].size if len(points) else self.crop**2 * 3
        weight = rng.normal(0.0, OBJECT_GAIN / np.sqrt(width), (width, self.objects)).astype(np.float32)
        bias = rng.uniform(-0.5, 0.5, self.objects).astype(np.float32)
        return np.tanh(points.reshape(-1, width) @ weight + bias)

    def _scene(self, cells: Float32[np.ndarray, "T G G 3"]) -> Float32[np.ndarray, "T S"]:
        response = self._responses(cells)
        quarters = [response[:, rows, columns].mean(axis=(1, 2)) for rows, columns in _quarters(response.shape[1])]
        return np.concatenate(quarters, axis=-1)

    def _responses(self, cells: Float32[np.ndarray, "T G G 3"]) -> Float32[np.ndarray, "T P P K"]:
        """What each patch answers, before it is averaged over its quarter."""
        rng = np.random.default_rng((self.seed, 0))
        places = self.grid - self.patch + 1
        shifts = [(i, j) for i in range(self.patch) for j in range(self.patch)]
        here = np.concatenate([cells[:, i : places + i, j : places + j] for i, j in shifts], axis=-1)
        # The next frame less this one, 0 in the last: motion that a still picture does not show.
        change = np.concatenate([here[1:], here[-1:]]) - here
        seen = np.concatenate([here, np.float32(CHANGE) * change], axis=-1)
        width = seen.shape[-1]
        weight = rng.normal(0.0, SCENE_GAIN / np.sqrt(width), (width, self.scene // 4)).astype(np.float32)
        bias = rng.uniform(-2.0, 0.0, self.scene // 4).astype(np.float32)
        return np.maximum(seen @ weight + bias, 0.0)


# Pixels are standardised by the mean and deviation of this world's pixels.
MEAN = 0.42
DEVIATION = 0.2
OBJECT_GAIN = 1.5
SCENE_GAIN = 3.0
CHANGE = 3.0


def _quarters(places: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the quarters of ``places`` x ``places`` patches."""
    halves = slice(0, places // 2), slice(places // 2, None)
    return [(rows, columns) for rows in halves for columns in halves]


def _standard(pixels: np.ndarray) -> np.ndarray:
    return (pixels / np.float32(255.0) - np.float32(MEAN)) / np.float32(DEVIATION)


def block_means(frames: np.ndarray, grid: int) -> Float32[np.ndarray, "T G G 3"]:
    """Mean colour of ``grid`` x ``grid`` equal cells of ``[T H W 3]`` frames; edge pixels count by their share."""
    down, across = (_shares(side, grid) for side in frames.shape[1:3])
    rows = np.einsum("gh,thwc->tgwc", down, frames.astype(np.float32), optimize=True)
    return np.einsum("kw,tgwc->tgkc", across, rows, optimize=True)


def _shares(side: int, grid: int) -> Float32[np.ndarray, "G side"]:
    edge = np.linspace(0.0, side, grid + 1)
    pixel = np.arange(side)
    shared = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    return (shared.clip(min=0.0) * (grid / side)).astype(np.float32)


def crops(
    frames: np.ndarray, frame: np.ndarray, boxes: Float32[np.ndarray, "n 4"], points: int, context: float
) -> Float32[np.ndarray, "n P P 3"]:
    """Bilinear samples of ``boxes`` widened by ``context`` pixels, four averaged to each of ``points`` x ``points``.

    Args:
        frames: ``[T H W 3]`` pixels; beyond their edge the nearest one counts.
        frame: ``[n]`` which frame each box lies in.
        boxes: corners ``(x1, y1, x2, y2)`` in pixels.
        points: cells along each side.
        context: pixels added on each side.
    """
    height, width = frames.shape[1:3]
    step = (np.arange(2 * points, dtype=np.float32) + np.float32(0.5)) / np.float32(2 * points)
    x = boxes[:, :1] - context + (boxes[:, 2:3] - boxes[:, :1] + 2 * context) * step
    y = boxes[:, 1:2] - context + (boxes[:, 3:] - boxes[:, 1:2] + 2 * context) * step
    # Pixel i is the colour at i + 1/2.
    x, y = (x - 0.5).clip(0.0, width - 1.0), (y - 0.5).clip(0.0, height - 1.0)
    # One short of the edge, where the neighbour to the right or below would lie outside.
    left, top = (np.minimum(v.astype(np.int64), n - 2) for v, n in ((x, width), (y, height)))
    u, v = (x - left)[:, None, :, None], (y - top)[:, :, None, None]
    at = frame[:, None, None]
    row, column = top[:, :, None], left[:, None, :]
    upper = frames[at, row, column] * (1 - u) + frames[at, row, column + 1] * u
    lower = frames[at, row + 1, column] * (1 - u) + frames[at, row + 1, column + 1] * u
    samples = (upper * (1 - v) + lower * v).astype(np.float32)
    return samples.reshape(len(boxes), points, 2, points, 2, 3).mean(axis=(2, 4))
