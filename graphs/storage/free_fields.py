"""Fields of a graph beyond the known ones: labels, attributes of edges, any tensor by node, edge, frame or graph.

A record holds such a field under its name with two characters before it, the axis and how it is read: ``N=velocity``
follows the nodes and is read in its own type, ``N~velocity`` is read as float32. So no header is needed to read it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs.storage.records import KINDS, MAX_AXES, MAX_NAME, Field, StoreError

ROUNDED = ("float16", "float32")
_LETTERS = {"node": "N", "edge": "E", "frame": "T", "graph": "1"}
_AXES = {letter: axis for axis, letter in _LETTERS.items()}
_EXACT_KINDS = tuple(kind for kind in KINDS if kind not in ("bfloat16", "int", "float", "str"))
# What a batch has of its own, and what PyG's Data answers by itself.
_RESERVED = ("video", "videos", "ptr", "motion_ptr", "audio_ptr", "num_nodes", "num_edges", "adj", "face", "keys")


@dataclass(frozen=True)
class FreeField:
    """A tensor that graphs of a store carry, declared: ``GraphStore(path, "w", free={"velocity": FreeField("node")})``.

    Its first axis counts what ``axis`` says, all others are as wide in every graph of the store. In a batch the rows of
    all graphs stand end to end, as PyG puts them. No model here reads it.

    Args:
        axis: ``node``, ``edge``, ``frame``, or ``graph``: one row a graph, ``[1 ...]`` (or a tensor without axes).
        keep: ``exact`` keeps and gives back the tensor's own type (floats of 16, 32 and 64 bits, integers, bool);
            ``float16`` and ``float32`` keep floats in that type and give them back as float32.

    Raises:
        StoreError: another axis or way to keep it.
    """

    axis: str
    keep: str = "exact"

    def __post_init__(self) -> None:
        for what, value, known in (("axis", self.axis, (*_LETTERS,)), ("keep", self.keep, ("exact", *ROUNDED))):
            if value not in known:
                raise StoreError(f"{what} of a free field must be one of {', '.join(known)}, got {value!r}")


KNOWN = {"y": FreeField("graph"), "edge_attr": FreeField("edge")}
"""Free fields that need no declaration, as PyG gives them a meaning; declared otherwise, they are otherwise."""


class Stored(NamedTuple):
    """What the name of a free field in a record says."""

    name: str
    axis: str
    exact: bool


@lru_cache(maxsize=1024)
def parsed(stored: str) -> Stored | None:
    """The meaning of a field's name in a record; None where it is no free field."""
    letter, mark, name = stored[:1], stored[1:2], stored[2:]
    if letter not in _AXES or mark not in ("=", "~") or _unfit(name):
        return None
    return Stored(name, _AXES[letter], mark == "=")


def public_name(stored: str) -> str:
    """The name of a field in a graph, whatever it is in a record."""
    found = parsed(stored)
    return found.name if found else stored


def of_edges(stored: Iterable[str]) -> list[str]:
    """Of a record's fields the free ones that follow the edges, by their names in a graph."""
    return [name[2:] for name in stored if name[:2] in ("E=", "E~")]


def declared(free: Mapping[str, FreeField] | None, taken: Iterable[str]) -> dict[str, FreeField]:
    """A declaration, checked.

    Args:
        free: name -> field.
        taken: names that mean something else.

    Raises:
        StoreError: a name or a value that cannot be.
    """
    for name, field in (free or {}).items():
        if not isinstance(field, FreeField):
            raise StoreError(f"free[{name!r}] must be a graphs.FreeField, got {type(field).__name__}")
        if name in taken:
            raise StoreError(f"free[{name!r}]: every store knows this field: leave it out of free")
        if reason := _unfit(name):
            raise StoreError(f"free[{name!r}]: {reason}")
    return dict(free or {})


def _unfit(name: Any) -> str | None:
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return "the name of a field is a Python name without a leading underscore"
    if len(name.encode()) > MAX_NAME - 2:
        return f"the name of a free field has at most {MAX_NAME - 2} bytes"
    if name in _RESERVED:
        return "a batch has something else of this name: choose another"
    if "index" in name or "batch" in name:
        return "PyG shifts the numbers of fields with 'index' or 'batch' in their name: choose another"
    return None


