"""Files of random weights for the networks of torch, thin bodies for those whose size no file tells, and a clip."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import detection, get_model
from torchvision.models.optical_flow import RAFT, raft, raft_small
from torchvision.models.video import s3d

from stg.vision import torch_detectors
from stg.vision.flow import RaftFlow
from stg.vision.i3d import I3D
from stg.vision.torch_detectors import TorchDetector, build
from stg.vision.vggish import VGGish
from tests.stg.make_clips import write_clip
from tests.stg.vision.test_motion import WIDTH, lively
from tests.stg.vision.test_torch_backbones import made, narrow
from tests.stg.vision.test_torch_detectors import PROPOSALS, state_of, thin

DETECTOR = partial(TorchDetector, min_size=64, max_size=100)
"""What the commands build in the place of a detector."""

FLOW = partial(RaftFlow, updates=1)
"""The same for the flow, whose refinements take most of the time."""


def thin_raft(*, weights: None) -> RAFT:
    """The small RAFT with encoders that are thin where they can be; all else is torchvision's."""

    def encoder(last: int, norm_layer: Callable[..., nn.Module] | None) -> raft.FeatureEncoder:
        return raft.FeatureEncoder(
            block=raft.BottleneckBlock, layers=(32, 32, 8, 8, last), strides=(2, 1, 2, 2), norm_layer=norm_layer
        )

    return raft_small(
        weights=weights, feature_encoder=encoder(16, nn.InstanceNorm2d), context_encoder=encoder(160, None)
    )


def thin_or_whole(name: str, **given: Any) -> nn.Module:
    """What the flow is given for torchvision's ``get_model``."""
    return thin_raft(**given) if name == "raft_small" else get_model(name, **given)


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Give image networks and detectors one thin block a stage, and the flow thin encoders; show detectors small
    pictures."""
    patch.setattr("stg.vision.torch_backbones.get_model", lambda name, *, weights, num_classes: made(num_classes))
    patch.setattr(torch_detectors, "TorchDetector", DETECTOR)
    patch.setattr("stg.vision.flow.RaftFlow", FLOW)
    patch.setattr(torchvision.models, "get_model", thin_or_whole)
    patch.setattr(torch_detectors, "build", partial(build, rpn_post_nms_top_n_test=PROPOSALS))
    for module in (torchvision.models.resnet, detection.faster_rcnn, detection.mask_rcnn):
        patch.setattr(module, "resnet50", thin)
    patch.setattr(torchvision.models.resnet, "resnext101_32x8d", thin)


def write_image(path: Path, classes: int = 5) -> Path:
    """Any residual network, shrunk."""
    return _write(path, narrow(classes).state_dict())


def write_detector(path: Path, name: str, classes: int = 6) -> Path:
    """A detector, shrunk, that finds something everywhere."""
    return _write(path, state_of(name, classes))


def write_i3d(path: Path, channels: int, seed: int = 0) -> Path:
    """I3D with a map of 64 channels, on RGB (3) or flow (2)."""
    torch.manual_seed(seed)
    return _write(path, lively(I3D(channels, 7, WIDTH)).state_dict())


def write_s3d(path: Path) -> Path:
    """S3D, which has one size."""
    torch.manual_seed(0)
    return _write(path, lively(s3d(weights=None, num_classes=5)).state_dict())


def write_raft(path: Path) -> Path:
    """The small RAFT, shrunk, that sees motion of many pixels."""
    torch.manual_seed(0)
    state = thin_raft(weights=None).state_dict()
    state["update_block.flow_head.conv2.weight"] *= 300
    return _write(path, state)


def write_vggish(path: Path) -> Path:
    """VGGish with two channels."""
    torch.manual_seed(0)
    return _write(path, VGGish(2, 8).state_dict())


def write_patches(path: Path) -> Path:
    """Twelve frames of 80x48 pixels: patches of one colour, coded without loss so that every decoder sees the same."""
    colours = np.random.default_rng(0).integers(0, 255, (12, 3, 5, 3), np.uint8)
    frames = colours.repeat(16, axis=1).repeat(16, axis=2)
    return write_clip(path, list(frames), options={"crf": "0"}, pixels="yuv444p")


def _write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, path)
    return path
