"""What every test shares: the research data where it lies, and one thread per worker."""

import functools
import gc
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import jaxtyping
import pytest
from beartype import beartype
from hypothesis import HealthCheck, settings

from tests.stg.forks import interpreter

os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test waits by the clock: on a busy machine drawing examples takes its time.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
os.fsync = lambda descriptor: None  # no test cuts the power, and waiting for the disk takes as long as training
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it in the background: children would ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
CHECKED_CALLS = 2
"""Calls of each function that are checked in each test: a loop of thousands would take twice as long."""
SHARED = Path(os.environ.get("STG_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def resolved_hints(function: Any) -> dict[str, Any]:
    """The annotations of a function without those that name what is not imported, which nobody can check."""
    hints: dict[str, Any] = {}
    for name, hint in function.__annotations__.items():
        with suppress(Exception):
            one = SimpleNamespace(__annotations__={name: hint})
            hints |= get_type_hints(one, function.__globals__, include_extras=True)
    return hints


current_test: object = None


def pytest_runtest_logstart(nodeid: str) -> None:
    global current_test
    current_test = nodeid


def check_annotations(function: Any = None, *, typechecker: Any = None, jaxtyped: Any = jaxtyping.jaxtyped) -> Any:
    """What ``--jaxtyping-packages`` decorates with: as jaxtyping's own, which checks arguments twice and costs as much
    again as all that the tests do."""
    if typechecker is None or isinstance(function, type):
        return jaxtyped(function, typechecker=typechecker)
    if function is None:
        return functools.partial(check_annotations, typechecker=typechecker)
    checked: Callable[..., Any] | None = None
    left, test = CHECKED_CALLS, None

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        nonlocal left, test, checked
        if test is not current_test:
            left, test = CHECKED_CALLS, current_test
        if left == 0 or jaxtyping.config.jaxtyping_disable:
            return function(*args, **given)
        left -= 1
        if checked is None:  # not before it is called: most of what a test imports never is
            given_hints, function.__annotations__ = function.__annotations__, resolved_hints(function)
            checked = beartype(function)
            function.__annotations__ = given_hints
        with jaxtyped("context"):  # the sizes that its array shapes name hold for this call
            return checked(*args, **given)

    return call


jaxtyping.jaxtyped = check_annotations  # before a package is imported that is checked


def run_module_without_bytecode(*given: Any, **options: Any) -> dict[str, Any]:
    """`runpy.run_module`, which asks for the code of a module as jaxtyping has changed it, and would keep that where
    every interpreter looks for the plain one."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return run_module(*given, **options)
    finally:
        sys.dont_write_bytecode = before


run_module, runpy.run_module = runpy.run_module, run_module_without_bytecode


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for other processes, or for a browser."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    present = (SHARED / "data").is_dir()
    for item in items:
        if "shared_data" in item.keywords and not present:
            item.add_marker(pytest.mark.skip(reason=f"needs the research data: {SHARED / 'data'} is absent"))
        if "gpu" in item.keywords:
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device: none here"))


def pytest_collection_finish() -> None:
    # The libraries stay: to look for garbage among millions of their objects takes a twentieth of the tests' time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Tensors are made in double precision, of the same random numbers in each test."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def open_shapes() -> Iterator[None]:
    """Annotations are not checked: what is exported has sizes that stay open, and wrong shapes get to the errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ``data`` of the research data; its sibling ``weights`` holds the ONNX networks."""
    return SHARED / "data"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What stands for ``sys.executable`` in the command line of a process of its own: it has torch imported already."""
    folder = tmp_path_factory.getbasetemp()
    # The workers of one run of the tests share the folder above theirs, and the interpreter.
    with interpreter(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as command:
        yield command
