"""The extractor of the built-in world, from what a store says of it. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from stg.config.extraction import STRIDE, SamplingConfig
from stg.config.schema import from_dict
from stg.features.manifest import Manifest
from stg.features.rebuild import Builder
from stg.runtime.errors import UserError

if TYPE_CHECKING:
    from stg.features.extractor import Extractor
    from stg.video.decoding import SampledFrames

WORLD = "world-backbone"
"""What manifests call the world's image network."""


def is_world(manifest: Mapping[str, Any]) -> bool:
    """Whether features are those of the built-in world."""
    return Manifest(manifest).backbone_name == WORLD


def unlike_world(manifest: Mapping[str, Any], sample: "SampledFrames") -> str | None:
    """A warning where a model of the built-in world captions a clip that is none of its videos; else None.

    A clip is taken for a video of the world if it has the size, the length and the rate that the manifest records, as
    all have that `World.write_mp4` writes, and hardly any others. Of copies in another size it warns.

    Args:
        manifest: of the features that the model was trained on.
        sample: of the clip.
    """
    detector = Manifest(manifest).entry("detector")
    # Without a detector, other clips were described by the world's image network.
    if not is_world(manifest) or not detector:
        return None
    world = detector.get("world")
    kept = world if isinstance(world, Mapping) else {}
    size, frames, fps = (kept.get(name, usual) for name, usual in (("size", 96), ("frames", 60), ("fps", 12)))
    height, width = sample.frames.shape[1:3]
    # A file that is cut short has fewer frames, and a note of its own.
    whole = sample.truncated or sample.total_frames == frames
    if (height, width) == (size, size) and whole and abs(sample.fps - fps) < 0.5:
        return None
    return (
        f"unlike the training data, the built-in world alone ({frames} frames of {size}x{size} at {fps:g} a "
        f"second; this clip has {sample.total_frames} of {width}x{height} at {sample.fps:g})"
    )


def world_extractor(manifest: Manifest, reads: Sequence[str]) -> "Extractor":
    """The built-in world's image network, whose numbers all stand in the manifest.

    Raises:
        UserError: objects are read, which the world's detector finds in its own videos only.
    """
    if "objects" in reads:
        raise UserError(
            "this model reads objects of the built-in world, whose detector knows only the world's own videos: "
            "python -m stg.report RUN --split test shows what it says of those; for a clip, caption with a model "
            "whose scene branch stands alone (fit --model.branches full or scene)"
        )
    from stg.datasets.world.perception import WorldBackbone
    from stg.features.extractor import Extractor

    # The entry holds facts next to settings, as the version: only settings are passed.
    settings, values = {item.name for item in fields(WorldBackbone)}, manifest.values
    entry = {name: value for name, value in manifest.entry("backbone").items() if name in settings}
    try:
        backbone = from_dict(WorldBackbone, entry)
    except ValueError as error:
        raise UserError(f"the manifest of these features is damaged: {error}") from error
    stride = manifest.stride or STRIDE
    return Extractor(
        None, backbone, SamplingConfig(num_frames=values["num_frames"], sampling=values["sampling"], stride=stride)
    )


WORLD_BUILDERS: Mapping[str, Builder] = {WORLD: world_extractor}
"""For :func:`stg.features.rebuild.plan_features`."""
