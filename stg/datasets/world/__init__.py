"""The built-in world: short clips of moving shapes, made on the spot."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.datasets.world.dataset import World

__all__ = ["World"]

__getattr__ = lazy_names(__name__, dataset="World")
