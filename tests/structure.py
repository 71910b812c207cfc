"""How the house is built, measured from the syntax trees: ``python tests/structure.py [ROOT]`` prints the figures.

- A *room* is a top-level file or package of ``stg``, or ``stg`` itself (its ``__init__``), or all of ``graphs`` or of
  ``decoders``. An *arrow* leads from one room to another that it imports, however often, imports inside functions
  included. ``from stg.vision import clip`` counts as an import of ``stg.vision.clip``.
- Imports under ``if TYPE_CHECKING`` are left out of arrows, floors and circles, as they never run; how many arrows are
  of this kind alone is told beside.
- A *circle* is a set of rooms, or of files, that all reach each other. *Floors* are the rooms on the longest chain of
  imports, each circle taken for one room. *Upward* are the fewest arrows of circles that have to go for them to end,
  found by trying; where floors are given (`Structure.upward`), the arrows that do not lead to a lower one.
- A *function* is as long as its lines from ``def`` to its end, docstring included, decorators not; its arguments are
  all but ``self`` and ``cls``. Functions in functions count for themselves, too.
- *Lines of code* are lines that hold a token other than a comment, docstrings left out; *comment lines* hold a comment
  and nothing else, as the plan counts them.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import comb
from pathlib import Path

FOLDERS = ("stg", "graphs", "decoders")
LONG, MANY = 60, 9
"""Lines and arguments of a function beyond which it is listed."""
TRIED = 20_000
"""Sets of arrows that are tried before one is taken away after the other."""
Arrow = tuple[str, str]


@dataclass(frozen=True)
class Import:
    """One import statement: which modules of ours it names, and where it stands."""

    module: str
    line: int
    targets: tuple[str, ...]
    in_function: bool
    for_types: bool


@dataclass(frozen=True)
class Function:
    """One function: where it stands, its lines and its arguments."""

    module: str
    name: str
    line: int
    lines: int
    arguments: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.name} ({self.lines} lines, {self.arguments} arguments)"


@dataclass(frozen=True)
class Lines:
    """Lines of files: all, those with code, those with nothing but a comment, those of docstrings."""

    total: int = 0
    code: int = 0
    comments: int = 0
    docstrings: int = 0

    def __add__(self, other: "Lines") -> "Lines":
        return Lines(
            self.total + other.total,
            self.code + other.code,
            self.comments + other.comments,
            self.docstrings + other.docstrings,
        )


@dataclass
class Structure:
    """The figures of a checkout.

    Args:
        root: the checkout.
        sources: module -> its text.
    """

    root: Path
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in FOLDERS:
            for path in sorted((self.root / folder).rglob("*.py")):
                parts = path.relative_to(self.root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                self.sources[name] = path.read_text(encoding="utf-8")

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module -> its syntax tree."""
        return {name: ast.parse(source) for name, source in self.sources.items()}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import statement of all files."""
        return [found for module, tree in self.trees.items() for found in imports_of(module, tree, self.trees.keys())]

    @cached_property
    def functions(self) -> list[Function]:
        """Every function of all files, the longest first."""
        found = [made for module, tree in self.trees.items() for made in functions_of(module, tree)]
        return sorted(found, key=lambda made: (-made.lines, made.module, made.line))

    @cached_property
    def flat(self) -> list[str]:
        """Modules that lie flat in ``stg/``, its ``__init__`` included."""
        return sorted(path.stem for path in (self.root / "stg").glob("*.py"))

    @cached_property
    def rooms(self) -> list[str]:
        """All rooms."""
        return sorted({room(module) for module in self.sources})

    def arrows(self, *, for_types: bool = False) -> set[Arrow]:
        """Imports from room to room; ``for_types``: those under ``if TYPE_CHECKING`` too."""
        return {(room(start), room(end)) for start, end in self.file_arrows(for_types=for_types)} - {
            (name, name) for name in self.rooms
        }

    def file_arrows(self, *, for_types: bool = False) -> set[Arrow]:
        """Imports from file to file."""
        return {
            (found.module, target)
            for found in self.imports
            for target in found.targets
            if target != found.module and (for_types or not found.for_types)
        }

    @cached_property
    def floors(self) -> dict[str, int]:
        """Room -> its floor, from 0: the longest chain of imports below it, rooms of a circle on the same floor."""
        arrows = self.arrows()
        circle = {name: number for number, names in enumerate(components(self.rooms, arrows)) for name in names}
        below: dict[int, set[int]] = {number: set() for number in circle.values()}
        for start, end in arrows:
            if circle[start] != circle[end]:
                below[circle[start]].add(circle[end])
        floors: dict[int, int] = {}

        def floor(number: int) -> int:
            if number not in floors:
                floors[number] = max((floor(other) + 1 for other in below[number]), default=0)
            return floors[number]

        return {name: floor(number) for name, number in circle.items()}

    def circles(self) -> list[list[str]]:
        """Rooms that import each other, in a circle."""
        return [names for names in components(self.rooms, self.arrows()) if len(names) > 1]

    def file_circles(self, *, for_types: bool = False) -> list[list[str]]:
        """Files that import each other, in a circle."""
        arrows = self.file_arrows(for_types=for_types)
        return [names for names in components(self.sources, arrows) if len(names) > 1]

    def upward(self, floors: Mapping[str, int] | None = None) -> set[Arrow]:
        """Arrows that run upward.

        Args:
            floors: room -> its floor; rooms that are not in it are left out. None: the fewest arrows that have to go
                for all circles to end.
        """
        arrows = self.arrows()
        if floors is not None:
            known = {(start, end) for start, end in arrows if start in floors and end in floors}
            return {(start, end) for start, end in known if floors[end] >= floors[start]}
        found: set[Arrow] = set()
        for names in self.circles():
            inside = {arrow for arrow in arrows if set(arrow) <= set(names)}
            found |= feedback(names, inside, self.weights)
        return found

    @cached_property
    def weights(self) -> dict[Arrow, int]:
        """Arrow between rooms -> how many pairs of files it stands for."""
        counted: dict[Arrow, int] = {}
        for start, end in self.file_arrows():
            arrow = (room(start), room(end))
            counted[arrow] = counted.get(arrow, 0) + 1
        return counted

    def in_functions(self, folder: str = "stg") -> list[Import]:
        """Imports inside functions of the files of a folder."""
        return [found for found in self.imports if found.in_function and top(found.module) == folder]

    def lines(self, folder: str = "stg") -> Lines:
        """Lines of the files of a folder."""
        counted = [count_lines(source) for name, source in self.sources.items() if top(name) == folder]
        return sum(counted, Lines())


def top(module: str) -> str:
    """The top-level folder of a module."""
    return module.partition(".")[0]


def room(module: str) -> str:
    """The room of a module."""
    return ".".join(module.split(".")[:2]) if top(module) == "stg" else top(module)


def imports_of(module: str, tree: ast.Module, known: Iterable[str]) -> Iterator[Import]:
    """The import statements of a file."""
    modules = set(known)

    def ours(name: str) -> str:
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    def visit(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = tuple(dict.fromkeys(target for name in names if (target := ours(name))))
            yield Import(module, node.lineno, targets, in_function, for_types)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for inner in node.body:
                yield from visit(inner, in_function, True)
            for inner in node.orelse:
                yield from visit(inner, in_function, for_types)
            return
        deeper = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, deeper, for_types)

    yield from visit(tree, False, False)


def functions_of(module: str, tree: ast.Module) -> Iterator[Function]:
    """The functions of a file, with the names of the classes and functions around them."""

    def visit(node: ast.AST, around: str) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            inner = around
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{around}{child.name}."
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                given = child.args
                names = [item.arg for item in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                stars = sum(item is not None for item in (given.vararg, given.kwarg))
                count = len([name for name in names if name not in ("self", "cls")]) + stars
                length = (child.end_lineno or child.lineno) - child.lineno + 1
                yield Function(module, inner[:-1], child.lineno, length, count)
            yield from visit(child, inner)

    yield from visit(tree, "")


def count_lines(source: str) -> Lines:
    """Lines of one file, by kind."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for item in body if isinstance(body, list) else ():
            # Strings that stand alone document what they follow, wherever they stand.
            if (
                isinstance(item, ast.Expr)
                and isinstance(item.value, ast.Constant)
                and isinstance(item.value.value, str)
            ):
                docstrings |= set(range(item.lineno, (item.end_lineno or item.lineno) + 1))
    code, comments = set[int](), set[int]()
    silent = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in silent:
            code |= set(range(token.start[0], token.end[0] + 1))
    code -= docstrings
    return Lines(len(source.splitlines()), len(code), len(comments - code - docstrings), len(docstrings))


