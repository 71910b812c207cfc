"""Names of a package that are imported when they are first asked for, so that its light modules stay light."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(package: str, **names: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package (PEP 562).

    No public name may be that of a module of the package: the import system would put the module in its place.

    Args:
        names: module of the package -> the public names that it defines, with spaces.
    """
    homes = {name: module for module, defined in names.items() for name in defined.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find
