"""Files of others, read strictly."""

import csv
import io
import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stg.runtime.errors import UserError

MAX_BYTES = 2 * 2**30
"""Larger files are refused before they are read; the largest published annotation (VATEX) has under 100 MB."""

MAX_DEPTH = 32
"""Deeper JSON is refused; published annotations have four levels."""

MAX_ID = 511
"""Longest video id in bytes of UTF-8: what a key of the graph store holds."""


# Single bytes of Windows text (curly quotes, dashes) that were taken for Latin-1 land on the control characters 80-9f.
WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") or " " for code in range(0x80, 0xA0)}

CONTROL = re.compile(r"[\x00-\x1f\x7f\u200b\u2028\u2029\ud800-\udfff]")

INVISIBLE = re.compile(r"[\u00ad\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")

PLAIN = re.compile(r"[A-Za-z0-9\u4e00-\u9fff]")

_NOT_A_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')


def open_if_regular(path: str | Path) -> io.BufferedReader | None:
    """Open a file to read its bytes; None for a folder, a pipe or a device, which have no end, or block for ever.

    Raises:
        OSError, ValueError: it cannot be opened; ValueError: a NUL in the name.
    """
    # The file that is asked what it is must be the one that is read; and a pipe must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    return None


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file to read its bytes.

    Raises:
        UserError: missing, a folder, a pipe or a device; names the file.
    """
    try:
        file = open_if_regular(path)
    except (OSError, ValueError) as error:
        raise UserError(f"could not read {path}: {getattr(error, 'strerror', None) or error}") from error
    if file is None:
        raise UserError(f"{path} is not a regular file (a folder, a pipe or a device): give the file itself")
    return file


def read_bytes(path: str | Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        UserError: as `open_regular`, or larger than ``max_bytes``; names the file.
    """
    with open_regular(path) as file:
        try:
            if (size := os.fstat(file.fileno()).st_size) > max_bytes:
                raise UserError(
                    f"{path} has {size} bytes, more than the {max_bytes} that such a file may have: is it this one?"
                )
            return file.read()
        except OSError as error:
            raise UserError(f"could not read {path}: {error.strerror or error}") from error


