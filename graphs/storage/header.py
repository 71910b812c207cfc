"""The header of a store: its format, the fields and edge types of its graphs, and how their features were made."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphs.edges import EDGE_TYPES
from graphs.storage.graph_records import edge_types
from graphs.storage.lmdb_file import HEADER_KEY, Item
from graphs.storage.records import Field, Record, StoreError, decode, encode

FORMAT = "stg video graphs 1"
PAPER_TYPES = ("spatial", "temporal")


def header_item(header: Mapping[str, Any]) -> Item:
    """The key and record of a header, for `LMDBFile.commit`."""
    text = json.dumps(header, allow_nan=False).encode()
    return HEADER_KEY, encode({"json": Field("str", np.frombuffer(text, np.uint8))})


def read_header(record: Record | None, path: Path) -> dict[str, Any]:
    """The header of the store at ``path``, from its record.

    Raises:
        StoreError: no header, a damaged one, or one of another format.
    """
    if record is None:
        raise StoreError(f"{path} is an LMDB file, but not a store of video graphs: it has no header")
    try:
        header = json.loads(decode(bytes(record))["json"].array.tobytes())
    except (StoreError, KeyError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: its header is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        stated = header.get("format") if isinstance(header, dict) else header
        raise StoreError(f"{path} has the format {stated!r}, expected {FORMAT!r}: update, or make it again")
    return header


def require_known_types(header: Mapping[str, Any], path: Path) -> None:
    """Refuse a store that holds edges of a type without a name here: they would be trained on as nothing.

    Raises:
        StoreError: which type is to be registered.
    """
    for name, number in header.get("edge_types", {}).items():
        if EDGE_TYPES.get(name) != number:
            raise StoreError(
                f"{path} holds edges of the type {name!r}, which has no name here: register it first, "
                f"graphs.EDGE_TYPES[{name!r}] = {number}"
            )


def own_types(fields: Mapping[str, Field]) -> dict[str, int]:
    """The registered edge types of a record that are not the paper's."""
    present = edge_types(fields["edge_type"].array)
    return {name: number for name, number in EDGE_TYPES.items() if number in present and name not in PAPER_TYPES}


def stated_header(
    header: Mapping[str, Any],
    fields: Mapping[str, int],
    types: Mapping[str, int],
    versions: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The header with these fields, with the names of edge types where there are others than the paper's, and with
    the versions that made features, where they are stated and new."""
    types = header.get("edge_types", {}) | types
    stated = list(header.get("made_with", []))
    for given in versions:
        if given not in stated:
            stated.append(given)
    optional = {"edge_types": types, "made_with": stated}
    # What is empty is left out: the headers of stores without it stay as they were.
    return {**header, "fields": fields} | {name: value for name, value in optional.items() if value}


def made_with(header: Mapping[str, Any], path: Path) -> tuple[dict[str, str], ...]:
    """The versions that a header states, a dict for each combination.

    Raises:
        StoreError: it states something else.
    """
    stated = header.get("made_with", [])
    if not isinstance(stated, list) or not all(isinstance(item, dict) for item in stated):
        raise StoreError(f"{path}: its header is damaged: made_with is {stated!r:.80}")
    return tuple({str(name): str(version) for name, version in item.items()} for item in stated)


def require_same_fields(expected: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Refuse a graph whose fields or widths are not those of the store's other graphs.

    Raises:
        StoreError: which it lacks, has besides, or has in another width.
    """
    if dict(expected) == dict(found):
        return
    # A batch has one width a field: a graph that differs would fail only in training, without its name.
    lacking = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    wrong = [f"{n} of width {found[n]} (here {expected[n]})" for n in found if found[n] != expected.get(n, found[n])]
    reasons = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"also has {', '.join(extra)}"] * bool(extra) + wrong
    raise StoreError(f"unlike the other graphs of this store: {'; '.join(reasons)}. Use another store for it")


def manifest_differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """The settings that differ; of this package itself, since graphs imports nothing of stg."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from manifest_differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name}: {old!r}, {new!r}"
