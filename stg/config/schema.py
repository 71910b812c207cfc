"""From dataclass to dict and back, strictly; differences; checks of ranges."""

import math
import os
import types
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from stg.config.spelling import near_options

C = TypeVar("C")

LARGEST = 2**63 - 1
"""Larger whole numbers fit no tensor, no array and no generator of random numbers."""


def to_dict(config: Any) -> dict[str, Any]:
    """A nested dataclass as plain dicts and lists, as YAML and JSON hold them.

    Fields whose metadata say ``kept=True`` (no option: see `stg.commands.parser.build_parser`) or ``unless_empty=True``
    are left out where they are empty.
    """
    values: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if (item.metadata.get("kept") or item.metadata.get("unless_empty")) and not value:
            continue  # files of runs without plugins stay as they were
        values[item.name] = (
            to_dict(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
        )
    return values


def from_dict(config_class: type[C], values: Any) -> C:
    """The inverse of `to_dict`; unknown keys are errors that list the known ones.

    Raises:
        ValueError: something else than settings, an unknown key, a value of another type; the key is named.
        TypeError: a key is missing that has no default.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{config_class.__name__} must be an object of settings; got {type(values).__name__}")
    known = {item.name: item for item in fields(config_class)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = " or ".join(near_options(str(name), known_keys(config_class)))
            meant = f"; did you mean {near}?" if near else ""
            raise ValueError(f"unknown key {name!r} of {config_class.__name__}{meant}; known: {', '.join(known)}")
    made: dict[str, Any] = {}
    for name, value in values.items():
        kind = known[name].type
        if isinstance(kind, type) and is_dataclass(kind):
            value = from_dict(kind, value)
        elif isinstance(value, list) and get_origin(_plain(kind)) is tuple:
            value = tuple(value)
        if not is_dataclass(value) and not fits(kind, value):
            written = (
                kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
            )
            raise ValueError(f"{name} of {config_class.__name__} must be {written}; got {value!r:.60}")
        made[name] = value
    return config_class(**made)


def known_keys(config_class: type) -> list[str]:
    """The dotted names of all fields of a nested dataclass."""
    return [name for name, item in options_of(config_class) if section_of(item) is None]


def options_of(config_class: type, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """The dotted name and the field of each option, and of each section before those in it."""
    for item in fields(config_class):
        if not is_no_option(item):
            yield prefix + item.name, item
            if (section := section_of(item)) is not None:
                yield from options_of(section, f"{prefix}{item.name}.")


def section_of(item: Field[Any]) -> type | None:
    """The dataclass that a field holds; None for a single option."""
    return item.type if isinstance(item.type, type) and is_dataclass(item.type) else None


def is_no_option(item: Field[Any]) -> bool:
    """Whether a field is set by no option: see `stg.commands.parser.build_parser`."""
    return bool(item.metadata.get("given") or item.metadata.get("kept"))


def fits(kind: Any, value: Any) -> bool:
    """Whether a value that was read from a file is of a field's type; a whole number will do for a real one."""
    origin, options = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(option, value) for option in options)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in options)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        items = options[:1] * len(value) if options[-1] is Ellipsis else options
        return len(items) == len(value) and all(map(fits, items, value))
    if origin is dict:
        if not isinstance(value, dict):
            return False
        return all(fits(options[0], key) and fits(options[1], item) for key, item in value.items())
    if kind is float:
        return (isinstance(value, float) and math.isfinite(value)) or fits(int, value)
    if kind is int:
        return type(value) is int and abs(value) <= LARGEST
    if kind in (str, bool, types.NoneType):
        return type(value) is kind
    return True


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


def in_home(value: Any) -> Any:
    """A value of the settings with ``~`` at the start of its paths replaced by the home folder.

    Shells do this for words that begin with it, and neither in ``--out=~/store`` nor in files of options. Texts,
    lists of texts that are joined as places are, tuples, and dataclasses of them; all else comes back as it is.
    """
    if isinstance(value, str) and "~" in value:
        parts = value.split(os.pathsep)
        # Neither "~" nor "~name": these may well be names of files here.
        return os.pathsep.join(os.path.expanduser(part) if part.startswith("~/") else part for part in parts)
    if isinstance(value, tuple):
        return tuple(map(in_home, value))
    if is_dataclass(value) and not isinstance(value, type):
        old = {item.name: getattr(value, item.name) for item in fields(value)}
        new = {name: made for name, kept in old.items() if (made := in_home(kept)) != kept}
        return replace(value, **new) if new else value
    return value


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


def seeds(section: object, *names: str) -> None:
    """Refuse seeds that no generator of random numbers takes.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        value = getattr(section, name)
        if not 0 <= value <= LARGEST:
            raise ValueError(f"{name} must be a whole number from 0 to 2**63 - 1; got {value}")


def seed_list(text: str) -> list[int]:
    """The seeds of an option that takes several, with commas.

    Raises:
        ValueError: they are not different whole numbers from 0 to 2**63 - 1.
    """
    words = [word.strip() for word in text.split(",")]
    # By length first: Python refuses to read numbers of thousands of digits, in words of its own.
    found = [int(word) for word in words if word.isascii() and word.isdecimal() and len(word) <= len(str(LARGEST))]
    if len(set(found)) < len(words) or max(found) > LARGEST:
        raise ValueError(
            f"seeds must be different whole numbers from 0 to 2**63 - 1 with commas, such as 0,1,2; got {text!r:.80}"
        )
    return found


def check_whole_numbers(config: object, prefix: str = "") -> None:
    """Refuse whole numbers that no tensor holds, whatever they are for.

    Raises:
        ValueError: naming the first by its option.
    """
    for item in fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        if is_dataclass(value):
            check_whole_numbers(value, f"{prefix}{item.name}.")
        elif isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"--{prefix}{item.name} must lie within 64 bits; got {value}")
