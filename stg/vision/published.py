"""Which weights are published for which network, and what files of the others must hold. Imports no torch."""

from dataclasses import dataclass

PLACE = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Published:
    """One published file of weights.

    Args:
        choice: name in torchvision's enumeration.
        file: name of the file, ``<name>-<first digits of its SHA-256>.pth``.
        megabytes: its size in units of 2**20 bytes.
    """

    choice: str
    file: str
    megabytes: float

    @property
    def address(self) -> str:
        """Where it is published."""
        return PLACE + self.file

    @property
    def sha256_prefix(self) -> str:
        """First digits of the SHA-256 of the file, which its name ends in."""
        return self.file.rsplit(".", 1)[0].rsplit("-", 1)[1]


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "resnet101": (
        Published("IMAGENET1K_V1", "resnet101-63fe2227.pth", 170.511),
        Published("IMAGENET1K_V2", "resnet101-cd907fc2.pth", 170.53),
    ),
    "resnet152": (
        Published("IMAGENET1K_V1", "resnet152-394f9c45.pth", 230.434),
        Published("IMAGENET1K_V2", "resnet152-f82ba261.pth", 230.474),
    ),
    "resnext101_32x8d": (
        Published("IMAGENET1K_V1", "resnext101_32x8d-8ba56ff5.pth", 339.586),
        Published("IMAGENET1K_V2", "resnext101_32x8d-110c445d.pth", 339.673),
    ),
    "resnext101_64x4d": (Published("IMAGENET1K_V1", "resnext101_64x4d-173b62eb.pth", 319.318),),
    "fasterrcnn_resnet50_fpn": (Published("COCO_V1", "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 159.743),),
    "fasterrcnn_resnet50_fpn_v2": (Published("COCO_V1", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", 167.104),),
    "fasterrcnn_mobilenet_v3_large_fpn": (
        Published("COCO_V1", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", 74.239),
    ),
    "maskrcnn_resnet50_fpn": (Published("COCO_V1", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", 169.84),),
    "maskrcnn_resnet50_fpn_v2": (Published("COCO_V1", "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", 177.219),),
    "s3d": (Published("KINETICS400_V1", "s3d-d76dad2f.pth", 31.972),),
    "raft_large": (
        Published("C_T_SKHT_V2", "raft_large_C_T_SKHT_V2-ff5fadd5.pth", 20.129),
        Published("C_T_V2", "raft_large_C_T_V2-1bb1363a.pth", 20.129),
        Published("C_T_SKHT_K_V2", "raft_large_C_T_SKHT_K_V2-b5c70766.pth", 20.129),
    ),
    "raft_small": (
        Published("C_T_V2", "raft_small_C_T_V2-01064c6d.pth", 3.821),
        Published("C_T_V1", "raft_small_C_T_V1-ad48884c.pth", 3.821),
    ),
}
"""Published weights of each network, the default first.

The default of the image networks is V1: its published accuracy is measured with the shorter side at 256 and a centre
crop of 224, which is how frames are shown to it here; torchvision's own default (V2) is measured with 232.
"""

UNPUBLISHED = {
    "fasterrcnn_resnext101_fpn": (
        "the state dict of torchvision's FasterRCNN over a resnext101_32x8d body with a feature pyramid "
        "(keys backbone.body.*, backbone.fpn.*, rpn.*, roi_heads.*; any number of classes)"
    ),
    "i3d_rgb": "the state dict of I3D on RGB frames, Kinetics (keys Conv3d_1a_7x7.*, Mixed_3b.*, ..., logits.*)",
    "i3d_flow": "the state dict of I3D on optical flow, Kinetics (keys Conv3d_1a_7x7.*, Mixed_3b.*, ..., logits.*)",
    "vggish": "the state dict of VGGish on AudioSet (keys features.*, embeddings.*)",
}
"""Networks without a file that this project may fetch, and what a file of them must hold."""

BACKBONE_NAMES = tuple(name for name in PUBLISHED if name.startswith(("resnet", "resnext")))
DETECTOR_NAMES = tuple(name for name in (*PUBLISHED, *UNPUBLISHED) if "rcnn" in name)
"""torchvision's image networks and detectors by the names that options and manifests give them."""

PREFIXES = {item.file: item.sha256_prefix for items in PUBLISHED.values() for item in items}
"""First digits of the SHA-256 of each published file, by its name."""
