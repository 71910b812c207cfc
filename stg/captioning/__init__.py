"""From files to captions."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.captioning.pipeline import ClipCaption, VideoCaptioner, load

__all__ = ["ClipCaption", "VideoCaptioner", "load"]

__getattr__ = lazy_names(__name__, pipeline="ClipCaption VideoCaptioner load")
