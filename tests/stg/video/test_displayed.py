"""Pictures as players show them: turned, mirrored, in their shape, tone-mapped, each by its own size."""

import struct
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from stg.pages.videos.clip_films import clip_footage
from stg.video.clip import SegmentRequest
from stg.video.decoding import VideoError, sample_video
from stg.video.pictures import DecodedPicture, fit, tone_map
from stg.video.segments import read_segments
from tests.stg.make_clips import grey_frames, level, write_clip

RED, GREEN = (230, 30, 30), (30, 200, 30)
ONE = 1 << 16


def marked(height: int = 48, width: int = 64) -> np.ndarray:
    """Red top left, green bottom left, grey elsewhere: no turn and no mirror leaves it as it is."""
    picture = np.full((height, width, 3), 120, np.uint8)
    picture[: height // 3, : width // 3], picture[-height // 3 :, : width // 3] = RED, GREEN
    return picture


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix over that of an mp4."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[place : place + 36] = struct.pack(">9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def shown(picture: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """The reference, pixel by pixel: the one at (x, y) goes to (a x + c y, b x + d y)."""
    points = {}
    for y, x in product(range(picture.shape[0]), range(picture.shape[1])):
        points[b * x + d * y, a * x + c * y] = picture[y, x]
    top, left = min(row for row, _ in points), min(column for _, column in points)
    height, width = max(row for row, _ in points) - top + 1, max(column for _, column in points) - left + 1
    result = np.zeros((height, width, 3), np.uint8)
    for (row, column), value in points.items():
        result[row - top, column - left] = value
    return result


MATRICES = [(a, 0, 0, d) for a, d in product((1, -1), repeat=2)] + [(0, b, c, 0) for b, c in product((1, -1), repeat=2)]


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_turn_and_mirror_is_shown_as_meant(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = with_matrix(write_clip(tmp_path / "clip.mp4", [marked()] * 3, options={"crf": "4"}), *matrix)
    expected = shown(marked(), *matrix)
    height, width = expected.shape[:2]
    (segment,) = read_segments(path, SegmentRequest(4, 48, (48, 48)))
    top, left = (height - 48) // 2, (width - 48) // 2
    with clip_footage(path, workers=0) as footage:
        first = next(footage.frames())
    for found, wanted in (
        (sample_video(path, 1).frames[0], expected),
        (segment.frames[0], expected[top : top + 48, left : left + 48]),
        (first, expected),
    ):
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).mean() < 5
    assert footage.size == (height, width)


def with_pixels(path: Path, ratio: Fraction, picture: np.ndarray) -> Path:
    """A clip whose pixels are not square."""
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width = picture.shape[:2]
        stream.codec_context.sample_aspect_ratio = ratio
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("ratio", "width"),
    [
        (Fraction(64, 45), 102),
        (Fraction(1, 2), 36),
        (Fraction(1), 72),
        (Fraction(134, 133), 72),  # an encoder's rounding
        (Fraction(99, 1), 72),  # damage
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_pixels_that_are_not_square_give_the_displayed_shape(
    tmp_path: Path, ratio: Fraction, width: int, suffix: str
) -> None:
    path = with_pixels(tmp_path / f"clip.{suffix}", ratio, marked(64, 72))
    assert sample_video(path, 2).frames.shape == (2, 64, width, 3)
    (segment,) = read_segments(path, SegmentRequest(4, 32, (8, 8)))
    with clip_footage(path, workers=0) as footage:
        assert footage.size == (64, width)
    assert segment.frames.shape == (4, 8, 8, 3)


def test_shape_and_turn_go_together_and_the_limit_counts_what_is_shown(tmp_path: Path) -> None:
    path = with_matrix(with_pixels(tmp_path / "clip.mp4", Fraction(2), marked()), 0, 1, -1, 0)
    assert sample_video(path, 1).frames.shape == (1, 128, 48, 3)
    with pytest.raises(VideoError, match="pictures of 128x48 = 6144 pixels; the limit is 6000 pixels"):
        sample_video(path, 1, max_pixels=6000)


PATCHES = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 210], [128, 128, 128], [12, 12, 12], [245, 245, 245]])
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def coded(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """sRGB 0 to 255 as PQ or HLG code 0 to 1, by the formulas of the standards; white is at 203 nits, or 75 %."""
    share = rgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ TO_2020.T
    if transfer == 16:
        power = (light * 203 / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    scene = 0.265 * light
    curve = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curve)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_tone_mapped_and_said(tmp_path: Path, transfer: int, name: str) -> None:
    code = np.repeat(np.repeat(coded(PATCHES, transfer)[None], 16, 0), 16, 1)  # patches of 16 by 16, side by side
    red, green, blue = np.moveaxis(code, -1, 0)
    luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
    planes = 64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746
    with av.open(tmp_path / "hdr.mp4", "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 16, code.shape[1], "yuv444p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, transfer, 9, 1
        for _ in range(3):
            frame = av.VideoFrame(code.shape[1], 16, "yuv444p10le")
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((16, plane.line_size // 2), np.uint16)
                rows[:, : values.shape[1]] = np.rint(values)
                plane.update(rows.tobytes())
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    sample = sample_video(tmp_path / "hdr.mp4", 1)
    found = sample.frames[0, 8, 8::16].astype(int)
    assert np.abs(found - PATCHES).max() <= 10
    assert sample.facts == {"hdr": name}
    (segment,) = read_segments(tmp_path / "hdr.mp4", SegmentRequest(4, 16, (16, 16)))
    assert np.abs(segment.frames[0, 8, 8].astype(int) - sample.frames[0, 8, 48]).max() <= 12


def test_highlights_keep_their_order_and_hue() -> None:
    codes = np.rint(65535 * coded(np.array([255.0, 255, 255]) * np.array([[0.5], [0.9], [1.0]]), 16)).astype(np.uint16)
    brightest = np.full((1, 3), 65535, np.uint16)  # 10000 nits
    grey = tone_map(np.concatenate([codes, brightest])[None], 16)[0]
    assert (np.diff(grey[:, 0].astype(int)) > 0).all()
    assert (np.ptp(grey.astype(int), axis=1) <= 1).all()


def changing(path: Path, sizes: list[tuple[int, int]], count: int = 6) -> Path:
    """A VP8 stream whose pictures change size, as WebRTC records them: ``count`` frames of each (height, width)."""
    packets = []
    for number, size in enumerate(sizes):
        part = path.with_suffix(f".{number}.ivf")
        options = {"auto-alt-ref": "0", "lag-in-frames": "0", "deadline": "realtime", "cpu-used": "8"}
        write_clip(part, [marked(*size)] * count, codec="libvpx", options=options)
        packets.append(part)
    with av.open(path, "w") as file:
        stream, time = None, 0
        for part in packets:
            with av.open(part) as source:
                stream = stream or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is None:
                        continue
                    packet.stream, packet.pts, packet.dts, packet.time_base = stream, time, time, Fraction(1, 25)
                    time += 1
                    file.mux(packet)
    return path


@pytest.mark.parametrize(
    ("sizes", "canvas", "inner"),
    [
        ([(48, 64), (96, 128)], (96, 128), (96, 128)),
        ([(48, 64), (128, 96)], (128, 96), (72, 96)),
        ([(128, 96), (48, 64)], (128, 96), (128, 96)),
        ([(64, 48), (48, 64), (64, 48)], (64, 64), (64, 48)),
    ],
)
def test_a_size_that_changes_midway_squeezes_nothing(
    tmp_path: Path, sizes: list[tuple[int, int]], canvas: tuple[int, int], inner: tuple[int, int]
) -> None:
    path = changing(tmp_path / "clip.webm", sizes)
    sample = sample_video(path, 6)
    assert sample.frames.shape == (6, *canvas, 3)
    assert sample.facts["picture_sizes"] == [f"{width}x{height}" for height, width in dict.fromkeys(sizes)]
    top, left = (canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2
    first = sample.frames[0]
    expected = fit(marked(*inner), inner)
    assert np.abs(first[top : top + inner[0], left : left + inner[1]].astype(int) - expected).mean() < 12
    assert first[:top].sum() + first[:, :left].sum() == 0
    with clip_footage(path, workers=0) as footage:
        assert footage.size == canvas
        frames = list(footage.frames())
    assert len(frames) == 6 * len(sizes)
    np.testing.assert_array_equal(frames[int(sample.frame_number[0])], first)


def differing(found: np.ndarray, expected: np.ndarray) -> float:
    """Share of the pixels that have another colour: coding blurs edges, and squeezing moves them."""
    return float((np.abs(found.astype(int) - expected).max(-1) > 60).mean())


def test_segments_take_each_picture_by_its_own_size(tmp_path: Path) -> None:
    path = changing(tmp_path / "clip.webm", [(48, 64), (96, 64)])
    (segment,) = read_segments(path, SegmentRequest(12, 48, (48, 48)))
    wide, tall = segment.frames[0].astype(int), segment.frames[-1].astype(int)
    assert differing(wide, marked(48, 64)[:, 8:56]) < 0.03
    # 64x96 at a shorter side of 48 is 48x72, of which the middle 48 rows are cut.
    assert differing(tall, marked(72, 48)[12:60]) < 0.03
    # All of a picture, stretched: placed as among the sampled frames, so that a box means one place in both.
    (whole,) = read_segments(path, SegmentRequest(12, (96, 64), (96, 64)), shape=(96, 64))
    assert whole.frames[0][:20].sum() == 0
    assert differing(whole.frames[0][24:72], marked(48, 64)) < 0.03


def test_pictures_that_need_too_large_a_canvas_together_are_refused(tmp_path: Path) -> None:
    path = changing(tmp_path / "clip.webm", [(16, 256), (256, 16)])
    with pytest.raises(VideoError, match="changes its size: pictures of 256x16, 16x256 need 256x256 pixels together"):
        sample_video(path, 2, max_pixels=256 * 128)


@pytest.mark.parametrize("hidden", [0, 10])
def test_packets_that_an_edit_list_hides_are_not_missing(tmp_path: Path, hidden: int) -> None:
    plain = write_clip(tmp_path / "plain.mp4", grey_frames(40), options={"bf": "0", "g": "10"})
    path = tmp_path / "edited.mp4"
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(plain) as source, av.open(path, "w", options=options) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            shift = round(hidden / 25 / packet.time_base)
            packet.stream, packet.pts, packet.dts = stream, packet.pts - shift, packet.dts - shift
            file.mux(packet)
    sample = sample_video(path, 5)
    assert not sample.truncated
    assert (sample.total_frames, sample.header_frames) == (40 - hidden, 40)
    found = [float(picture.mean()) for picture in sample.frames]
    assert found == pytest.approx([level(number + hidden) for number in sample.frame_number], abs=2)
    # The same file, cut: its index promises pictures that are not there, those behind the edit list among them.
    moved = tmp_path / "fast.mp4"
    with av.open(path) as source, av.open(moved, "w", options=options | {"movflags": "+faststart"}) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    with av.open(moved) as file:
        places = sorted(packet.pos for packet in file.demux(video=0) if packet.size)
    moved.write_bytes(moved.read_bytes()[: places[-4]])  # between two packets, of which none is half
    assert sample_video(moved, 5).truncated


def test_an_angle_between_quarter_turns_is_rounded() -> None:
    class Frame:
        height, width = 2, 3

        def __init__(self, *matrix: int) -> None:
            self.side_data = {"DISPLAYMATRIX": struct.pack("=9i", *matrix, 0, 0, 0, 1)}

    assert DecodedPicture(Frame(9, 1, 0, -1, 9)).orientation == (False, False, False)
    assert DecodedPicture(Frame(1, 9, 0, -9, 1)).orientation == (True, False, True)
    assert DecodedPicture(Frame(0, 0, 0, 0, 0)).shape == (2, 3)
