"""Where an object of the code stands, read from the syntax trees: nothing is imported."""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("graphs", "decoders", "stg", "benchmarks")
"""The packages whose objects may be named."""

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SourceObject(NamedTuple):
    """A function, class, method, constant or module.

    Attributes:
        name: as it was asked for.
        path: the file.
        line: its first line.
        code: its text without its docstring, nothing indented more than needed.
    """

    name: str
    path: Path
    line: int
    code: str

    @property
    def place(self) -> str:
        """File and line, from the root of the repository."""
        return f"{self.path.relative_to(ROOT)}, line {self.line}"


def find_object(name: str) -> SourceObject:
    """The object of a full name, such as ``graphs.conv.STGConv.forward``.

    Raises:
        LookupError: there is none of this name, and what is there in its place.
    """
    parts = name.split(".")
    path, rest = _module(parts)
    if path is None or parts[0] not in PACKAGES:
        raise LookupError(f"no module of the name {name}: it must begin with one of {', '.join(PACKAGES)}")
    if not rest:
        return SourceObject(name, path, 1, path.read_text(encoding="utf-8"))
    node: ast.AST = _tree(path)
    for part in rest:
        known = _members(node)
        if part not in known:
            raise LookupError(f"{name}: {path.relative_to(ROOT)} has no {part!r} there, but {', '.join(known)}")
        node = known[part]
    return SourceObject(name, path, *_text(node, path))


def _module(parts: list[str]) -> tuple[Path | None, list[str]]:
    """The file of the longest prefix that is a module, and what is left."""
    for count in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:count])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path, parts[count:]
    return None, parts


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _members(node: ast.AST) -> dict[str, ast.AST]:
    found: dict[str, ast.AST] = {}
    for item in getattr(node, "body", []):
        if isinstance(item, _Definition):
            found[item.name] = item
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        found |= {target.id: item for target in targets if isinstance(target, ast.Name)}
    return found


def _text(node: ast.AST, path: Path) -> tuple[int, str]:
    assert isinstance(node, ast.stmt)
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = dict(enumerate(lines[first - 1 : node.end_lineno], first))
    if isinstance(node, _Definition) and ast.get_docstring(node) is not None and len(node.body) > 1:
        # The empty line behind a docstring goes with it.
        end = node.body[0].end_lineno or node.lineno
        for line in range(node.body[0].lineno, end + 1 + (not kept[end + 1].strip())):
            del kept[line]
    margin = len(lines[first - 1]) - len(lines[first - 1].lstrip())
    return first, "\n".join(line[margin:] for line in kept.values())
