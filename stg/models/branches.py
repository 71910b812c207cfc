"""The scene branch: frames and motion, padded and encoded."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from graphs import GraphData


@dataclass(frozen=True)
class SceneFrames:
    """Padded scene features of a batch: ``scene`` [B T S], ``motion`` [B T M] or None, ``mask`` [B T] (True = real)."""

    scene: Float[Tensor, "B T S"]
    motion: Float[Tensor, "B T M"] | None
    mask: Bool[Tensor, "B T"]


def pad_scene(batch: GraphData) -> SceneFrames:
    """Lay the flat scene features of a batch out as frames, with the motion row that each frame takes.

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
        # Rows count from 0 in each video, in the batch from the first of all.
        row = batch.motion_row + batch.motion_ptr[:-1].repeat_interleave(counts)
        motion = batch.motion.new_zeros(videos, longest, batch.motion.shape[-1])
        motion[mask] = batch.motion[row]
    return SceneFrames(scene, motion, mask)


class SceneBranch(nn.Module):
    r"""Frame and motion features projected to one sequence (Pan et al., 2020, Eq. 6).

    .. math:: F_s = [F_{2D} W_{2D} ; F_{3D}' W_{3D}] W_{fuse}

    No bias and no activation, as in the equation. Without motion features the equation reduces to its first half.

    Args:
        scene: width ``S`` of the frame features.
        motion: width ``M`` of the motion features, or None.
        channels: width ``C`` of the sequence.
    """

    provides = frozenset({"frames"})
    """The parts of a memory that `views` makes."""

    def __init__(self, scene: int, motion: int | None, channels: int = 512) -> None:
        super().__init__()
        self.requires = frozenset({"scene", "motion"} if motion else {"scene"})
        self.frames = nn.Linear(scene, channels, bias=False)
        self.motion = nn.Linear(motion, channels, bias=False) if motion else None
        self.fuse = nn.Linear(channels * (2 if motion else 1), channels, bias=False)

    def forward(self, inputs: SceneFrames) -> Float[Tensor, "B T C"]:
        projected = [self.frames(inputs.scene)]
        if self.motion is not None:
            projected.append(self.motion(_motion(inputs)))
        return self.fuse(torch.cat(projected, -1))

    def views(self, inputs: SceneFrames) -> dict[str, Float[Tensor, "B T C"]]:
        """The sequences of the branch, by their names in a memory: the one of Eq. 6."""
        return {"frames": self(inputs)}


class SceneViews(nn.Module):
    """Frame and motion features as two sequences, for a decoder that attends to both views of a video.

    They are projected as in Eq. 6 of Pan et al. (2020), without the layer that fuses them: that is left to the decoder
    (TVT; streams of STaTS).

    Args:
        scene: width ``S`` of the frame features.
        motion: width ``M`` of the motion features.
        channels: width ``C`` of each sequence.
    """

    requires = frozenset({"scene", "motion"})
    provides = frozenset({"frames", "motion"})

    def __init__(self, scene: int, motion: int, channels: int = 512) -> None:
        super().__init__()
        self.frames = nn.Linear(scene, channels, bias=False)
        self.motion = nn.Linear(motion, channels, bias=False)

    def forward(self, inputs: SceneFrames) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
        return self.frames(inputs.scene), self.motion(_motion(inputs))

    def views(self, inputs: SceneFrames) -> dict[str, Float[Tensor, "B T C"]]:
        """The sequences of the branch, by their names in a memory."""
        frames, motion = self(inputs)
        return {"frames": frames, "motion": motion}


def _motion(inputs: SceneFrames) -> Float[Tensor, "B T M"]:
    if inputs.motion is None:
        raise ValueError("this model was built with motion features and the batch has none: extract with --motion")
    return inputs.motion