def free_fields(
    values: Mapping[str, Any], free: Mapping[str, FreeField], lengths: Mapping[str, int]
) -> dict[str, Field]:
    """The free fields of a graph as a record holds them, in the order of their names there.

    Args:
        values: the attributes of the graph that are no known fields.
        free: how they are declared.
        lengths: how many nodes, edges, frames and graphs there are.

    Raises:
        StoreError: one that is not declared, is missing, does not follow its axis or cannot be stored.
    """
    known = {**KNOWN, **free}
    missing = [name for name in free if name not in values]
    if missing:
        raise StoreError(f"the graph lacks {', '.join(missing)}, which every graph of this store has")
    found = {}
    for name, value in values.items():
        if name not in known:
            raise StoreError(_undeclared(name, value, lengths))
        if not isinstance(value, Tensor):
            how = f": torch.tensor([{value}])" if isinstance(value, int | float) else ""
            raise StoreError(f"{name} must be a tensor, got {type(value).__name__}{how}")
        field = known[name]
        if problem := misfit(field.axis, tuple(value.shape), lengths):
            raise StoreError(f"{name} {problem}. {_advice(field.axis)}")
        mark = "=" if field.keep == "exact" else "~"
        found[f"{_LETTERS[field.axis]}{mark}{name}"] = _array(name, value.detach().cpu(), field.keep)
    return dict(sorted(found.items()))


def misfit(axis: str, shape: tuple[int, ...], lengths: Mapping[str, int]) -> str | None:
    """Why a free field cannot have that shape; an axis that is not in ``lengths`` may be as long as it likes."""
    if len(shape) > MAX_AXES or 0 in shape[1:]:
        return f"has the shape {list(shape)}: at most {MAX_AXES} axes, none empty but the first"
    if axis == "graph" and not shape:
        return None
    if not shape or shape[0] != lengths.get(axis, shape[0]):
        return f"follows the {axis} axis, whose length is {lengths.get(axis)}, but has the shape {list(shape)}"
    return None


