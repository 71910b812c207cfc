"""Data sets: videos, their captions and their splits."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.datasets.base import CaptionDataset
    from stg.datasets.open import DATASETS, OpenDataset, Opening, open_dataset
    from stg.datasets.world import World

__all__ = ["DATASETS", "CaptionDataset", "OpenDataset", "Opening", "World", "open_dataset"]

__getattr__ = lazy_names(
    __name__, base="CaptionDataset", open="DATASETS OpenDataset Opening open_dataset", world="World"
)
