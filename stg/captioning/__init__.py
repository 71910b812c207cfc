"""From files to captions."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.captioning.pipeline import ClipCaption, UnlikeTraining, VideoCaptioner, load

__all__ = ["ClipCaption", "UnlikeTraining", "VideoCaptioner", "load"]

__getattr__ = lazy_names(__name__, pipeline="ClipCaption UnlikeTraining VideoCaptioner load")
