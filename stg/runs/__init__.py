"""What lies on disk: runs, models, checkpoints."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stg.runs.bundle import CaptionerBundle
    from stg.runs.folder import RunFolder

__all__ = ["CaptionerBundle", "RunFolder"]

_HOMES = {"CaptionerBundle": "stg.runs.bundle", "RunFolder": "stg.runs.folder"}


def __getattr__(name: str) -> Any:
    # A run folder is read without torch; the bundle brings it along.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stg.runs' has no attribute {name!r}")
