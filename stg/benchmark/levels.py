"""How hard the clips of a bench are to see: what is added to the scenes, and never changes what is asked of them.

All of it is drawn once for a clip and lies on its frames: played in reverse, a harder clip has the same frames still.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from stg.runtime.errors import UserError

TEXTURES = ("brick.png", "grass.png", "gravel.png", "coffee.png", "chelsea.png", "rocket.jpg")
"""Photographs that come inside the package scikit-image."""


@dataclass(frozen=True)
class Level:
    """What makes clips harder; as it stands, nothing.

    Args:
        objects: how many there are; 0: three or four. With two, an event of two objects has no bystanders.
        distractors: how many bystanders do something themselves: they roll, fall or rise.
        occluders: upright bars in front of everything.
        drift: how far the camera moves, in 1/96 of the picture's width.
        texture: 1: a photograph in the place of the wall.
        noise: deviation of each pixel in each frame, of 255.
        events: 3: three events in a row, by different actors, with a cut between; the one that is asked about is any of
            them.

    Raises:
        ValueError: a number out of range.
    """

    objects: int = 0
    distractors: int = 0
    occluders: int = 0
    drift: float = 0.0
    texture: int = 0
    noise: float = 0.0
    events: int = 1

    def __post_init__(self) -> None:
        allowed: Mapping[str, str] = {
            "objects": "0, or 2 to 8", "distractors": "0 to 6", "occluders": "0 to 3", "drift": "0 to 24",
            "texture": "0 or 1", "noise": "0 to 64", "events": "1 or 3",
        }  # fmt: skip
        fit = {
            "objects": self.objects == 0 or 2 <= self.objects <= 8,
            "distractors": 0 <= self.distractors <= 6,
            "occluders": 0 <= self.occluders <= 3,
            "drift": 0 <= self.drift <= 24,
            "texture": self.texture in (0, 1),
            "noise": 0 <= self.noise <= 64,
            "events": self.events in (1, 3),
        }
        for name, fits in fit.items():
            if not fits:
                raise ValueError(f"{name} of a level must be {allowed[name]}; got {getattr(self, name):g}")

    @property
    def changes(self) -> dict[str, Any]:
        """What is not as in the built-in world."""
        return {name: value for name, value in asdict(self).items() if value != getattr(PLAIN, name)}


PLAIN = Level()
LEVELS: Mapping[str, Level] = {
    "plain": PLAIN,
    "crowded": Level(objects=8),
    "busy": Level(objects=6, distractors=3),
    "hidden": Level(occluders=2),
    "drifting": Level(drift=10.0),
    "textured": Level(texture=1),
    "noisy": Level(noise=20.0),
    "sequence": Level(events=3),
    "hard": Level(objects=6, distractors=2, occluders=1, drift=6.0, texture=1, noise=8.0),
}
"""Names of levels; `plain` is the built-in world."""


def level_of(text: str) -> Level:
    """The level that a text names: one of :data:`LEVELS`, settings such as ``objects=6,noise=8``, or both.

    Raises:
        ValueError: no such level or setting, or a number out of range.
    """
    known: dict[str, type[int] | type[float]] = {
        item.name: int if isinstance(item.default, int) else float for item in fields(Level)
    }
    found = PLAIN
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            if name not in LEVELS:
                raise ValueError(
                    f"a level is one of {', '.join(LEVELS)}, or settings such as objects=6,noise=8; got {name!r}"
                )
            found = replace(found, **LEVELS[name].changes)
            continue
        if name not in known:
            raise ValueError(f"a level has the settings {', '.join(known)}; got {name!r}")
        try:
            changed: dict[str, Any] = {name: known[name](value)}
        except ValueError:
            whole = "a whole number" if known[name] is int else "a number"
            raise ValueError(f"{name} of a level must be {whole}; got {value!r}") from None
        found = replace(found, **changed)
    return found


def level_from(settings: Any, where: str) -> Level:
    """The level that a bench was exported with.

    Raises:
        UserError: one that this version does not know.
    """
    try:
        return Level(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} has a level that this version does not know: {error}") from error


def photograph(rng: np.random.Generator, size: int) -> Float32[np.ndarray, "H W 3"]:
    """A piece of a photograph, dimmed so that all colours of things stand out, ``size`` by ``size``, 0 to 1.

    Raises:
        UserError: scikit-image is not installed.
    """
    if find_spec("skimage") is None:
        raise UserError(
            "textures are photographs that come with scikit-image, which is not installed: "
            "pip install 'stg[textures]', or take a level without texture"
        )
    picture = _picture(TEXTURES[int(rng.integers(len(TEXTURES)))])
    side = int(rng.integers(160, min(picture.shape[:2])))
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    piece = Image.fromarray(picture[top : top + side, left : left + side]).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    return 0.12 + 0.6 * np.asarray(piece, np.float32) / 255.0


@lru_cache(maxsize=len(TEXTURES))
def _picture(name: str) -> np.ndarray:
    with files("skimage.data").joinpath(name).open("rb") as file:
        return np.asarray(Image.open(file).convert("RGB"))