def _counted(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {axis}{'' if count == 1 else 's'}" for axis, count in lengths.items())


def _advice(axis: str) -> str:
    if axis == "graph":
        return "Give it one row a graph, [1 ...] (unsqueeze(0)), or declare another axis (free=, graphs.FreeField)"
    return f"Give it one row for each {axis}, or declare another axis (free=, graphs.FreeField)"


def _undeclared(name: str, value: Any, lengths: Mapping[str, int]) -> str:
    if not isinstance(value, Tensor):
        return f"cannot store {name}: it is a {type(value).__name__}, and a store keeps tensors; remove it"
    rows = value.size(0) if value.dim() else 1
    fitting = [axis for axis, count in lengths.items() if count == rows]
    how = f"free={{{name!r}: graphs.FreeField({fitting[0] if fitting else 'node'!r})}}".replace("''", "'")
    if fitting:
        return (
            f"cannot store {name}, of shape {list(value.shape)}: a store does not know what its rows follow (here are "
            f"{_counted(lengths)}). Declare it, as in GraphStore(path, 'w', {how}), or remove it"
        )
    return (
        f"cannot store {name}, of shape {list(value.shape)}: its first axis follows none of {_counted(lengths)}. Give "
        f"it the rows of one of them ([1 ...] for one a graph: unsqueeze(0)) and declare that, as in "
        f"GraphStore(path, 'w', free={{{name!r}: graphs.FreeField('graph')}}), or remove it"
    )


def _array(name: str, value: Tensor, keep: str) -> Field:
    kind = str(value.dtype).removeprefix("torch.") if keep == "exact" else keep
    if kind not in _EXACT_KINDS:
        raise StoreError(f"{name} holds {value.dtype}, which a store does not keep: convert it first")
    if keep != "exact" and not value.is_floating_point():
        raise StoreError(f"{name} holds {value.dtype}, and is declared to be kept as {keep}: declare 'exact'")
    kept = value.to(getattr(torch, kind))
    array = kept.contiguous().numpy()
    if kept.is_floating_point() and not bool(kept.isfinite().all()):
        if not bool(value.isfinite().all()):
            check_free_numbers(name, value.double().numpy())
        worst = value.abs().max().item()
        raise StoreError(f"{name} holds {worst:g}, beyond the largest {keep}: declare 'exact', or 'float32'")
    return Field(kind, array.astype(KINDS[kind], copy=False))


def check_free_kind(stored: str, kind: str) -> None:
    """Raises:
    StoreError: a type that a free field of that name in a record cannot have.
    """
    found = parsed(stored)
    assert found is not None
    kinds = _EXACT_KINDS if found.exact else ROUNDED
    if kind not in kinds:
        raise StoreError(f"{found.name} has the type {kind}, expected {' or '.join(kinds)}")


def check_free_numbers(name: str, array: np.ndarray) -> None:
    """Raises:
    StoreError: a number that is not finite, or no truth value where all should be.
    """
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise StoreError(
            f"{name} holds {array[place]} at {list(place)}; every number must be finite: where one is not known, give "
            "another number, and a mask as a field of its own"
        )
    if array.dtype == np.bool_ and (array.view(np.uint8) > 1).any():
        raise StoreError(f"{name} holds a truth value that is neither 0 nor 1")


def described(fields: Mapping[str, Field]) -> dict[str, dict[str, Any]]:
    """What a header says of the free fields of a record: axis, how it is kept, type on disk, width of a row."""
    found = {}
    for stored, (kind, array) in fields.items():
        if free := parsed(stored):
            keep = "exact" if free.exact else kind
            found[free.name] = {"axis": free.axis, "keep": keep, "dtype": kind, "row": list(array.shape[1:])}
    return found


def declaration(header: Mapping[str, Any]) -> dict[str, FreeField]:
    """The free fields that a header states.

    Raises:
        StoreError: it states something else.
    """
    try:
        return {name: FreeField(said["axis"], said["keep"]) for name, said in header.get("free_fields", {}).items()}
    except (AttributeError, KeyError, TypeError, StoreError) as error:
        raise StoreError(f"its header is damaged: free_fields is {header['free_fields']!r:.80}") from error


def stated(free: Mapping[str, FreeField]) -> dict[str, dict[str, Any]]:
    """A declaration as a header states it before the first graph."""
    return {name: asdict(field) for name, field in free.items()}


def require_same_declaration(header: Mapping[str, Any], free: Mapping[str, FreeField], path: Path) -> None:
    """Refuse a declaration that is not the store's.

    Raises:
        StoreError: which fields differ.
    """
    here = declaration(header)
    # What is there without having been declared need not be declared now either.
    undeclared = {name for name, field in here.items() if KNOWN.get(name) == field and name not in free}
    differing = [n for n in here.keys() | free.keys() if n not in undeclared and here.get(n) != free.get(n)]
    if differing:
        listed = "; ".join(f"{name}: {here.get(name)}, {free.get(name)}" for name in sorted(differing))
        raise StoreError(
            f"{path} has other free fields (its own first, the declaration second): {listed}. Leave free out, or use "
            "another store"
        )


def require_same_free(header: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a graph whose free fields are not those that the header states.

    Raises:
        StoreError: which it lacks, has besides, or has in another type or width.
    """
    expected = header.get("free_fields", {})
    lacking = [name for name in expected if name not in found]
    # Before the first graph a header states what was declared, and known names may come with it.
    extra = [name for name in found if name not in expected and (header["fields"] or (expected and name not in KNOWN))]
    wrong = [
        f"{name} is {_worded(found[name])} (here {_worded(said)})"
        for name, said in expected.items()
        if name in found and any(found[name][key] != value for key, value in said.items())
    ]
    if lacking or extra or wrong:
        reasons = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"also has {', '.join(extra)}"] * bool(extra)
        raise StoreError(
            f"unlike the other graphs of this store: {'; '.join(reasons + wrong)}. Use another store for it"
        )


def types(header: Mapping[str, Any]) -> dict[str, str]:
    """The type on disk and the shape of each free field that a header states, as far as they are known."""
    return {name: _worded(said) for name, said in header.get("free_fields", {}).items()}


def _worded(said: Mapping[str, Any]) -> str:
    row = "".join(f" {length}" for length in said.get("row", []))
    width = f" [{_LETTERS[said['axis']]}{row}]" if "row" in said else ""
    return f"by {said['axis']}, {said.get('dtype', said['keep'])}{width}"
