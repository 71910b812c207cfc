"""I3D: published names, numbers and shapes, padding against a slow reference, inflation on a still video."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from stg.vision.i3d import I3D, MIXED, Pool, Unit, pad_same, pooled, published_widths, same_padding

# Name of the layer, then channels, frames, height, width of its output for 64 frames of 224x224 (Carreira and
# Zisserman, 2017, Fig. 3: strides; Szegedy et al., 2015, Table 1: channels).
SHAPES = """
Conv3d_1a_7x7     64 32 112 112
MaxPool3d_2a_3x3  64 32  56  56
Conv3d_2b_1x1     64 32  56  56
Conv3d_2c_3x3    192 32  56  56
MaxPool3d_3a_3x3 192 32  28  28
Mixed_3b         256 32  28  28
Mixed_3c         480 32  28  28
MaxPool3d_4a_3x3 480 16  14  14
Mixed_4b         512 16  14  14
Mixed_4c         512 16  14  14
Mixed_4d         512 16  14  14
Mixed_4e         528 16  14  14
Mixed_4f         832 16  14  14
MaxPool3d_5a_2x2 832  8   7   7
Mixed_5b         832  8   7   7
Mixed_5c        1024  8   7   7
"""


def tiny(in_channels: int = 3, width: int = 8) -> I3D:
    """Random weights and statistics, so that every part of the normalisation counts."""
    torch.manual_seed(0)
    network = I3D(in_channels, classes=5, width=width).eval().requires_grad_(False)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            layer.weight.uniform_(0.8, 1.6)
            layer.bias.uniform_(-0.1, 0.3)
    return network


def published_names() -> set[str]:
    """Keys of the shared Kinetics state dicts, written down from their naming rule."""
    units = ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"]
    for block in ["3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"]:
        units += [f"Mixed_{block}.{branch}" for branch in ["b0", "b1a", "b1b", "b2a", "b2b", "b3b"]]
    parts = ["conv3d.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    return {f"{unit}.{part}" for unit in units for part in parts} | {"logits.conv3d.weight", "logits.conv3d.bias"}


def test_the_keys_are_those_of_the_published_files() -> None:
    with torch.device("meta"):
        state = I3D().state_dict()
    assert {name for name in state if not name.endswith("num_batches_tracked")} == published_names()
    assert len(published_names()) == 57 * 5 + 2
    assert state["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)
    assert state["Mixed_4e.b2b.conv3d.weight"].shape == (64, 32, 3, 3, 3)
    assert state["Mixed_5c.b3b.conv3d.weight"].shape == (128, 832, 1, 1, 1)
    assert state["logits.conv3d.weight"].shape == (400, 1024, 1, 1, 1)


@pytest.mark.parametrize(
    ("in_channels", "classes", "million"),
    [(3, 400, 12.697264), (2, 400, 12.675312), (3, 0, 12.287264)],
    ids=["rgb", "flow", "rgb without classifier"],
)
def test_the_number_of_parameters_is_the_published_one(in_channels: int, classes: int, million: float) -> None:
    """Published: 12.69 million for RGB with 400 classes, 12.29 without the classifier; both streams 25 (Table 1)."""
    with torch.device("meta"):
        network = I3D(in_channels, max(classes, 1))
    parts = [item for name, item in network.named_parameters() if classes or not name.startswith("logits")]
    assert sum(item.numel() for item in parts) == round(million * 1e6)


def layer_shapes(network: I3D, frames: int) -> dict[str, tuple[int, ...]]:
    """Channels, frames, height and width after each layer, in order, for frames of 224x224."""
    shapes = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    maps = network(torch.rand(1, 3, frames, 224, 224))
    assert maps.isfinite().all()
    return shapes


@pytest.mark.parametrize(("frames", "width"), [(64, 8), (16, 64)], ids=["64 frames, narrow", "16 frames, full"])
def test_every_layer_has_its_published_shape(frames: int, width: int) -> None:
    rows = [line.split() for line in SHAPES.strip().splitlines()]
    want = {
        name: (int(channels) * width // 64, int(steps) * frames // 64, int(height), int(width_))
        for name, channels, steps, height, width_ in rows
    }
    got = layer_shapes(I3D(width=width).eval().requires_grad_(False), frames)
    assert got == want
    assert list(got) == list(want)


def test_the_widths_of_a_block_add_up() -> None:
    total = {name: widths[0] + widths[2] + widths[4] + widths[5] for name, widths in MIXED.items()}
    assert list(total.values()) == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


def test_eps_is_that_of_the_published_network() -> None:
    assert {layer.eps for layer in tiny().modules() if isinstance(layer, torch.nn.BatchNorm3d)} == {0.001}


@pytest.mark.parametrize("size", [224, 225, 7, 1, 2, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1), (1, 2)])
def test_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    """``ceil(size / stride)`` steps; no zero more than that takes; the odd one behind."""
    before, behind = same_padding(size, kernel, stride)
    steps = -(-size // stride)
    assert (size + before + behind - kernel) // stride + 1 == steps
    assert behind - before in (0, 1)
    assert before + behind == 0 or (size + before + behind - 1 - kernel) // stride + 1 < steps


@pytest.mark.parametrize("size", [(5, 6, 7), (4, 8, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, 2), (1, 1)])
def test_convolution_against_a_slow_reference(size: tuple[int, int, int], kernel: int, stride: int) -> None:
    """Output step o sees the inputs o stride - before ... + kernel - 1; outside is zero."""
    torch.manual_seed(1)
    unit = Unit(2, 3, kernel, stride, plain=True).double().requires_grad_(False)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    got = unit(x)
    want = np.zeros(got.shape)
    weight, bias = unit.conv3d.weight.numpy(), unit.conv3d.bias.numpy()
    begin = [same_padding(side, kernel, stride)[0] for side in size]
    for place in np.ndindex(*got.shape[2:]):
        total = bias.copy()
        for offset in np.ndindex(kernel, kernel, kernel):
            at = [o * stride - first + d for o, first, d in zip(place, begin, offset, strict=True)]
            if all(0 <= a < side for a, side in zip(at, size, strict=True)):
                total += weight[:, :, *offset] @ x[0, :, *at].numpy()
        want[0, :, *place] = total
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))])
def test_pool_never_sees_the_border(size: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
    """What went through ReLU: padding with zeros is padding with minus infinity, as TensorFlow has it."""
    x = torch.rand(1, 2, 5, 7, 8)
    ends = [end for item in zip(x.shape[:1:-1], size[::-1], stride[::-1], strict=True) for end in same_padding(*item)]
    want = functional.max_pool3d(functional.pad(x, ends, value=-torch.inf), size, stride)
    assert torch.equal(Pool(size, stride)(x), want)
    assert want.isfinite().all()


def test_an_inflated_kernel_sees_a_still_video_as_the_flat_one_sees_a_picture() -> None:
    """Carreira and Zisserman, Sec. 2.3: weights repeated N times over time and divided by N, far from both ends."""
    torch.manual_seed(2)
    picture = torch.randn(1, 3, 32, 40, dtype=torch.float64)
    flat = torch.randn(4, 3, 7, 7, dtype=torch.float64)
    unit = Unit(3, 4, 7, 2, plain=True).double().requires_grad_(False)
    unit.conv3d.weight.copy_(flat[:, :, None].expand(-1, -1, 7, -1, -1) / 7)
    unit.conv3d.bias.zero_()
    video = unit(picture[:, :, None].expand(-1, -1, 16, -1, -1))
    padded = pad_same(picture[:, :, None], (1, 7, 7), (1, 2, 2))[:, :, 0]
    want = functional.conv2d(padded, flat, stride=2)
    torch.testing.assert_close(video[:, :, 1:6], want[:, :, None].expand(-1, -1, 5, -1, -1))
    assert not torch.allclose(video[:, :, 0], want)  # the ends see the zeros


def test_the_inflated_network_sees_a_still_video_as_the_flat_one_sees_a_picture() -> None:
    """All of I3D with inflated random 2D weights: the flat network is I3D too, its kernels 1 long (2D Inception-v1)."""
    network, flat = tiny().double(), tiny().double()
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv3d) and layer.kernel_size[0] > 1:
            size = layer.kernel_size[0]
            kernel = torch.randn(*layer.weight.shape[:2], 1, size, size, dtype=torch.float64) / size
            layer.weight.copy_(kernel.expand_as(layer.weight) / size)
            other = flat.get_submodule(name)
            other.weight = torch.nn.Parameter(kernel, requires_grad=False)
            other.kernel_size, other.stride = (1, size, size), (1, *layer.stride[1:])
    for layer in flat.modules():
        if isinstance(layer, Pool):
            layer.size, layer.stride = (1, *layer.size[1:]), (1, *layer.stride[1:])
    picture = torch.rand(1, 3, 1, 64, 64, dtype=torch.float64) * 2 - 1
    want = flat(picture)
    got = network(picture.expand(-1, -1, 208, -1, -1))  # 26 steps; the zeros at the ends reach 11 steps in
    assert want.std() > 0.01
    torch.testing.assert_close(got[:, :, 12:14], want.expand(-1, -1, 2, -1, -1))
    assert not torch.allclose(got[:, :, :1], want)


def test_the_mean_is_the_published_head_for_two_steps_only() -> None:
    network = tiny()
    for steps, same in ((2, True), (4, False)):
        maps = torch.rand(1, 128, steps, 7, 7)
        want = functional.avg_pool3d(maps, (2, 7, 7), 1).mean((2, 3, 4))
        assert torch.allclose(pooled(maps), want, atol=1e-6) is same
        weight, bias = network.logits.conv3d.weight[:, :, 0, 0, 0], network.logits.conv3d.bias
        torch.testing.assert_close(network.scores(maps), want @ weight.T + bias)


def test_what_a_state_dict_is_of_is_read_from_its_shapes() -> None:
    assert published_widths(tiny(2, 16).state_dict()) == {"in_channels": 2, "classes": 5, "width": 16}
    assert published_widths({}) == {}
    assert (
        published_widths({"Conv3d_1a_7x7.conv3d.weight": torch.zeros(3), "logits.conv3d.weight": torch.zeros(3)}) == {}
    )
