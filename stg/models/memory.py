"""From a flat batch to the parts of a memory that decoders read besides frames: regions, grid, clip vector, class."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from graphs import GraphData
from stg.models.feature_kinds import feature, mean_of_videos


def mean_of_steps(steps: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B C"]:
    """The mean of the real steps of each video; zeros for one without any."""
    # Padded steps may hold anything, and NaN times 0 is NaN.
    return steps.masked_fill(~mask[..., None], 0.0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def places(group: Int[Tensor, " M"], groups: int) -> tuple[Int[Tensor, " M"], Int[Tensor, " G"]]:
    """The place of each row among those of its group, from 0, and how many rows each group has.

    Args:
        group: of each row; rows of a group stand next to each other, and groups in their order.
        groups: how many there are.
    """
    count = torch.bincount(group, minlength=groups)
    # How far a row is behind the first of its group.
    return torch.arange(len(group), device=group.device) - (count.cumsum(0) - count)[group], count


def pad_regions(
    nodes: Float[Tensor, "N C"], frame: Int[Tensor, " N"], batch: Int[Tensor, " N"], num_frames: Int[Tensor, " B"]
) -> tuple[Float[Tensor, "B T R C"], Bool[Tensor, "B T R"]]:
    """Lay the nodes of a batch out by video, frame, and place in their frame.

    Args:
        nodes: ``[N C]``, ordered by video, then by frame, as a store and `graphs.STGEncoder` keep them.
        frame: ``[N]`` frame of each node inside its video.
        batch: ``[N]`` video of each node.
        num_frames: ``[B]`` frames of each video.

    Returns:
        The regions, zeros where there is none, and the mask of the real ones; ``R`` is the number of nodes in the
        fullest frame of the batch, at least 1.
    """
    videos, longest = len(num_frames), int(num_frames.max())
    # One number for each frame of the padded batch: no loop over videos or frames.
    slot = batch * longest + frame
    place, count = places(slot, videos * longest)
    most = max(int(count.max()), 1)
    # index_put, not an assignment, as gradients flow back to the nodes.
    regions = nodes.new_zeros(videos * longest, most, nodes.shape[-1]).index_put((slot, place), nodes)
    mask = torch.arange(most, device=slot.device) < count[:, None]
    return regions.unflatten(0, (videos, longest)), mask.unflatten(0, (videos, longest))


def pad_grid(
    grid: Float[Tensor, "sumL P C"], ptr: Int[Tensor, " B1"]
) -> tuple[Float[Tensor, "B L P C"], Bool[Tensor, "B L"]]:
    """Lay the grid features of a batch out by video and step.

    Args:
        grid: the steps of all videos one after the other.
        ptr: ``[B + 1]`` where the steps of each video begin, ``motion_ptr`` of a batch.

    Returns:
        The steps, zeros where there is none, and the mask of the real ones; ``L`` is that of the longest video, at
        least 1.
    """
    count = ptr.diff()
    mask = torch.arange(max(int(count.max()), 1), device=ptr.device) < count[:, None]
    steps = grid.new_zeros(*mask.shape, *grid.shape[1:])
    steps[mask] = grid
    return steps, mask


def subsample_steps(ptr: Int[Tensor, " B1"], most: int) -> tuple[Int[Tensor, " S"], Int[Tensor, " B1"]]:
    """Rows of at most ``most`` steps of each video, evenly spread over all of it.

    Args:
        ptr: ``[B + 1]`` where the steps of each video begin.
        most: at least 1; shorter videos keep every step.

    Returns:
        The rows that stay, in order, and where those of each video then begin: the middles of equal stretches.
    """
    count = ptr.diff()
    kept = count.clamp(max=most)
    begin = torch.cat([ptr[:1], kept.cumsum(0)])
    video = torch.arange(len(kept), device=ptr.device).repeat_interleave(kept)
    # The middle of each stretch, in whole numbers: exact for any length.
    number = torch.arange(len(video), device=ptr.device) - begin[video]
    return ptr[video] + (2 * number + 1) * count[video] // (2 * kept[video]), begin


class ClipVector(nn.Module):
    """One vector for a whole video: the global feature of Chen et al. (2019, Sec. 2.1).

    The means of frame, motion and sound features over time, concatenated, through one linear layer. Only stretches in
    which anything is heard count in the mean of the sound; a silent video has zeros there, and one more column says
    whether there is sound (both a reading: the paper names neither). What the store lacks is left out.

    Args:
        scene, motion, audio: widths of the features; 0 leaves one out.
        channels: width ``C`` of the vector.

    Raises:
        ValueError: all widths are 0.
    """

    def __init__(self, scene: int, motion: int, audio: int, channels: int = 512) -> None:
        super().__init__()
        if not scene + motion + audio:
            raise ValueError("a clip vector needs scene, motion or sound features, and all three widths are 0")
        widths = {"scene": scene, "motion": motion, "audio": audio}
        self.requires = frozenset(name for name, width in widths.items() if width)
        self.project = nn.Linear(scene + motion + audio + bool(audio), channels)

    def forward(self, batch: GraphData) -> Float[Tensor, "B C"]:
        """The vectors of the videos of a flat batch."""
        means: list[Tensor] = []
        if "scene" in self.requires:
            means.append(mean_of_videos(feature(batch, "scene"), batch.num_frames)[0])
        if "motion" in self.requires:
            means.append(mean_of_videos(feature(batch, "motion"), batch.motion_ptr.diff())[0])
        if "audio" in self.requires:
            audio, heard = feature(batch, "audio"), batch.audio_mask
            # Silent stretches drop out, so the rows of each video are recounted, by a running sum.
            before = torch.cat([heard.new_zeros(1, dtype=torch.int64), heard.cumsum(0)])
            mean, count = mean_of_videos(audio[heard], before[batch.audio_ptr].diff())
            means += [mean, (count > 0).to(mean)[:, None]]
        return self.project(torch.cat(means, -1))


class MemoryBuilder(nn.Module):
    """What a branch passes to its decoder besides sequences of frames; pass what the decoder reads.

    Args:
        regions: what each object goes through: a layer for raw objects, ``nn.Identity()`` for nodes of a graph.
        grid: what each place of the grid goes through.
        clip: makes the vector of the whole video.
        category: whether the class of a video is passed on, where the batch knows it.
        max_steps: most steps of the grid a video (`subsample_steps`); 0: all.
    """

    def __init__(
        self,
        *,
        regions: nn.Module | None = None,
        grid: nn.Module | None = None,
        clip: ClipVector | None = None,
        category: bool = False,
        max_steps: int = 0,
    ) -> None:
        super().__init__()
        self.regions, self.grid, self.clip, self.category = regions, grid, clip, category
        self.max_steps = max_steps

    @property
    def provides(self) -> frozenset[str]:
        """The parts of a memory that come from here, by their names there."""
        given = {
            "regions": self.regions is not None,
            "grid": self.grid is not None,
            "clip": self.clip is not None,
            "category": self.category,
        }
        return frozenset(name for name, here in given.items() if here)

    @property
    def requires(self) -> frozenset[str]:
        """The features of a batch that are read here, ``x`` where regions are."""
        read = {"x"} if self.regions is not None else set()
        read |= {"grid"} if self.grid is not None else set()
        return frozenset(read) | (self.clip.requires if self.clip is not None else frozenset())

    def forward(self, batch: GraphData, nodes: Float[Tensor, "N D"] | None = None) -> dict[str, Tensor]:
        """The parts, named as the arguments of `decoders.VideoMemory`, masks included.

        Args:
            batch: flat batch of a store.
            nodes: states of the nodes of the graph; default: the raw objects ``batch.x``.
        """
        parts: dict[str, Tensor] = {}
        if self.regions is not None:
            objects = self.regions(feature(batch, "x") if nodes is None else nodes)
            laid_out = pad_regions(objects, batch.frame, batch.batch, batch.num_frames)
            parts["regions"], parts["region_mask"] = laid_out
        if self.grid is not None:
            grid, ptr = feature(batch, "grid"), batch.motion_ptr
            if self.max_steps:
                # Before the projection: what is dropped costs no work.
                rows, ptr = subsample_steps(ptr, self.max_steps)
                grid = grid[rows]
            # Projected before it is padded: a padded place costs memory, but no work.
            parts["grid"], parts["grid_mask"] = pad_grid(self.grid(grid), ptr)
        if self.clip is not None:
            parts["clip"] = self.clip(batch)
        # Clips of one's own have no class: decoders then take the row of an unknown one.
        if self.category and "category" in batch:
            parts["category"] = batch.category
        return parts