def read_text(path: str | Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8, without its byte-order mark; line ends are left as they are.

    Raises:
        UserError: as `read_bytes`, or not UTF-8; names the file.
    """
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def read_json(path: str | Path, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Read a JSON file as strictly as the standard has it.

    Raises:
        UserError: unreadable (:func:`read_text`), cut or malformed, NaN or Infinity, a key twice in one object, nested
            deeper than ``max_depth``; names the file and the line or key.
    """
    return _parse(read_text(path, max_bytes=max_bytes), str(path), max_depth)


def read_json_lines(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Iterator[tuple[str, Any]]:
    """The value of each line that is not blank, as (``"FILE line N"``, value), read like :func:`read_json`."""
    # Only line feeds end a line: a caption may hold other separators.
    for number, line in enumerate(read_text(path, max_bytes=max_bytes).split("\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, _parse(line, where, MAX_DEPTH, counted=False)


def read_csv(
    path: str | Path, required: Sequence[str], optional: Sequence[str] = (), *, max_bytes: int = MAX_BYTES
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a comma-separated file with a header, as (``"FILE line N"``, column -> cell).

    Quotes, quoted commas and quoted line ends are those of RFC 4180; blank lines are skipped. A row's line is its last.

    Raises:
        UserError: unreadable, other columns than ``required`` and some of ``optional``, a row with more or fewer cells,
            a quote that is not closed; names the file and the line.
    """
    text = read_text(path, max_bytes=max_bytes)
    # Line ends within quotes are csv's to judge, so that nothing else may translate them.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    expected = ",".join(required) + "".join(f"[,{name}]" for name in optional)
    columns: list[str] | None = None
    try:
        for cells in reader:
            where = f"{path} line {reader.line_num}"
            if not cells:
                continue
            if columns is None:
                columns = _columns(cells, required, optional, f"{where}: expected the columns {expected}")
            elif len(cells) != len(columns):
                raise UserError(
                    f"{where} has {len(cells)} cells instead of {len(columns)}: put captions that hold commas in quotes"
                )
            else:
                yield where, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{path} line {reader.line_num} is not CSV: {error}; write a quote inside a cell twice"
        ) from error
    if columns is None:
        raise UserError(f"{path} is empty: expected the columns {expected}")


def normal_id(video: str) -> str:
    """The id in composed letters (NFC): a Mac writes the names of files in decomposed ones, and means the same."""
    return unicodedata.normalize("NFC", video)


def file_id(name: str) -> str:
    """The id of what a file of this name, without its suffix, holds: in composed letters; other bytes are ``\\xNN``."""
    return normal_id(os.fsencode(name).decode("utf-8", "backslashreplace"))


def require_id(value: object, where: str) -> str:
    """A video id that can be a key of the store and never leads out of a folder, as :func:`normal_id` has it.

    Raises:
        UserError: not text, empty, longer than :data:`MAX_ID` bytes, not valid Unicode, ``.`` or ``..``, with a ``/``
            or a NUL; names ``where``, the id and the rule.
    """
    if not isinstance(value, str):
        raise UserError(f"{where}: a video id must be text, got {kind(value)}")
    rule = None
    if not value.strip():
        rule = "must not be empty"
    elif "\0" in value:
        rule = "must not hold a NUL character"
    elif "/" in value:
        rule = "must not hold '/': it is a name, not a path"
    elif value in (".", ".."):
        rule = "must not be the name of a folder"
    elif re.search(r"[\ud800-\udfff]", value):
        rule = "must be valid Unicode"
    elif (size := len(value.encode())) > MAX_ID:
        rule = f"must have at most {MAX_ID} bytes of UTF-8, not {size}"
    if rule:
        raise UserError(f"{where}: the video id {shown(value)} {rule}")
    return normal_id(value)


class Spellings:
    """Which of ``names``, such as the keys of a store, an id means: itself, or the one that it is another spelling of.

    Composed and decomposed letters are the same, and so are blanks around the name.

    Args:
        names: may hold decomposed letters, as keys of stores of earlier versions do.
        where: of the names, for errors.
    """

    def __init__(self, names: Iterable[str], where: object) -> None:
        self.where = where
        self._alike: dict[str, list[str]] = {}
        for name in names:
            self._alike.setdefault(normal_id(name), []).append(name)
        self._trimmed: dict[str, list[str]] = {}
        for name in self._alike:
            self._trimmed.setdefault(name.strip(), []).append(name)

    def __call__(self, video: str) -> str:
        """The name that an id means; the id where none does.

        Raises:
            UserError: several names are spellings of it.
        """
        normal = normal_id(video)
        found = self._alike.get(normal)
        if found is None:
            found = [name for other in self._trimmed.get(normal.strip(), ()) for name in self._alike[other]]
        if len(found) > 1:
            alike = ", ".join(map(ascii, found))
            raise UserError(f"{self.where} holds video {shown(video)} in several spellings ({alike}): keep one of them")
        return found[0] if found else video


def require(row: object, key: str, expected: type, where: str) -> Any:
    """``row[key]``, where ``row`` must be an object that has it, of the ``expected`` type (true is no number).

    Raises:
        UserError: names ``where``, the key, and what is there instead.
    """
    if not isinstance(row, dict):
        raise UserError(f"{where} must be an object with the key {key!r}, got {kind(row)}")
    if key not in row:
        raise UserError(f"{where} lacks the key {key!r}")
    if type(row[key]) is not expected:
        raise UserError(f"{where}: {key!r} must be {kind(expected())}, got {kind(row[key])}")
    return row[key]


def some(names: Mapping[str, Any] | Sequence[str], count: int = 3) -> str:
    """The first few names, quoted, for a message."""
    first = [shown(name) for _, name in zip(range(count), names, strict=False)]
    return ", ".join([*first, "..."] if len(names) > count else first)


def counted(number: int, noun: str, *verb: str) -> str:
    """``1 clip``, ``2 clips``; with the verb for one and for more, ``1 clip is``, ``2 clips are``."""
    words = [f"{number} {noun}{'' if number == 1 else 's'}", *verb[number != 1 :][:1]]
    return " ".join(words)


def shown(value: str) -> str:
    """A text as a message may hold it: quoted, on one line, cut."""
    return repr(value if len(value) <= 60 else value[:60] + "...")


def kind(value: object) -> str:
    """What JSON calls a value."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a whole number"}
    return names.get(type(value), "null" if value is None else "a number")


def _columns(cells: list[str], required: Sequence[str], optional: Sequence[str], expected: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        raise UserError(f"{expected}; the cells are separated by something else: save the file with commas")
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in (*required, *optional)]
    if missing or unknown or len(set(names)) < len(names):
        raise UserError(f"{expected}; got {', '.join(map(shown, names[:6]))}")
    return names


def _parse(text: str, where: str, max_depth: int, *, counted: bool = True) -> Any:
    def refuse(name: str) -> float:
        found = next((match for match in _NOT_A_NUMBER.finditer(text) if match[1]), None)
        line = f" at line {text.count(chr(10), 0, found.start()) + 1}" if found and counted else ""
        raise UserError(f"{where} holds {name}{line}, which is no JSON: write null or leave the key out")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            double = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise UserError(f"{where} has the key {shown(double)} twice in one object: keep one")
        return made

    try:
        # JSON has no NaN, and a key that is there twice would hide one of its values: Python's reader accepts both.
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}" if counted else f"column {error.colno}"
        raise UserError(f"{where} is not valid JSON: {error.msg} at {at}; is the file whole?") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise UserError(f"{where} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise UserError(f"{where} is nested more than {max_depth} levels deep: it is no annotation file") from error
    _limit_depth(value, where, max_depth)
    return value


def _limit_depth(value: Any, where: str, max_depth: int) -> None:
    # Level by level, not by recursion, which is what deep nesting would break. The text is the key at the top, for the
    # error.
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(max_depth):
        level = [
            (top or f" (key {shown(key)})" if isinstance(key, str) else top or f" (row {key})", child)
            for top, item in level
            if isinstance(item, dict | list)
            for key, child in (item.items() if isinstance(item, dict) else enumerate(item))
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise UserError(f"{where} is nested more than {max_depth} levels deep{level[0][0]}: it is no annotation file")


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None
