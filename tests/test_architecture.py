"""Who may import whom, and what importing costs: read from the syntax trees."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "graphs": {"decoders", "stg", "benchmarks", "tests"},
    "decoders": {"graphs", "stg", "benchmarks", "tests", "torch_geometric"},
    "stg": {"benchmarks", "tests"},
}
# Vocabulary of the other side of the house: a room that says it has grown into the wrong one.
SILENT = {"graphs": ("caption", "token"), "decoders": ("node", "edge_", "box")}


def imported(source: str) -> set[str]:
    """Top-level names of everything a module imports, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else (node.module or "").split(".")[0])
    return names


def identifiers(source: str) -> set[str]:
    """All names that a module defines or uses."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.add(node.id.lower())
        elif isinstance(node, ast.arg):
            names.add(node.arg.lower())
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name.lower())
        elif isinstance(node, ast.Attribute):
            names.add(node.attr.lower())
    return names


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_what_they_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        found = imported(file.read_text())
        assert not found & FORBIDDEN[room], f"{file} imports {found & FORBIDDEN[room]}"
        assert "." not in found, f"{file} has a relative import"


@pytest.mark.parametrize("room", SILENT)
def test_rooms_do_not_speak_of_the_other_side(room: str) -> None:
    for file in sorted((ROOT / room).rglob("*.py")):
        for name in identifiers(file.read_text()):
            assert not any(word in name for word in SILENT[room]), f"{file} says {name}"


@pytest.mark.parametrize("room", ["stg", "benchmarks"])
def test_graphs_and_decoders_are_used_by_their_public_names(room: str) -> None:
    public = {name: set(import_module(name).__all__) for name in ("graphs", "decoders")}
    for file in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
                found = {alias.name for alias in node.names} - public.get(node.module or "", set())
                assert node.module not in public or not found, f"{file} imports {found}, which {node.module} has not"
            inner = [name for name in modules if name.startswith(("graphs.", "decoders."))]
            assert not inner, f"{file} reaches into {inner}: export the name from the package"


@pytest.mark.parametrize("room", ["graphs", "decoders"])
def test_every_public_name_is_there(room: str) -> None:
    package = import_module(room)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_the_import_reader_sees_nested_and_relative_imports() -> None:
    found = imported("def f():\n    from stg.x import y\n    import graphs.edges as e\nfrom . import z\n")
    assert found == {"stg", "graphs", "."}


def test_nothing_unpickles() -> None:
    for room in FORBIDDEN:
        for file in sorted((ROOT / room).rglob("*.py")):
            source = file.read_text()
            assert not imported(source) & {"pickle", "dill", "cloudpickle", "joblib"}, file
            assert "weights_only=False" not in source, file
            assert "allow_pickle=True" not in source, file


@pytest.mark.parametrize(
    "command",
    ["fit", "evaluate", "extract", "store", "caption", "embed", "words", "predictions", "compare", "fuse", "ablate"],
)
def test_help_comes_without_torch(command: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['stg.{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('stg.{command}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'torchvision', 'av', 'onnxruntime', 'pycocoevalcap'} & set(sys.modules)\n"
        "    sys.exit(f'{heavy} imported' if heavy else end.code)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m stg." + command in done.stdout


@pytest.mark.parametrize("room", ["graphs", "decoders"])
def test_libraries_import_without_the_heavy_packages(room: str) -> None:
    code = (
        f"import sys, warnings; warnings.simplefilter('ignore'); import {room}\n"
        "heavy = {'torchvision', 'av', 'onnxruntime', 'pycocoevalcap', 'stg'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
