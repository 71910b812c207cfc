"""From dataclass to dict and back, strictly; differences; checks of ranges."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """A nested dataclass as plain dicts and lists, as YAML and JSON hold them."""
    values: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if item.metadata.get("kept") and not value:
            continue  # files of runs without plugins stay as they were
        values[item.name] = (
            to_dict(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
        )
    return values


def from_dict(config_class: type[C], values: Mapping[str, Any]) -> C:
    """The inverse of `to_dict`; unknown keys are errors that list the known ones."""
    known = {item.name: item for item in fields(config_class)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown key {name!r} of {config_class.__name__}; known: {', '.join(known)}")
    made: dict[str, Any] = {}
    for name, value in values.items():
        kind = known[name].type
        if isinstance(kind, type) and is_dataclass(kind):
            value = from_dict(kind, value)
        elif isinstance(value, list) and get_origin(_plain(kind)) is tuple:
            value = tuple(value)
        made[name] = value
    return config_class(**made)


def _plain(kind: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(option for option in get_args(kind) if option is not type(None))
    return kind


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys on which two nested dicts differ, with both values."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted(set(old) | set(new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found[prefix + name] = (before, after)
    return found


def describe(found: Mapping[str, tuple[Any, Any]], wording: str = "was {old!r}, now {new!r}") -> str:
    """Differences in one line: ``optim.lr: was 0.1, now 0.2; run.seed: was 0, now 1``.

    Args:
        found: of :func:`differences`.
        wording: of one pair, with ``{old!r}`` and ``{new!r}``.
    """
    return "; ".join(f"{key}: {wording.format(old=old, new=new)}" for key, (old, new) in found.items())


def positive(section: object, *names: str) -> None:
    """Refuse settings that are 0 or less.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        value = getattr(section, name)
        if value <= 0:
            raise ValueError(f"{name} must be greater than 0; got {value}")


def not_negative(section: object, *names: str) -> None:
    """Refuse settings below 0, as `positive` does."""
    for name in names:
        value = getattr(section, name)
        if value < 0:
            raise ValueError(f"{name} must not be negative; got {value}")
