"""What a command imports late: a process of its own starts as a command does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

STARTED = """
import runpy, sys
sys.argv = ["stg.evaluate", "--help"]
try:
    runpy.run_module("stg.evaluate", run_name="__main__")
except SystemExit:
    pass
import torch, torch_geometric
from torch_geometric.data import Data
"""
"""A command that has read its options, and now imports PyG."""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_command_imports_pyg_without_the_compiler_and_without_pandas() -> None:
    run(f"{STARTED}assert not {{'torch._dynamo.utils', 'pandas', 'transformers'}} & sys.modules.keys()")


def test_what_was_put_off_is_there_when_it_is_used() -> None:
    run(
        f"{STARTED}"
        "assert issubclass(torch_geometric.datasets.Planetoid, torch_geometric.data.Dataset)\n"
        "layer = torch.nn.Linear(2, 2)\n"
        "assert isinstance(torch.compile(layer), torch._dynamo.OptimizedModule)\n"
        "assert torch_geometric.is_torch_instance(torch.compile(layer), torch.nn.Linear)\n"
        "from torch._dynamo.utils import counters\n"
        "assert torch._dynamo.utils.counters is counters\n"
        "torch.optim.AdamW(layer.parameters()).step()\n"
    )
