"""What COCO's object classes are called: for people to read, since no graph and no model ever sees a class."""

from functools import cache

import numpy as np
from jaxtyping import Int64

COCO_CLASSES = 91
"""Category ids from 0, the background, to 90; eleven of them were never used."""

_NOT_A_CLASS = ("__background__", "N/A")


@cache
def _names() -> tuple[str, ...]:
    """By category id, as torchvision lists them."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return tuple(
        "" if name in _NOT_A_CLASS else name for name in FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    )


def class_name(label: int) -> str:
    """What COCO calls category ``label``; empty for 0 and for every other number that is no category."""
    return _names()[label] if 0 <= label < COCO_CLASSES else ""


def category_ids(classes: int) -> Int64[np.ndarray, " 80"] | None:
    """The category id of each output of a network over COCO's 80 classes; None for another number of outputs."""
    ids = np.flatnonzero([name != "" for name in _names()]).astype(np.int64)
    return ids if classes == len(ids) else None
