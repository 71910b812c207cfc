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

WORLD = "world-backbone"
"""What manifests call the world's image network."""


def is_world(manifest: Mapping[str, Any]) -> bool:
    """Whether features are those of the built-in world."""
    return Manifest(manifest).backbone_name == WORLD


def world_extractor(manifest: Manifest, reads: Sequence[str]) -> "Extractor":
    """The built-in world's image network, whose numbers all stand in the manifest.

    Raises:
        UserError: objects are read, which the world's detector finds in its own videos only.
    """
    if "objects" in reads:
        raise UserError(
            "this model reads objects of the built-in world, whose detector knows only the world's own videos: caption "
            "with a model whose scene branch stands alone (--model.branches full or scene)"
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
