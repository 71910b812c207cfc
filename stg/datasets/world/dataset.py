"""The built-in data set ``moving objects``: seeded short videos of coloured shapes, their captions and their events.

Nothing is downloaded and nothing learned: a video is drawn from ``(seed, split, index)`` whenever it is asked for, by
the same arithmetic in every process. Frames, detector and backbone then take the very path that real clips take.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from stg.config.data import WorldConfig
from stg.datasets.base import CaptionDataset
from stg.datasets.world.directing import Event, Script, direct
from stg.datasets.world.events import EVENTS
from stg.datasets.world.phrases import captions_for
from stg.datasets.world.rendering import Motion, background, boxes_of, hidden_share, render
from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.video.sampling import sample_numbers

if TYPE_CHECKING:
    # Both bring torch along, and the world's pixels are drawn without it.
    from stg.datasets.world.perception import WorldBackbone, WorldDetector

SPLITS = ("train", "val", "test")
# What a stream of draws is for; part of its seed.
_SCRIPT, _ORDER, _CAPTIONS, _WALL, _DETECTOR = range(5)


@dataclass(frozen=True)
class World:
    """Seeded videos of coloured shapes among distractors, with events of one or two objects.

    Ids are ``train-00012``: the split and the number in it. A video depends on the seed, its split, its number and
    ``events``, not on how many videos there are. Verbs are balanced within every split; shape, colour, size, place,
    side and speed vary freely, some distractors drift, and every video has three or four objects whatever happens.

    Args:
        seed: another seed is another world.
        train, val, test: videos in each split.
        frames: length of a video.
        fps: frames a second.
        size: width and height in pixels.
        events: the events that happen, all by default.
        light: how much the wall's light changes across the picture, which is all that a crop shows of its place: at 0
            an object's appearance knows nothing of where it is, and only edges say it.

    Raises:
        UserError: a number out of range or an unknown event.
    """

    seed: int = 0
    train: int = 600
    val: int = 100
    test: int = 200
    frames: int = 60
    fps: int = 12
    size: int = 96
    events: Sequence[str] = field(default=tuple(EVENTS))
    light: float = 1.0

    def __post_init__(self) -> None:
        # Below 20 frames or 48 pixels some event could not be seen, or not be fitted in.
        least = {"seed": 0, "train": 1, "val": 0, "test": 0, "frames": 20, "fps": 1, "size": 48}
        for name, low in least.items():
            value = getattr(self, name)
            if value < low:
                raise UserError(f"{name} of the world must be at least {low}; got {value}")
            if value > 10**5 or (name == "size" and value > 1024):
                raise UserError(f"{name} of the world is too large: {value}")
        if not 0.0 <= self.light <= 1.5:
            raise UserError(f"light of the world must lie in 0..1.5; got {self.light}")
        unknown = [event for event in self.events if event not in EVENTS]
        if unknown or not self.events or len(set(self.events)) < len(self.events):
            came = ", ".join(map(repr, unknown or self.events)) or "none"
            raise UserError(f"events must be different ones of {', '.join(EVENTS)}; got {came}")
        object.__setattr__(self, "events", tuple(self.events))  # a list has no hash

    @classmethod
    def of(cls, config: WorldConfig) -> "World":
        """The world of some settings."""
        return cls(**asdict(config))

    def dataset(self) -> CaptionDataset:
        """All videos with their captions (six to eight each)."""
        splits = {split: [f"{split}-{i:05d}" for i in range(getattr(self, split))] for split in SPLITS}
        captions = {video: self.captions(video) for videos in splits.values() for video in videos}
        return CaptionDataset(name="moving objects", captions=captions, splits=splits)

    def captions(self, video: str) -> list[str]:
        """The captions of one video; the first says all there is to say."""
        event = self.event(video)
        return captions_for(event.verb, event.actor, event.target, self._rng(_CAPTIONS, video))

    def event(self, video: str) -> Event:
        """What happens in one video."""
        return self.script(video).event

    def sample(self, video: str, num_frames: int = 10, sampling: str = "centres") -> SampledFrames:
        """Render the sampled frames of one video, and only those.

        Raises:
            UserError: no such video.
        """

        number = sample_numbers(self.frames, num_frames, sampling)
        return SampledFrames(
            video=video,
            frames=self.render(video, number),
            frame_number=number,
            total_frames=self.frames,
            fps=float(self.fps),
            num_unique=len(np.unique(number)),
        )

    def render(self, video: str, frame_number: Int[np.ndarray, " T"]) -> np.ndarray:
        """Pixels ``[T H W 3]`` uint8 of the given frames of one video."""
        script = self.script(video)
        return render(
            script.things, script.motion, frame_number, background(self._rng(_WALL, video), self.size, self.light)
        )

    def truth(
        self, video: str, frame_number: Int[np.ndarray, " T"]
    ) -> tuple[Float[np.ndarray, "T O 4"], Float[np.ndarray, "T O"]]:
        """True boxes of all objects, and the share of each that others hide, in the given frames."""
        if frame_number.size and not 0 <= frame_number.min() <= frame_number.max() < self.frames:
            raise UserError(f"video {video!r} has frames 0 to {self.frames - 1}; got {frame_number.tolist()}")
        script = self.script(video)
        motion = Motion(
            script.motion.centre[:, frame_number], script.motion.angle[:, frame_number], script.motion.depth
        )
        boxes = boxes_of(script.things, motion)
        return boxes, hidden_share(boxes, motion.depth)

    def detector(self) -> "WorldDetector":
        """The made detector of this world."""
        from stg.datasets.world.perception import WorldDetector

        return WorldDetector(
            truth=self.truth,
            size=self.size,
            frames=self.frames,
            key=lambda video: (self.seed, _DETECTOR, *self._place(video)),
            world={"world": self.manifest()},
        )

    def backbone(self) -> "WorldBackbone":
        """The made backbone: the same for every world."""
        from stg.datasets.world.perception import WorldBackbone

        return WorldBackbone()

    def manifest(self) -> dict[str, Any]:
        """What decides the pixels of a video."""
        return {
            "version": 1,
            "seed": self.seed,
            "frames": self.frames,
            "fps": self.fps,
            "size": self.size,
            "events": list(self.events),
            "light": self.light,
        }

    def script(self, video: str) -> Script:
        """Cast and direct one video."""
        return _script(self, video)

    def _direct(self, video: str) -> Script:
        split, index = self._place(video)
        verb = self._verb(split, index)
        return direct(verb, self._rng(_SCRIPT, video), self.frames, self.size)

    def write_mp4(self, video: str, path: str | Path) -> None:
        """Write one video as H.264 with full colour, near lossless; whole or not at all.

        The made detector knows a clip by its id: keep the file's stem equal to ``video``.

        Raises:
            StgError: the file cannot be written.
        """

        from stg.datasets.world.writing import write_video

        write_video(path, self.render(video, np.arange(self.frames)), self.fps)

    def _place(self, video: str) -> tuple[int, int]:
        """Number of the split and number in it."""
        split, _, digits = video.rpartition("-")
        if split in SPLITS and len(digits) == 5 and digits.isdecimal() and int(digits) < getattr(self, split):
            return SPLITS.index(split), int(digits)
        sizes = ", ".join(f"{getattr(self, name)} {name}" for name in SPLITS)
        raise UserError(f"no video {video!r} in this world of {sizes} videos; ids are like 'train-00012', from 0 on")

    def _rng(self, purpose: int, video: str) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, *self._place(video)))

    def _verb(self, split: int, index: int) -> str:
        # Each run of as many videos as there are events has every event once, in a drawn order.
        block, position = divmod(index, len(self.events))
        order = np.random.default_rng((self.seed, _ORDER, split, block)).permutation(len(self.events))
        return self.events[order[position]]


@lru_cache(maxsize=1024)  # captions, pixels and boxes of a video all follow from it
def _script(world: World, video: str) -> Script:
    return world._direct(video)
