"""Fixed-size passes: equal to row by row, blind to the grouping."""

import pytest
import torch
from torch import Tensor

from stg.vision.inference import in_batches, inference


def doubled(rows: Tensor) -> Tensor:
    return 2 * rows


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_gives_every_row_its_own_result(count: int) -> None:
    images = torch.randn(count, 3, 2)
    assert torch.equal(in_batches(doubled, images, 4), 2 * images)


def test_every_pass_has_the_same_size_and_is_padded_with_zeros() -> None:
    seen = []

    def look(rows: Tensor) -> Tensor:
        seen.append(rows.clone())
        return rows.sum(1)

    result = in_batches(look, torch.ones(5, 2), 4)
    assert [list(rows.shape) for rows in seen] == [[4, 2], [4, 2]]
    assert seen[1][1:].eq(0).all()
    assert result.tolist() == [2.0] * 5


def test_no_rows_still_tell_the_shape_and_type_of_the_result() -> None:
    none = in_batches(lambda rows: rows.double().mean(1), torch.zeros(0, 3, 7), 2)
    assert none.shape == (0, 7)
    assert none.dtype == torch.float64


def test_a_convolution_gives_the_same_bytes_however_rows_are_grouped() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)).eval()
    images = torch.randn(7, 3, 20, 24)
    with torch.inference_mode():
        together = in_batches(network, images, 3)
        apart = torch.cat([in_batches(network, image[None], 3) for image in images])
    assert torch.equal(together, apart)


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="at least 1 row; got 0"):
        in_batches(doubled, torch.zeros(1, 1), 0)
    with pytest.raises(ValueError, match="a pass over 2 rows gave 1"):
        in_batches(lambda rows: rows[:1], torch.zeros(3, 1), 2)


def test_inference_keeps_no_gradient_and_leaves_the_settings_as_they_were() -> None:
    def settings() -> list[bool]:
        cudnn = torch.backends.cudnn
        return [cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32]

    before = settings()
    weight = torch.ones(1, requires_grad=True)
    with inference():
        assert settings() == [True, True, False, False]
        assert not (weight * 2).requires_grad
    assert settings() == before
    assert torch.is_grad_enabled()
