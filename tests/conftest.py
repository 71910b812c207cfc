"""What every test shares: the research data where it lies, and one thread per worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stg.forks import interpreter

os.environ.setdefault("OMP_NUM_THREADS", "1")
SHARED = Path(os.environ.get("STG_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    present = (SHARED / "data").is_dir()
    for item in items:
        if "shared_data" in item.keywords and not present:
            item.add_marker(pytest.mark.skip(reason=f"needs the research data: {SHARED / 'data'} is absent"))
        if "gpu" in item.keywords:
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device: none here"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ``data`` of the research data; its sibling ``weights`` holds the ONNX networks."""
    return SHARED / "data"


@pytest.fixture(scope="session")
def python() -> Iterator[list[str]]:
    """What stands for ``sys.executable`` in the command line of a process of its own: it has torch imported already."""
    with interpreter() as command:
        yield command
