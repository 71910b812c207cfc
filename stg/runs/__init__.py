"""What lies on disk: runs, models, checkpoints."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.runs.bundle import CaptionerBundle
    from stg.runs.folder import RunFolder

__all__ = ["CaptionerBundle", "RunFolder"]

__getattr__ = lazy_names(__name__, bundle="CaptionerBundle", folder="RunFolder")
