"""The network that made imported scene features, named by the user, so that new clips are described by it, too."""

from typing import Any

import numpy as np

from stg.config.extraction import NONE, NetworkConfig
from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.registry import ExecutionSettings, locate, network_spec


def declared_backbone(name: str, width: int | None, *, fetch: bool = False) -> dict[str, Any]:
    """The entry of a manifest for the image network that a description names.

    That the features are its own is the user's word; their width is checked.

    Args:
        name: as of ``stg.extract --backbone``.
        width: of the scene features.
        fetch: fetch its files, where they are not here.

    Raises:
        UserError: no such network or files, or features of another width.
    """
    files = locate(NetworkConfig(detector=NONE, backbone=name), fetch=fetch)
    network = network_spec("backbone", name).build(files, ExecutionSettings(batch=1), objects=False)
    grey = SampledFrames("grey", np.full((1, 64, 64, 3), 127, np.uint8), np.zeros(1, np.int64), total_frames=1, fps=1.0)
    scene, _ = network(grey, [np.zeros((0, 4), np.float32)])
    if scene.shape[1] != width:
        raise UserError(
            f"the backbone {name} makes scene features of width {scene.shape[1]}, and the description says {width}: "
            "name the network that made them, or leave backbone out (then no new clips can be captioned)"
        )
    return network.manifest()
