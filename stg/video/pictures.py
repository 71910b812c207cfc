"""A decoded picture as it is meant to be seen: upright, in its displayed shape, tone-mapped where it is HDR."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics (ITU-T H.273) that are tone-mapped, and their names."""

SDR_WHITE = {16: 203 / 10000, 18: 0.265}
"""Light, of the most that can be coded, that becomes the white of the result: 203 nits, 75 % HLG (ITU-R BT.2408)."""

KNEE = 0.75
"""Light above this share of white is compressed, so that highlights keep their differences."""

FROM_2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
"""Linear light with the primaries of BT.2020 -> BT.709 (ITU-R BT.2087)."""

BELIEVED = (Fraction(1, 8), Fraction(8))
"""Pixel shapes outside these are damage."""

SQUARE = Fraction(1, 100)
"""Pixels that are so nearly square are taken as square: encoders round, and nobody sees it."""

Shape = tuple[int, int]
"""Height and width."""

WHOLE = 4096 * 2304
"""Most pixels of a picture that is kept as it is: 4K. Networks read far less, and ten pictures of 8K take 1 GB."""

REDUCED = 2**21
"""Most pixels of a larger one, which is reduced as soon as it is decoded: about 1920x1080."""


def pixel_shape(stream: Any) -> Fraction:
    """Width of a pixel by its height, of a video stream; 1 where the file says nothing that can be believed."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not ratio or not BELIEVED[0] <= ratio <= BELIEVED[1] or abs(ratio - 1) < SQUARE:
        return Fraction(1)
    return Fraction(ratio)


def new_reformatter() -> Any:
    """PyAV's converter of pictures, which keeps what it needs for the next one of the same size and format."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


@dataclass(frozen=True)
class DecodedPicture:
    """What the decoder gave, and how it is shown.

    Args:
        frame: of PyAV.
        ratio: width of a pixel by its height.
        reformatter: of PyAV, one for all pictures of a pass: to make one takes longer than to convert a small picture.
    """

    frame: Any
    ratio: Fraction = Fraction(1)
    reformatter: Any = field(default_factory=new_reformatter)

    @property
    def shape(self) -> Shape:
        """Height and width of the picture upright, its pixels square."""
        shape = self.frame.height, max(round(self.frame.width * self.ratio), 1)
        return shape[::-1] if self.orientation[0] else shape

    @cached_property
    def orientation(self) -> tuple[bool, bool, bool]:
        """Whether rows and columns change places, and then whether rows, and columns, run the other way.

        The display matrix takes (x, y) to (a x + c y, b x + d y); angles that are no quarter turns are rounded to one.
        """
        data = self.frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return False, False, False
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return False, d < 0, a < 0
        return True, b < 0, c < 0

    def kept(self) -> UInt8[np.ndarray, "H W 3"]:
        """RGB pixels of the size in which a picture is kept: :func:`kept_shape`."""
        return self.rgb(kept_shape(self.shape))

    def rgb(self, shape: Shape | None = None) -> UInt8[np.ndarray, "H W 3"]:
        """RGB pixels as they are meant to be seen, of an upright ``shape``, by default the picture's own."""
        swap, up, left = self.orientation
        # Resized first, with sides swapped where needed, and then turned: fewer pixels to turn.
        height, width = (shape or self.shape)[:: -1 if swap else 1]
        deep = self.frame.color_trc in HDR
        kind = "rgb48le" if deep else "rgb24"
        # One thread: more would be started anew for each picture.
        sized = self.reformatter.reformat(self.frame, width, height, kind, interpolation="BILINEAR", threads=1)
        pixels = sized.to_ndarray()
        if deep:
            pixels = tone_map(pixels, self.frame.color_trc)
        pixels = pixels.swapaxes(0, 1) if swap else pixels
        return np.ascontiguousarray(pixels[:: -1 if up else 1, :: -1 if left else 1])


def kept_shape(shape: Shape) -> Shape:
    """The size in which a picture is kept: its own, or of one larger than :data:`WHOLE` a whole fraction of it."""
    if shape[0] * shape[1] <= WHOLE:
        return shape
    part = math.ceil(math.sqrt(shape[0] * shape[1] / REDUCED))
    return max(shape[0] // part, 1), max(shape[1] // part, 1)


def fit(pixels: UInt8[np.ndarray, "h w 3"], shape: Shape) -> UInt8[np.ndarray, "H W 3"]:
    """The picture as large as it goes into ``shape`` unsqueezed, in the middle of black."""
    if pixels.shape[:2] == shape:
        return pixels
    import av

    inner = fitted(pixels.shape[:2], shape)
    if inner != pixels.shape[:2]:
        small = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        pixels = small.to_ndarray(format="rgb24", width=inner[1], height=inner[0], interpolation="BILINEAR", threads=1)
    return centred(pixels, shape)


def fitted(size: Shape, shape: Shape) -> Shape:
    """The largest size of the same aspect as ``size`` that goes into ``shape``."""
    scale = min(shape[0] / size[0], shape[1] / size[1])
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def centred(pixels: UInt8[np.ndarray, "h w 3"], shape: Shape) -> UInt8[np.ndarray, "H W 3"]:
    """The picture in the middle of black."""
    canvas = np.zeros((*shape, 3), np.uint8)
    top, left = (shape[0] - pixels.shape[0]) // 2, (shape[1] - pixels.shape[1]) // 2
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def tone_map(pixels: np.ndarray, transfer: int) -> UInt8[np.ndarray, "H W 3"]:
    """HDR with the primaries of BT.2020, 16 bits a channel, as sRGB.

    HLG is taken as the light of the scene (ITU-R BT.2408, sec. 5), so no system gamma is applied. Light up to
    :data:`KNEE` stays as it is; above, the largest channel is compressed below 1 and the others with it, which
    keeps the hue.
    """
    light = _light(transfer)[pixels] @ FROM_2020.T
    most = light.max(axis=-1, keepdims=True)
    over = np.maximum(most - KNEE, 0) / (1 - KNEE)
    # x / (1 + x): slope 1 at the knee, so that no edge shows there.
    light *= np.where(most > KNEE, (KNEE + (1 - KNEE) * over / (1 + over)) / np.maximum(most, KNEE), 1)
    return _srgb()[np.rint(light.clip(0, 1) * 65535).astype(np.uint16)]


@cache
def _light(transfer: int) -> Float32[np.ndarray, " 65536"]:
    """Linear light of every code, 1 where white is."""
    code = np.arange(65536) / 65535
    if transfer == 16:  # SMPTE ST 2084
        power = code ** (32 / 2523)
        light = (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
    else:  # ARIB STD-B67
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return (light / SDR_WHITE[transfer]).astype(np.float32)


@cache
def _srgb() -> UInt8[np.ndarray, " 65536"]:
    light = np.arange(65536) / 65535
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * coded).astype(np.uint8)
