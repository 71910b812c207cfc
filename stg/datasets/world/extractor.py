"""The extractor of the built-in world, from what a store says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from stg.datasets.world.perception import WorldBackbone
from stg.features.extractor import Extractor
from stg.runtime.errors import UserError
from stg.video.sampling import STRIDE


def _world_extractor(manifest: Mapping[str, Any], reads: Sequence[str]) -> Extractor:
    """The built-in world's image network, whose numbers all stand in the manifest."""

    if "objects" in reads:
        raise UserError(
            "this model reads objects of the built-in world, whose detector knows only the world's own videos: caption "
            "with a model whose scene branch stands alone (--model.branches full or scene)"
        )
    entry, settings = manifest["backbone"], {item.name for item in fields(WorldBackbone)}
    backbone = WorldBackbone(**{name: value for name, value in entry.items() if name in settings})
    stride = manifest.get("stride") or STRIDE
    return Extractor(None, backbone, num_frames=manifest["num_frames"], sampling=manifest["sampling"], stride=stride)
