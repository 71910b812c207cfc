"""Settings of a test, changed section by section."""

from dataclasses import replace
from typing import Any, TypeVar

Config = TypeVar("Config")


def with_changes(config: Config, changes: dict[str, Any]) -> Config:
    """The settings with fields of their sections replaced, all at once: they are checked when all are in place.

    Args:
        changes: section -> field -> value.
    """
    sections = {name: replace(getattr(config, name), **change) for name, change in changes.items()}
    return replace(config, **sections)  # type: ignore[type-var]
