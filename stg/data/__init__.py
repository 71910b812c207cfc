"""Stores and batches."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.data.batches import BatchSource, CaptionBatch, TrainingSet

__all__ = ["BatchSource", "CaptionBatch", "TrainingSet"]

__getattr__ = lazy_names(__name__, batches="BatchSource CaptionBatch TrainingSet")
