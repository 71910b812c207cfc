"""The step size over a training."""

import math

import pytest

from stg.config.training import OptimConfig
from stg.training.schedules import step_size


@pytest.mark.parametrize("done", [0.0, 0.5, 3.25, 10.0, 12.0])
def test_a_constant_step_size_is_that_of_the_settings(done: float) -> None:
    assert step_size(OptimConfig(lr=0.003, epochs=10), done) == 0.003


def test_a_cosine_falls_to_a_fiftieth() -> None:
    optim = OptimConfig(lr=0.1, epochs=8, schedule="cosine")
    found = [step_size(optim, done) for done in (0.0, 2.0, 4.0, 8.0, 9.0)]
    quarter = 0.02 + 0.98 * (1 + math.cos(math.pi / 4)) / 2
    assert found == pytest.approx([0.1, 0.1 * quarter, 0.1 * 0.51, 0.002, 0.002])


def test_the_warm_up_is_linear_and_moves_from_the_first_step() -> None:
    optim = OptimConfig(lr=0.1, epochs=8, warmup=2.0)
    found = [step_size(optim, done) for done in (0.0, 0.99, 1.99, 5.0)]
    assert found == pytest.approx([0.0005, 0.05, 0.1, 0.1])
    with pytest.raises(ValueError, match="warmup must not be negative"):
        OptimConfig(warmup=-1.0)
