"""What a command imports late: a process of its own starts as a command does."""

import subprocess
import sys
from pathlib import Path

import pytest

from stg.runtime.late_imports import LateImports

ROOT = Path(__file__).parents[3]

STARTED = """
import runpy, sys
sys.argv = ["stg.evaluate", "--help"]
try:
    runpy.run_module("stg.evaluate", run_name="__main__")
except SystemExit:
    pass
import torch, torch_geometric
import graphs.tracks
assert "scipy.optimize._optimize" not in sys.modules
assert graphs.tracks.scipy.optimize.linear_sum_assignment([[0.0, 1.0]], maximize=True)[1].tolist() == [1]
assert not {"torch._dynamo.utils", "pandas", "transformers"} & sys.modules.keys()
assert isinstance(torch.compile(torch.nn.Linear(2, 2)), torch._dynamo.OptimizedModule)
assert torch_geometric.is_torch_instance(torch.compile(torch.nn.Linear(2, 2)), torch.nn.Linear)
"""


def test_a_command_imports_slow_parts_when_they_are_used() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", STARTED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_module_runs_when_an_attribute_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("put_off", "at_once"):
        (tmp_path / f"{name}.py").write_text("import sys\nsys.ran.append(__name__)\nanswer = 42\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("answer = 42\n")
    (tmp_path / "package" / "part.py").write_text("import package\nanswer = package.answer + 1\n")
    ran = list[str]()
    monkeypatch.setattr(sys, "ran", ran, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [LateImports({"put_off", "package", "not_there"}), *sys.meta_path])
    import at_once  # type: ignore[import-not-found]  # noqa: F401
    import put_off  # type: ignore[import-not-found]

    assert ran == ["at_once"]
    assert put_off.answer == 42
    assert ran == ["at_once", "put_off"]
    from package import part  # type: ignore[import-not-found]

    assert part.answer == 43
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        import not_there  # type: ignore[import-not-found]  # noqa: F401
    for name in ("at_once", "put_off", "package", "package.part"):
        del sys.modules[name]
