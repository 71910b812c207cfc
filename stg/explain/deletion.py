"""Whether words depend on what they attend to: the deletion test."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders import Decoder, VideoMemory
from graphs import GraphData
from stg.explain.attention import AttentionMap, attentions
from stg.explain.explanation import Deletion
from stg.explain.gradcam import scene_gradients
from stg.models.captioner import Captioner
from stg.models.statistics import Standardise
from stg.vision.backbones import SceneMap

Mask = Literal["frame_mask", "region_mask", "grid_mask", "object_mask"]
HIDES: dict[Mask, str] = {
    "frame_mask": "frames",
    "region_mask": "regions",
    "grid_mask": "steps",
    "object_mask": "objects",
}
"""What is hidden by the mask of a memory that hides it."""

GRADCAM = "gradcam"
"""Name of the attribution that `DeletionTest.add_gradcam` tests."""


@dataclass
class _Sums:
    hides: str
    words: int = 0
    hidden: int = 0
    attended: float = 0.0
    random: list[float] = field(default_factory=list)


class DeletionTest:
    """Hide what a word attended to most, or as many random items, and see how far its probability falls.

    For each word of each video, the ``k`` items with the largest weights are marked as not real in the memory, and the
    word's log-probability is taken given the words before it, which stay as they are. Weights that say nothing lose by
    this no more than random ones. (Deletion as for saliency maps, Petsiuk et al., 2018; for attention, see Serrano and
    Smith, 2019.)

    Hidden items are gone for an encoder in the decoder and for means over frames too, but not for what was made before
    the memory: a vector of the whole video, or neighbours in a graph. Both views of a frame are hidden together. What a
    map has no choice of (places of a grid) is not tested.

    Grad-CAM is tested likewise (`add_gradcam`): places of the image network's last map, of all frames together, are
    replaced by the mean feature of the training videos before the scene features are taken.

    Args:
        count: how many items are hidden; None: a fifth of the real ones, at least 1.
        seeds: of the random choices, one mean each.

    Raises:
        ValueError: nothing would be hidden, or there is no seed.
    """

    def __init__(self, *, count: int | None = None, seeds: Sequence[int] = (0, 1, 2)) -> None:
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1 or None, got {count}")
        if not seeds:
            raise ValueError("the deletion test needs at least one seed for its random choices, got none")
        self.count = count
        self._draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._sums: dict[str, _Sums] = {}

    def add(
        self, decoder: Decoder, words: Sequence[int], memory: VideoMemory, maps: Iterable[AttentionMap] | None = None
    ) -> None:
        """Test one video, unless it has no more real items than are hidden.

        Args:
            decoder, words, memory: see `stg.explain.attention.attentions`.
            maps: to test; default: those of the decoder.
        """
        if not words:
            return
        for one in attentions(decoder, words, memory).maps if maps is None else maps:
            target = _target(one, memory)
            if target is not None:
                mask, weights, real = target
                self._gather(one.name, HIDES[mask], weights, real, partial(_masked_falls, decoder, words, memory, mask))

    def add_gradcam(self, captioner: Captioner, batch: GraphData, words: Sequence[int], image_map: SceneMap) -> None:
        """Test Grad-CAM of one video, unless its map has no more places than are hidden.

        Words that no place raised are left out: nothing could be hidden from them.

        Args:
            captioner, batch, words: see `stg.explain.gradcam.gradcam`.
            image_map: the map of the frames that ``batch.scene`` describes.
        """
        gradient = scene_gradients(captioner, batch, words)
        if gradient is None or not words:
            return
        weights = torch.from_numpy(image_map.gradcam(gradient[:-1].cpu().numpy()))
        # A word that no place raised has no order of places to test.
        raised = weights.flatten(1).any(1)
        places, fill = weights[0].numel(), mean_scene(captioner, image_map.maps.shape[1])

        def falls(hidden: Tensor) -> Tensor:
            # The last row is the video as it is.
            gone = torch.zeros(len(hidden) + 1, places, dtype=torch.bool)
            gone[:-1].scatter_(1, hidden, True)
            scenes = torch.from_numpy(image_map.without(gone.unflatten(1, weights.shape[1:]).numpy(), fill)).to(
                gradient
            )
            return _falls(captioner.decoder, words, memory_of_scenes(captioner, batch, scenes), raised.nonzero()[:, 0])

        if raised.any():
            self._gather(GRADCAM, "places", weights.flatten(1)[raised], torch.ones(places, dtype=torch.bool), falls)

    def results(self) -> tuple[Deletion, ...]:
        """What was found, one for each attribution tested on any word; ``count`` is the mean over words, rounded."""
        return tuple(
            Deletion(
                title=name,
                hides=sums.hides,
                words=sums.words,
                count=round(sums.hidden / sums.words),
                attended=sums.attended / sums.words,
                random=tuple(total / sums.words for total in sums.random),
            )
            for name, sums in self._sums.items()
        )

    def _gather(
        self,
        name: str,
        hides: str,
        weights: Float[Tensor, "L M"],
        real: Bool[Tensor, " M"],
        falls: Callable[[Tensor], Tensor],
    ) -> None:
        """Hide by ``weights`` and at random; ``falls`` says what hiding row ``x`` of items costs word ``x % L``."""
        items, length = int(real.sum()), len(weights)
        # A fifth: enough to be felt, and few enough to leave something to read.
        count = self.count or max(1, items // 5)
        # Hiding everything would say nothing of what is hidden first.
        if items <= count:
            return
        at = real.nonzero()[:, 0]
        most = weights[:, real].topk(count).indices
        # As many items at random as by weight: the fall of a good attribution must exceed theirs.
        random = [torch.rand(length, items, generator=draw).topk(count).indices.to(at.device) for draw in self._draws]
        # Rows [(1 + seeds) L, count]: those by weight, then a block for each seed.
        hidden = at[torch.cat([most, *random])]
        found = falls(hidden).unflatten(0, (-1, length)).sum(1).tolist()
        sums = self._sums.setdefault(name, _Sums(hides, random=[0.0] * len(random)))
        sums.words += length
        sums.hidden += length * count
        sums.attended += found[0]
        sums.random = [total + fall for total, fall in zip(sums.random, found[1:], strict=True)]


def _target(tested: AttentionMap, memory: VideoMemory) -> tuple[Mask, Tensor, Tensor] | None:
    """The mask that hides items of a map, their weights ``[L M]``, and which are real ``[M]``; None: nothing can be
    hidden."""
    if tested.part == "regions" and tested.items is not None:
        assert memory.region_mask is not None
        real = memory.region_mask[0] & memory.frame_mask[0, :, None]
        return "region_mask", tested.items.flatten(1), real.flatten()
    if tested.steps is None:
        return None
    if tested.part == "grid":
        assert memory.grid_mask is not None
        return "grid_mask", tested.steps, memory.grid_mask[0]
    if tested.part == "objects":
        assert memory.object_mask is not None
        return "object_mask", tested.steps, memory.object_mask[0]
    real = memory.frame_mask[0]
    if tested.part == "regions":
        assert memory.region_mask is not None
        # A frame without objects has nothing that could be hidden.
        real = real & memory.region_mask[0].any(1)
    return "frame_mask", tested.steps, real


def _masked_falls(
    decoder: Decoder, words: Sequence[int], memory: VideoMemory, mask: Mask, hidden: Int[Tensor, "X k"]
) -> Float[Tensor, " X"]:
    return _falls(decoder, words, _hide(memory, mask, hidden))


def _hide(memory: VideoMemory, mask: Mask, hidden: Int[Tensor, "X k"]) -> VideoMemory:
    """Copies of the one video, row ``x`` with the items ``hidden[x]`` marked as not real, and one as it is."""
    whole: Tensor = getattr(memory, mask)
    masks = whole.flatten(1).repeat(len(hidden) + 1, 1)
    masks[:-1].scatter_(1, hidden, False)
    # One copy of the video a row of items, and the whole video last: a single pass compares all.
    copies = memory.select(torch.zeros(len(masks), dtype=torch.int64, device=whole.device))
    return replace(copies, **{mask: masks.unflatten(1, whole.shape[1:])})


@torch.no_grad()
def memory_of_scenes(captioner: Captioner, batch: GraphData, scenes: Float[Tensor, "X T S"]) -> VideoMemory:
    """What the captioning decoder reads of copies of a video that differ in their scene features alone."""
    captioner = captioner.for_captioning()
    rows = []
    for scene in scenes:
        copy = batch.clone()
        copy.scene = scene
        rows.append(captioner.memory(copy))
    given = [part.name for part in fields(VideoMemory) if getattr(rows[0], part.name) is not None]
    return replace(rows[0], **{name: torch.cat([getattr(row, name) for row in rows]) for name in given})


def mean_scene(captioner: Captioner, width: int) -> Float[np.ndarray, " S"]:
    """The mean scene feature of the training videos, which standardising made known; zeros where nothing did."""
    known = captioner.standardise
    if known is None or "scene" not in known:
        return np.zeros(width, np.float32)
    standardise = known["scene"]
    assert isinstance(standardise, Standardise)
    return standardise.mean.cpu().numpy()


@torch.no_grad()
def _falls(
    decoder: Decoder, words: Sequence[int], videos: VideoMemory, tested: Int[Tensor, " W"] | None = None
) -> Float[Tensor, " X"]:
    """How far the log-probability of word ``tested[x % W]`` falls in row ``x`` from the last row, in one pass.

    Args:
        videos: ``X + 1`` copies of a video.
        tested: places of words in the caption; default: all.
    """
    rows, device = videos.num_videos - 1, videos.frames.device
    tested = torch.arange(len(words), device=device) if tested is None else tested.to(device)
    read = torch.tensor([decoder.bos, *words[:-1]], device=device).expand(rows + 1, -1)
    features = decoder.features(read, videos)
    row = torch.arange(rows, device=device)
    word = tested[row % len(tested)]
    # Each hidden row is read at its own word alone: the vocabulary is large.
    said = torch.cat([features[-1], features[row, word]])
    target = torch.tensor(words, device=device)
    log_probs = decoder.output(said).log_softmax(-1)
    found = log_probs.gather(1, torch.cat([target, target[word]])[:, None])[:, 0].double()
    return found[: len(words)][word] - found[len(words) :]
