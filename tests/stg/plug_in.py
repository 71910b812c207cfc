"""Plugins in the process of a test, gone when it ends, and commands that take them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stg.config import plugins
from tests.stg.run_commands import run_stg

EXAMPLES = Path(__file__).resolve().parents[1] / "plugins"


@contextmanager
def fresh_process() -> Iterator[None]:
    """Whatever is plugged in meanwhile is gone afterwards, as at the end of a process."""
    registries = [*plugins._registries(), plugins._loaded]
    kept, modules = [dict(registry) for registry in registries], set(sys.modules)
    plugins._warned.clear()
    try:
        yield
    finally:
        for name in plugins._loaded.keys() - kept[-1].keys():
            sys.modules.pop(name, None)
        for registry, before in zip(registries, kept, strict=True):
            registry.clear()
            registry.update(before)
        examples = {path.stem for path in EXAMPLES.glob("*.py")}
        for name in [name for name in sys.modules.keys() - modules if Path(name).stem in examples]:
            del sys.modules[name]


def command(name: str, *words: object) -> int:
    """The exit code of ``python -m stg.NAME WORDS``, which leaves no plugin behind."""
    with fresh_process():
        return run_stg(name, [str(word) for word in words])


def plugin_of(folder: Path, name: str, *lines: str) -> str:
    """A plugin with these lines."""
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")
    return str(folder / f"{name}.py")
