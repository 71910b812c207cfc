"""Slow parts of libraries are imported when they are first used, not with the library that names them."""

import importlib.util
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

SLOW = frozenset({"torch._dynamo", "torch_geometric.datasets", "scipy.optimize"})
"""What ``import torch_geometric`` imports for names that few use: 2.5 of its 3 s of CPU, PyTorch apart. They go to
PyTorch's compiler, and to pandas and transformers, which one of PyG's data sets imports. ``scipy.optimize`` joins
tracks, and takes half a second that most commands have no use for. A second import of a module runs it, too."""


class LateImports:
    """A finder of modules (``sys.meta_path``) that puts off running ``names`` until an attribute of theirs is read."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's place with a loader that waits; none for all other modules, which others find."""
        spec = PathFinder.find_spec(name, path, target) if name in self.names else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def import_slow_parts_late() -> None:
    """For a process that is all ours, as a command is: whoever imports our packages as libraries gets plain imports."""
    sys.meta_path.insert(0, LateImports(SLOW))
