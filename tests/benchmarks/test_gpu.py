"""The GPU's benchmark, run on the CPU: its workloads, and the comparison that must fail where results differ."""

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import SMALL, Convolution, check, near, workloads

CPU = torch.device("cpu")


def test_the_device_is_compared_with_the_cpu() -> None:
    check(SMALL, CPU)


def test_every_workload_runs() -> None:
    made = workloads(SMALL, CPU)
    assert {name: list(runs) for name, runs in made.items()} == {
        "convolution": ["ours", "gather-scatter", "floor"],
        "decoding": ["greedy", "beam 5"],
        "training step": ["ours", "bfloat16 autocast", "batch copied"],
    }
    for runs in made.values():
        for run in runs.values():
            run()


@pytest.mark.gpu
def test_a_cuda_device_agrees_with_the_cpu() -> None:
    check(SMALL, torch.device("cuda"))


def test_a_device_that_computes_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"x differs from the CPU's: relative error 1.0e-02, 1e-03 allowed"):
        near("x", torch.tensor([1.0, 1.01]), torch.tensor([1.0, 1.0]), 1e-3)
    with pytest.raises(AssertionError, match="x differs"):
        near("x", torch.tensor([float("nan")]), torch.tensor([1.0]), 1e-3)
    right = Convolution.gather_scatter
    monkeypatch.setattr(Convolution, "gather_scatter", lambda self: tuple(1.01 * part for part in right(self)))
    with pytest.raises(AssertionError, match="convolution, gather_scatter differs"):
        check(SMALL, CPU)


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main()
    assert capsys.readouterr().out == "gpu: there is no CUDA device here; nothing is measured\n"
