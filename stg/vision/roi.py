"""One feature vector for each box, read off a feature map."""

import torch
from jaxtyping import Float, Int
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
    from torchvision.ops import roi_align

    regions = torch.cat([frame[:, None].to(boxes), boxes], dim=1)
    grid = roi_align(
        maps, regions, output_size, spatial_scale=1.0 / stride, sampling_ratio=sampling_ratio, aligned=True
    )
    return grid.amax(dim=(2, 3))
