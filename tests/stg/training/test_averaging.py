"""The moving average of the weights against its definition, in float64, step by step."""

import numpy as np
import torch
from torch import nn

from stg.training.averaging import average_of


def test_the_average_is_that_of_its_definition() -> None:
    model = nn.Linear(3, 2, dtype=torch.float64)
    average = average_of(model, 0.8)
    weight = model.weight
    random = np.random.default_rng(0)
    expected = None
    for number in range(60):
        drawn = random.normal(size=weight.shape)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(drawn))
        average.update_parameters(model)
        decay = min(0.8, (1 + number) / (10 + number)) if expected is not None else 0.0
        expected = drawn if expected is None else decay * expected + (1 - decay) * drawn
        np.testing.assert_allclose(average.module.weight.numpy(), expected, rtol=1e-12)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not average.module.training
    assert all(parameter.requires_grad for parameter in model.parameters())
