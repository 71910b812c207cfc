"""I3D: Inception-v1 with its kernels inflated over time, under the key names of the published weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
"""Widths of the Inception blocks (Szegedy et al., 2015, Table 1): 1x1, before and after 3x3, again, after the pool."""

POOLS = {
    "3b": ("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "4b": ("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "5b": ("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
}
"""Pools before Inception blocks: name, size and stride (time, height, width)."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind an axis so that ``ceil(size / stride)`` steps fit (TensorFlow); the odd one is behind."""
    steps = -(-size // stride)
    total = max((steps - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """``[K C t h w]`` with :func:`same_padding` on its last three axes."""
    sides = zip(x.shape[2:], kernel, stride, strict=True)
    ends = [end for side in reversed(list(sides)) for end in same_padding(*side)]
    return functional.pad(x, ends) if any(ends) else x


class Unit(nn.Module):
    """Convolution, batch normalisation (eps .001) and ReLU; ``plain``: convolution with a bias, nothing more."""

    def __init__(self, inward: int, outward: int, kernel: int = 1, stride: int = 1, *, plain: bool = False) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inward, outward, kernel, stride, bias=plain)
        self.bn = None if plain else nn.BatchNorm3d(outward, eps=0.001, momentum=0.01)

    def forward(self, x: Float[Tensor, "K C t h w"]) -> Float[Tensor, "K D t2 h2 w2"]:
        kernel, stride = self.conv3d.kernel_size, self.conv3d.stride
        x = self.conv3d(pad_same(x, kernel, stride))  # type: ignore[arg-type]
        return x if self.bn is None else self.bn(x).relu_()


class Pool(nn.Module):
    """Maximum over windows. The zeros around the border never win: what comes in went through ReLU."""

    def __init__(self, size: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Float[Tensor, "K C t h w"]) -> Float[Tensor, "K C t2 h2 w2"]:
        return functional.max_pool3d(pad_same(x, self.size, self.stride), self.size, self.stride)


class Mixed(nn.Module):
    """Inception block: four branches over the same map, side by side on channels."""

    def __init__(self, inward: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Unit(inward, widths[0])
        self.b1a, self.b1b = Unit(inward, widths[1]), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(inward, widths[3]), Unit(widths[3], widths[4], 3)
        self.b3a, self.b3b = Pool((3, 3, 3), (1, 1, 1)), Unit(inward, widths[5])

    def forward(self, x: Float[Tensor, "K C t h w"]) -> Float[Tensor, "K D t h w"]:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], 1)


class I3D(nn.Module):
    r"""Inflated Inception-v1 (Carreira and Zisserman, CVPR 2017, Fig. 3).

    The submodules are named as in the widely shared PyTorch port of the Kinetics weights (``rgb_imagenet.pt``,
    ``flow_imagenet.pt``), so those state dicts load as they are: ``Conv3d_1a_7x7.conv3d.weight``,
    ``Mixed_3b.b1b.bn.running_mean``, ``logits.conv3d.bias`` and so on. Convolutions and pools are padded as
    TensorFlow's SAME does, by the size of what comes in, since the weights were trained there. The other shared port
    (lower-case names, ``batch3d``) pads by fixed numbers and normalises with another eps; its files are not read.

    Args:
        in_channels: 3 for RGB, 2 for flow.
        classes: outputs of the classifier, 400 for Kinetics.
        width: channels of the first convolution, 64 as published; every other width goes with it.

    Shapes:
        ``[K in_channels T H W]``, values in [-1, 1] -> ``Mixed_5c`` map
        ``[K (16 width) ceil(T/8) ceil(H/32) ceil(W/32)]``.
    """

    def __init__(self, in_channels: int = 3, classes: int = 400, width: int = 64) -> None:
        super().__init__()
        # Attributes and modules are named as in the published files, whose weights find their place by these names.
        self.Conv3d_1a_7x7 = Unit(in_channels, width, 7, 2)
        self.MaxPool3d_2a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit(width, width)
        self.Conv3d_2c_3x3 = Unit(width, 3 * width, 3)
        inward = 3 * width
        for name, published in MIXED.items():
            if name in POOLS:
                self.add_module(POOLS[name][0], Pool(*POOLS[name][1:]))
            # 64 is the published width; at least one channel is left, however narrow the network.
            widths = tuple(max(channels * width // 64, 1) for channels in published)
            self.add_module(f"Mixed_{name}", Mixed(inward, widths))
            inward = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = Unit(inward, classes, plain=True)

    def forward(self, clip: Float[Tensor, "K C T H W"]) -> Float[Tensor, "K G t h w"]:
        """The ``Mixed_5c`` map, the last before the classifier's pool."""
        for name, layer in self.named_children():
            if name != "logits":
                clip = layer(clip)
        return clip

    def scores(self, maps: Float[Tensor, "K G t h w"]) -> Float[Tensor, "K classes"]:
        """Class scores as published: mean over every window of 2x7x7, classifier, mean over the windows."""
        windows = functional.avg_pool3d(maps, (2, 7, 7), 1)
        return self.logits(windows).mean((2, 3, 4))


def pooled(maps: Float[Tensor, "K G t h w"]) -> Float[Tensor, "K G"]:
    """Mean over the map, the "last global average pool" (Pan et al., 2020, Sec. 4.3).

    The published head slides a window of 2x7x7 by 1 and then takes the mean over the windows: at 224x224 the same
    number for 16 frames (t = 2, one window). For longer segments that would count the first and the last step half as
    much as those between; here every step counts the same.
    """
    return maps.mean((2, 3, 4))


def published_widths(state: dict[str, Tensor]) -> dict[str, int]:
    """Arguments of the :class:`I3D` that a state dict is of, read from its shapes; empty where it is of none."""
    first, last = state.get("Conv3d_1a_7x7.conv3d.weight"), state.get("logits.conv3d.weight")
    if first is None or last is None or first.ndim != 5 or last.ndim != 5:
        return {}
    return {"in_channels": first.shape[1], "classes": last.shape[0], "width": first.shape[0]}
