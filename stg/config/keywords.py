"""Keyword arguments of the library's calls: what is meant by one that is none."""

from collections.abc import Iterable, Mapping
from typing import Literal

from stg.config.schema import known_keys
from stg.config.spelling import near_options

Form = Literal["dict", "object", "list"]
"""How a call takes settings: as dicts by section, as one config object, as a list of such objects."""


def check_keywords(
    call: str, given: Iterable[str], known: Iterable[str], configs: Mapping[str, type], form: Form = "object"
) -> None:
    """Refuse keyword arguments that a call does not take.

    Args:
        call: its name, for errors.
        given: the names of the arguments.
        known: those that it takes.
        configs: of these, those that hold settings, with the class of these: what is meant may be one of them.
        form: how it takes them.

    Raises:
        TypeError: naming the first unknown one, and how to give what may be meant.
    """
    known = list(known)
    inside = [f"{name}.{key}" for name, config in configs.items() for key in known_keys(config)]
    for name in given:
        if name not in known:
            near = [_written(key, configs, form) for key in near_options(name, [*known, *inside])]
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise TypeError(f"{call} takes no argument {name!r}; {meant}It takes {', '.join(known)}")


def _written(key: str, configs: Mapping[str, type], form: Form) -> str:
    """An argument as a call gives it: ``optim={'lr': ...}``, ``search=SearchConfig(beam=...)``."""
    argument, *path = key.split(".")
    value = "..."
    if form == "dict":
        for part in reversed(path):
            value = f"{{{part!r}: {value}}}"
    elif path:
        value = f"{configs[argument].__name__}({path[0]}=...)"
    return f"{argument}=[{value}]" if form == "list" and path else f"{argument}={value}"
