"""The captioner of Pan et al. (2020): a scene branch, an object branch, and a decoder for each."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch_geometric.data import Data

from decoders import Decoder, VideoMemory
from graphs import STGEncoder

Fusion = Literal["distill", "concat", "l2"]


@dataclass(frozen=True)
class SceneFrames:
    """Padded scene features of a batch: ``scene`` [B T S], ``motion`` [B T M] or None, ``mask`` [B T] (True = real)."""

    scene: Float[Tensor, "B T S"]
    motion: Float[Tensor, "B T M"] | None
    mask: Bool[Tensor, "B T"]


def pad_scene(batch: Data) -> SceneFrames:
    """Lay the flat scene features of a batch out as frames, with the motion row that each frame takes (P4).

    Reads ``scene [sum T, S]``, ``num_frames [B]``, and, where motion is given, ``motion [sum L, M]``,
    ``motion_row [sum T]`` (counted inside each video) and ``motion_ptr [B + 1]``.
    """
    counts = batch.num_frames
    videos, longest = len(counts), int(counts.max())
    mask = torch.arange(longest, device=counts.device) < counts[:, None]
    scene = batch.scene.new_zeros(videos, longest, batch.scene.shape[-1])
    scene[mask] = batch.scene
    motion = None
    if "motion" in batch:
        row = batch.motion_row + batch.motion_ptr[:-1].repeat_interleave(counts)
        motion = batch.motion.new_zeros(videos, longest, batch.motion.shape[-1])
        motion[mask] = batch.motion[row]
    return SceneFrames(scene, motion, mask)


class SceneBranch(nn.Module):
    r"""Frame and motion features projected to one sequence (Pan et al., 2020, Eq. 6).

    .. math:: F_s = [F_{2D} W_{2D} ; F_{3D}' W_{3D}] W_{fuse}

    No bias and no activation (P17). Without motion features the equation reduces to its first half.

    Args:
        scene: width ``S`` of the frame features.
        motion: width ``M`` of the motion features, or None.
        channels: width ``C`` of the sequence.
    """

    def __init__(self, scene: int, motion: int | None, channels: int = 512) -> None:
        super().__init__()
        self.frames = nn.Linear(scene, channels, bias=False)
        self.motion = nn.Linear(motion, channels, bias=False) if motion else None
        self.fuse = nn.Linear(channels * (2 if motion else 1), channels, bias=False)

    def forward(self, inputs: SceneFrames) -> Float[Tensor, "B T C"]:
        projected = [self.frames(inputs.scene)]
        if self.motion is not None:
            if inputs.motion is None:
                raise ValueError(
                    "this model was built with motion features and the batch has none: extract with --motion"
                )
            projected.append(self.motion(inputs.motion))
        return self.fuse(torch.cat(projected, -1))


class Standardise(nn.Module):
    """Features shifted and scaled to mean 0 and deviation 1, by fixed statistics of the training videos.

    Not in the paper: raw features of most networks share one large mean, which bias-free projections (Eq. 5 and 6)
    cannot take away. The statistics are saved with the weights and never trained.

    Args:
        width: of the features; until `fit` is called they pass unchanged.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def fit(self, blocks: Iterable[Float[Tensor, "_ D"]]) -> None:
        """Take the statistics over the rows of all ``blocks``; a feature that hardly varies is not blown up."""
        count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for block in blocks:
            count += len(block)
            total = total + block.double().sum(0)
            squares = squares + block.double().square().sum(0)
        if count:
            mean = total / count
            deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
            deviation = deviation.clamp_min(0.01 * deviation.mean()).clamp_min(1e-6)
            self.mean.copy_(mean)
            self.scale.copy_(1 / deviation)

    def forward(self, features: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        return (features - self.mean) * self.scale


@dataclass(frozen=True)
class Encoded:
    """What the branches make of a batch of videos.

    Attributes:
        scene: memory of the scene branch, or None where the model has none.
        objects: memory of the object branch (per-frame means; frames without objects are masked), or None.
        has_objects: [B], True for videos with at least one object.
    """

    scene: VideoMemory | None
    objects: VideoMemory | None
    has_objects: Bool[Tensor, " B"]


class Captioner(nn.Module):
    """Two branches that learn together; the scene branch alone captions (Pan et al., 2020, Sec. 3).

    Pass the parts, so that any of them can be one's own. With ``fusion="concat"`` the branches join before a single
    decoder (the ablation "Two Branch + Concat"): by channel through ``join``, or one after the other in time where
    ``join`` is None.

    Args:
        scene: the scene branch, or None for an object-only model.
        objects: the graph encoder, or None for a scene-only model.
        scene_decoder: decoder of the scene branch (or of the joined branches).
        object_decoder: decoder of the object branch.
        fusion: how the branches meet: ``distill`` (Eq. 7), ``l2`` (Table 3), ``concat`` (Table 3).
        join: linear layer from the 2C joined channels to C.
        standardise: by batch field (``scene``, ``motion``, ``x``), what standardises it first; None leaves features as
            they are, as the paper does.

    Raises:
        ValueError: the parts do not fit the fusion.
    """

    def __init__(
        self,
        *,
        scene: SceneBranch | None,
        objects: STGEncoder | None,
        scene_decoder: Decoder | None,
        object_decoder: Decoder | None,
        fusion: Fusion = "distill",
        join: nn.Linear | None = None,
        standardise: nn.ModuleDict | None = None,
    ) -> None:
        super().__init__()
        if scene is None and objects is None:
            raise ValueError("a captioner needs a scene branch, an object branch, or both; got neither")
        if fusion == "concat" and (
            scene is None or objects is None or scene_decoder is None or object_decoder is not None
        ):
            raise ValueError("fusion='concat' needs both branches and exactly one decoder, given as scene_decoder")
        if fusion != "concat" and (
            (scene is None) != (scene_decoder is None) or (objects is None) != (object_decoder is None)
        ):
            raise ValueError("every branch needs its decoder, and every decoder its branch")
        self.scene, self.objects = scene, objects
        self.scene_decoder, self.object_decoder = scene_decoder, object_decoder
        self.fusion, self.join, self.standardise = fusion, join, standardise

    def encode(self, batch: Data) -> Encoded:
        """Encode each video of a flat batch once, by every branch of the model."""
        if self.standardise is not None:
            batch = copy.copy(batch)
            for name, function in self.standardise.items():
                if name in batch:
                    batch[name] = function(batch[name])
        scene_memory = object_memory = None
        padded = pad_scene(batch) if self.scene is not None else None
        if self.scene is not None and padded is not None:
            frames = self.scene(padded)
            scene_memory = VideoMemory(frames=frames, frame_mask=padded.mask)
        if self.objects is not None:
            _, frames, mask = self.objects(
                batch.x,
                batch.frame,
                batch.edge_index,
                batch.edge_weight,
                batch=batch.batch,
                num_frames=batch.num_frames,
            )
            object_memory = VideoMemory(frames=frames, frame_mask=mask)
            has_objects = mask.any(-1)
        else:
            has_objects = torch.zeros(len(batch.num_frames), dtype=torch.bool, device=batch.num_frames.device)
        if self.fusion == "concat" and scene_memory is not None and object_memory is not None:
            scene_memory = self._concatenate(scene_memory, object_memory)
        return Encoded(scene_memory, object_memory, has_objects)

    def _concatenate(self, scene: VideoMemory, objects: VideoMemory) -> VideoMemory:
        if self.join is None:
            frames = torch.cat([scene.frames, objects.frames], 1)
            return VideoMemory(frames=frames, frame_mask=torch.cat([scene.frame_mask, objects.frame_mask], 1))
        frames = self.join(torch.cat([scene.frames, objects.frames], -1))
        return VideoMemory(frames=frames, frame_mask=scene.frame_mask)

    @property
    def decoder(self) -> Decoder:
        """The decoder that captions at test time: the scene branch's, where there is one (P19)."""
        decoder = self.scene_decoder or self.object_decoder
        assert decoder is not None  # the constructor refuses a model without any
        return decoder

    def memory(self, batch: Data) -> VideoMemory:
        """What `decoder` reads at test time: the scene branch's memory, or that of an object-only model."""
        encoded = self.encode(batch)
        memory = encoded.scene or encoded.objects
        assert memory is not None
        return memory

    @property
    def needs_objects(self) -> bool:
        """Whether captioning reads the object graph: never for Pan's model, whose scene branch stands alone."""
        return self.scene is None or self.fusion == "concat"

    def for_captioning(self) -> "Captioner":
        """The part that captions: no object branch unless it is read at test time (P19); weights are shared."""
        if self.needs_objects:
            return self
        kept = None
        if self.standardise is not None:
            kept = nn.ModuleDict({name: part for name, part in self.standardise.items() if name != "x"})
        return Captioner(
            scene=self.scene, objects=None, scene_decoder=self.scene_decoder, object_decoder=None, standardise=kept
        )