def components(nodes: Iterable[str], arrows: Iterable[Arrow]) -> list[list[str]]:
    """Sets of nodes that all reach each other (Tarjan), most of them of one node."""
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for start, end in sorted(arrows):
        after[start].append(end)
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in after[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            place = stack.index(name)
            found.append(sorted(stack[place:]))
            del stack[place:]

    for name in after:
        if name not in order:
            visit(name)
    return found


def feedback(names: list[str], arrows: set[Arrow], weights: Mapping[Arrow, int]) -> set[Arrow]:
    """The fewest arrows without which no circle is left; among as many, those that stand for fewest files.

    In large circles, where trying all sets takes too long, arrows go one by one, the lightest first: perhaps too many.
    """
    for count in range(1, len(arrows) + 1):
        if comb(len(arrows), count) > TRIED:
            taken = set[Arrow]()
            for arrow in sorted(arrows, key=lambda arrow: weights[arrow]):
                circles = components(names, arrows - taken)
                if any(set(arrow) <= set(found) for found in circles):
                    taken.add(arrow)
            return taken
        ends = [
            set(chosen)
            for chosen in combinations(sorted(arrows), count)
            if all(len(found) == 1 for found in components(names, arrows - set(chosen)))
        ]
        if ends:
            return min(ends, key=lambda chosen: sum(weights[arrow] for arrow in chosen))
    return set()


def long_functions(structure: Structure) -> list[Function]:
    """Functions of more than `LONG` lines."""
    return [made for made in structure.functions if made.lines > LONG]


def many_arguments(structure: Structure) -> list[Function]:
    """Functions with more than `MANY` arguments, the most first."""
    return sorted((made for made in structure.functions if made.arguments > MANY), key=lambda made: -made.arguments)


def table(structure: Structure) -> str:
    """The figures, in Markdown, with what is behind them."""
    arrows = structure.arrows()
    only_types = structure.arrows(for_types=True) - arrows
    circles, upward = structure.circles(), structure.upward()
    files = structure.file_circles()
    inside = structure.in_functions()
    ours = [found for found in inside if any(top(target) == "stg" for target in found.targets)]
    longest, height = structure.functions[0], max(structure.floors.values())
    rows = {
        "modules flat in `stg/`": len(structure.flat),
        "rooms / floors (arrows of the longest chain)": f"{len(structure.rooms)} / {height + 1} ({height})",
        "arrows between rooms / running upward / circles": f"{len(arrows)} / {len(upward)} / {len(circles)}",
        "arrows for types alone, not counted": len(only_types),
        "circles of files": f"{len(files)} ({len(structure.file_circles(for_types=True))} with imports for types)",
        "longest function": longest,
        f"functions above {LONG} lines in stg / graphs / decoders": " / ".join(
            str(sum(top(made.module) == folder for made in long_functions(structure))) for folder in FOLDERS
        ),
        f"functions with more than {MANY} arguments": len(many_arguments(structure)),
        "imports inside functions of `stg`, of them of `stg` / for types": f"{len(inside)}, {len(ours)} / "
        f"{sum(found.for_types for found in inside)}",
    }
    for folder in FOLDERS:
        lines = structure.lines(folder)
        share = 100 * lines.comments / max(lines.total, 1)
        rows[f"`{folder}`: lines / of code / of docstrings"] = f"{lines.total} / {lines.code} / {lines.docstrings}"
        rows[f"`{folder}`: comment lines, % of all, in 100 of code"] = (
            f"{lines.comments}, {share:.2f} %, {100 * lines.comments / max(lines.code, 1):.2f}"
        )
    parts = ["| what | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows.items())]
    lists: dict[str, Iterable[object]] = {
        "circles of rooms": (" <-> ".join(names) for names in circles),
        "arrows upward": (f"{start} -> {end} ({structure.weights[start, end]} files)" for start, end in sorted(upward)),
        "circles of files": (" <-> ".join(names) for names in files),
        f"functions above {LONG} lines": long_functions(structure),
        f"functions with more than {MANY} arguments": many_arguments(structure),
    }
    for title, items in lists.items():
        parts += ["", f"{title}:", *(f"- {item}" for item in items)]
    return "\n".join(parts)


def main() -> None:
    """Print the figures of a checkout."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    print(table(Structure(root.resolve())))


if __name__ == "__main__":
    main()
