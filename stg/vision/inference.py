"""Passes of one fixed size, so that a result never depends on what else was in the batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def roi_features(
    maps: Float[Tensor, "T C h w"],
    boxes: Float[Tensor, "N 4"],
    frame: Int[Tensor, " N"],
    *,
    stride: int,
    output_size: int = 7,
    sampling_ratio: int = 2,
) -> Float[Tensor, "N C"]:
    """RoIAlign (He et al., 2017) on a 7x7 grid, then the maximum over the grid: object features of Pan et al., 2020.

    Half-pixel aligned. The map is the LAST convolutional one of the backbone (the paper's C5), not a pyramid level.

    Args:
        maps: feature maps of T frames.
        boxes: corners ``(x1, y1, x2, y2)`` in pixels of the network's input.
        frame: map that each box is read from.
        stride: pixels of the input that one cell of the map covers.
        output_size: side of the grid inside each box.
        sampling_ratio: bilinear samples along each side of a grid cell.
    """
    # Before torchvision is imported, which takes longer than torch: scene features alone need nothing of it.
    if not len(boxes):
        return maps.new_zeros(0, maps.shape[1])
    from torchvision.ops import roi_align

    regions = torch.cat([frame[:, None].to(boxes), boxes], dim=1)
    grid = roi_align(
        maps, regions, output_size, spatial_scale=1.0 / stride, sampling_ratio=sampling_ratio, aligned=True
    )
    return grid.amax(dim=(2, 3))


def in_batches(
    function: Callable[[Tensor], Tensor], images: Shaped[Tensor, "K ..."], size: int
) -> Shaped[Tensor, "K ..."]:
    """Run ``function`` on slices of exactly ``size`` rows, the last one padded with zeros, and drop the padding.

    Networks choose their kernels, and with them the order of their sums, by the shape of the batch: the same image
    alone and among others differs in its last bits. Here every pass has one shape, so features are equal to the byte
    however clips are grouped.

    Args:
        function: maps ``[size ...]`` to ``[size ...]``, row by row; in evaluation mode and without gradients.
        images: any number of rows. None still costs one pass, which shows the shape of the result.
        size: rows of one pass.

    Raises:
        ValueError: ``size`` below 1, or ``function`` gives another number of rows than it was given.
    """
    if size < 1:
        raise ValueError(f"a pass needs at least 1 row; got {size}")
    parts = []
    # One pass even over nothing, since the shape of the result is known only to the function.
    for start in range(0, max(len(images), 1), size):
        rows = images[start : start + size]
        # A pass of another size may run other kernels, which round otherwise.
        if len(rows) < size:
            rows = torch.cat([rows, rows.new_zeros(size - len(rows), *rows.shape[1:])])
        part = function(rows)
        if len(part) != size:
            raise ValueError(f"a pass over {size} rows gave {len(part)}")
        parts.append(part)
    return torch.cat(parts)[: len(images)]


@contextmanager
def inference() -> Iterator[None]:
    """No gradients; on a GPU full float32 and one fixed kernel a shape, so that features are near to the CPU's."""
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False, allow_tf32=False)
    with torch.inference_mode(), exact:
        yield
