"""A clip with its graph burnt in: a whole file, every frame in it, drawings where they belong and nowhere else."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import stg.video.film
from graphs import EDGE_TYPES
from stg.datasets.world.dataset import World
from stg.explain import Explanation
from stg.pages.videos import clip_films
from stg.pages.videos.boxes_and_edges import COLOURS, colour_of
from stg.pages.videos.clip_films import clip_footage
from stg.pages.videos.overlay_drawing import BOX, CaptionStrip, font, wrap
from stg.pages.videos.overlay_film import (
    Footage,
    compose,
    nearest_picture,
    picture_size,
    words_shown,
    write_overlay,
)
from stg.pages.videos.views import Edge, ModelCaption, Node, Picture, VideoView
from stg.runtime.errors import StgError
from stg.video.decoding import VideoError
from tests.stg import make_readers
from tests.stg.make_clips import grey_frames, level, write_clip

WORDS = ("a", "grey", "wall", "gets", "brighter")


def view_of(*words: str, nodes: bool = True) -> VideoView:
    """Two boxes side by side in the first sampled frame, one far to the right in the second; pictures of 320 x 240."""
    boxes = (
        Node(0, (20.0, 40.0, 80.0, 100.0), 0.9, "cat"),
        Node(0, (120.0, 140.0, 180.0, 200.0), 0.8, "dog"),
        Node(1, (240.0, 40.0, 300.0, 100.0), 0.7, "cow"),
    )
    edges = (
        Edge(0, 1, "spatial", 0.5),
        Edge(1, 0, "spatial", 0.4),
        Edge(2, 0, "temporal", 0.9),
        Edge(0, 0, "spatial", 0.9),
    )
    caption = ModelCaption("model", Explanation(words, (0.5,) * len(words)))
    return VideoView(
        "v",
        (240, 320),
        (Picture(5), Picture(15)),
        boxes if nodes else (),
        edges if nodes else (),
        (caption,) if words else (),
    )


def footage(count: int = 20, size: tuple[int, int] = (240, 320)) -> Footage:
    return Footage(count, 10.0, size, lambda: iter(grey_frames(count, size)))


def draw_over(clip: Path, view: VideoView, out: Path, workers: int = 0, **options: Any) -> None:
    with clip_footage(clip, workers=workers) as found:
        write_overlay(found, view, out, **options)


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(path) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def near(pixel: np.ndarray, colour: tuple[int, int, int], tolerance: int) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


@pytest.mark.parametrize(("count", "rate"), [(18, 9), (25, 12)])
def test_every_frame_of_the_clip_is_there_at_its_rate(tmp_path: Path, count: int, rate: int) -> None:
    clip = write_clip(tmp_path / "v.mp4", grey_frames(count, (240, 320)), rate=rate)
    view, out, told = view_of(*WORDS), tmp_path / "out.mp4", []
    view = replace(view, pictures=(Picture(0), Picture(count - 1)))
    draw_over(clip, view, out, progress=lambda done, total: told.append((done, total)))
    frames = decoded(out)
    assert len(frames) == count
    assert told == [(number, count) for number in range(1, count + 1)]
    with av.open(out) as file:
        assert file.format.name == "mov,mp4,m4a,3gp,3g2,mj2"
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.average_rate == rate
    assert frames[0].shape[1] == 640
    assert frames[0].shape[0] > 480
    assert frames[0].shape[0] % 2 == 0
    for number, frame in enumerate(frames):
        assert abs(float(frame[420:470, 500:630].mean()) - level(number)) <= 2  # where nothing is drawn
    assert list(tmp_path.iterdir()) == [clip, out] or list(tmp_path.iterdir()) == [out, clip]


@pytest.mark.parametrize(
    ("count", "fps", "written"), [(1, 5.0, 10), (3, 5.0, 10), (8, 5.0, 10), (1, 0.1, 1), (11, 5.0, 11)]
)
def test_a_short_clip_holds_its_last_frame_until_its_caption_can_be_read(
    tmp_path: Path, count: int, fps: float, written: int
) -> None:
    view, told = replace(view_of(*WORDS), pictures=(Picture(0), Picture(count - 1))), []
    short = replace(footage(count), fps=fps)
    write_overlay(short, view, tmp_path / "o.mp4", progress=lambda done, total: told.append((done, total)))
    frames = decoded(tmp_path / "o.mp4")
    assert len(frames) == written
    assert told == [(number, written) for number in range(1, written + 1)]
    for number, frame in enumerate(frames):
        assert abs(float(frame[420:470, 500:630].mean()) - level(min(number, count - 1))) <= 2
    whole = CaptionStrip(WORDS, 640, ("spatial", "temporal")).image(len(WORDS), "sampled frame 2 of 2")
    last = list(compose(short, view))[-1]
    assert np.array_equal(last[480:], whole)


@pytest.mark.parametrize("words", [1, 12, 300])
@pytest.mark.parametrize("total", [1, 2, 5, 40])
def test_the_last_frame_shows_all_words(total: int, words: int) -> None:
    shown = [words_shown(number, total, words) for number in range(total)]
    assert shown[-1] == words
    assert shown == sorted(shown)
    assert shown[0] == 1 or total == 1


def test_the_picture_is_untouched_outside_of_the_drawings() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    shown = Footage(2, 10.0, (480, 640), lambda: iter([noise, noise]))
    bare, drawn = (
        next(compose(shown, replace(view_of(*WORDS, nodes=nodes), size=(480, 640)))) for nodes in (False, True)
    )
    assert np.array_equal(bare[:480], noise)
    changed = (drawn[:480] != bare[:480]).any(axis=2)
    allowed = np.zeros_like(changed)
    allowed[36:206, 14:306] = True  # the boxes with their rims, their edges and the arrow
    allowed[0:40, 14:90] = True  # and the label above the first
    assert changed.any()
    assert not (changed & ~allowed).any()


def test_boxes_edges_and_labels_are_where_they_belong() -> None:
    frames = list(compose(footage(), view_of(*WORDS)))
    first, second = frames[5], frames[15]  # twice as large as the clip
    for x, y in ((40, 140), (160, 110), (100, 200), (240, 340), (300, 400)):
        assert any(near(first[y + i, x + j], BOX, 20) for i in range(-3, 4) for j in range(-3, 4)), (x, y)
    assert _line(first, (100, 140), (300, 340), COLOURS["spatial"])
    assert _line(first, (100, 140), (540, 140), COLOURS["temporal"])
    assert not _line(second, (100, 140), (300, 340), COLOURS["spatial"])
    assert any(near(second[140, 480 + j], BOX, 20) for j in range(-3, 4))
    for y, x in ((140, 40), (340, 240)):
        assert near(second[y, x], (level(15),) * 3, 2)
    # The label of a box is above it, where there is room.
    label = first[80 - 22 : 80 - 4, 44:90].reshape(-1, 3)
    assert np.mean([near(pixel, BOX, 30) for pixel in label]) > 0.4
    assert np.mean([near(pixel, (20, 22, 26), 90) for pixel in label]) > 0.05


@pytest.mark.parametrize(("source", "target", "head", "tail"), [(2, 0, 112, 528), (0, 2, 528, 112)])
def test_an_arrow_runs_as_messages_do_from_source_to_target(source: int, target: int, head: int, tail: int) -> None:
    view = replace(view_of(*WORDS), edges=(Edge(source, target, "temporal", 0.9),))
    first = list(compose(footage(), view))[5]
    red = np.abs(first[120:170].astype(int) - COLOURS["temporal"]).max(axis=2) <= 40
    assert red[:, head].sum() > red[:, tail].sum() + 3


def test_there_and_back_in_time_are_two_arrows_apart() -> None:
    view = replace(view_of(*WORDS), edges=(Edge(2, 0, "temporal", 0.9), Edge(0, 2, "temporal", 0.9)))
    first = list(compose(footage(), view))[5]
    red = np.abs(first[120:220, 320].astype(int) - COLOURS["temporal"]).max(axis=1) <= 40
    assert np.count_nonzero(red[1:] & ~red[:-1]) == 2


def test_edges_of_another_type_have_a_colour_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EDGE_TYPES, "close", 2)
    view = replace(view_of(*WORDS), edges=(Edge(0, 1, "close", 0.5), Edge(2, 0, "temporal", 0.9)))
    first = list(compose(footage(), view))[5]
    assert _line(first, (100, 140), (300, 340), colour_of("close"))
    assert _line(first, (100, 140), (540, 140), COLOURS["temporal"])
    assert (np.abs(first[480:].astype(int) - colour_of("close")).max(axis=2) == 0).any()  # in the legend below


def _line(frame: np.ndarray, start: tuple[int, int], end: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    """Whether a line of about a colour runs past the inner places between two others, bent but a little."""
    found = []
    for share in (0.4, 0.5, 0.6):
        x, y = (round(a + (b - a) * share) for a, b in zip(start, end, strict=True))
        window = frame[y - 18 : y + 19, x - 18 : x + 19].reshape(-1, 3).astype(int)
        found.append(bool((np.abs(window - colour).max(axis=1) <= 40).any()))
    return all(found)


def test_only_the_strongest_edges_are_drawn() -> None:
    nodes = tuple(Node(0, (40.0 + 60 * i, 100.0, 60.0 + 60 * i, 120.0)) for i in range(4))
    edges = (Edge(1, 0, "spatial", 0.2), Edge(2, 0, "spatial", 0.3), Edge(3, 0, "spatial", 0.4))
    view = replace(view_of(*WORDS), nodes=nodes, edges=edges)

    def reach(k: int) -> int:
        frame = next(compose(footage(), view, k=k))[:480]
        blue = (frame[..., 2].astype(int) - frame[..., 0] > 60).any(axis=0)
        return int(blue.sum())

    assert reach(0) == 0
    assert reach(1) > 300
    rows = [tuple(edge for edge in edges if edge.source == source) for source in (1, 2)]
    assert [reach(k) for k in (1, 2, 3)] == [reach(1)] * 3  # one above the other along one line: the longest tells
    longest = [
        int(
            ((f := next(compose(footage(), replace(view, edges=row), k=1))[:480])[..., 2].astype(int) - f[..., 0] > 60)
            .any(axis=0)
            .sum()
        )
        for row in rows
    ]
    assert 60 < longest[0] < longest[1] < reach(1)


def test_the_caption_grows_word_by_word() -> None:
    frames = list(compose(footage(), view_of(*WORDS)))
    strips = [frame[480:] for frame in frames]
    lit = [int((strip[:44].max(axis=2) > 120).sum()) for strip in strips]
    assert [words_shown(number, 20, 5) for number in (0, 3, 4, 16, 17, 19)] == [1, 1, 2, 5, 5, 5]
    assert sorted(lit) == lit
    assert len({strip[:44].tobytes() for strip in strips}) == 5
    assert len({frame.shape for frame in frames}) == 1
    # Words that are there stay where they are.
    assert (strips[0][:44].max(axis=2) > 120)[:, :20].sum() > 0
    assert strips[-1][:44, :20].max() > 120
    none = list(compose(footage(2), view_of(nodes=False)))
    assert len(none) == 20
    assert words_shown(0, 1, 0) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("</text><script>alert(1)</script>", "{{ 7 * 7 }}", "%s", "\x00\x1b[31m\n\n\n"),
        ("एक", "आदमी", "漢字かな交じり文", "שלום", "кот", "🙂"),
        ("w" * 5000,),
        tuple(f"word{number}" for number in range(300)),
        ("",),
    ],
)
def test_any_caption_stays_text_within_the_strip(tmp_path: Path, words: tuple[str, ...]) -> None:
    view = view_of(*words)
    view = replace(view, nodes=tuple(replace(node, name=words[0]) for node in view.nodes))
    short = replace(footage(4), fps=2.0)
    write_overlay(short, replace(view, pictures=(Picture(1), Picture(3))), tmp_path / "o.mp4")
    frames = decoded(tmp_path / "o.mp4")
    assert len(frames) == 4
    assert frames[0].shape[0] <= 480 + 220


def test_lines_are_wrapped_within_the_width() -> None:
    letters = font(20)
    for words in ((*["word"] * 30, "x" * 200, "end"), ("x" * 500,), ("i",), ()):
        lines = wrap(words, letters, 200)
        assert "".join(text for line in lines for _, text, _ in line) == "".join(words)
        for line in lines:
            assert all(x + letters.getlength(text) <= 200 for _, text, x in line)
            places = [x for _, _, x in line]
            assert places == sorted(places)
    long = CaptionStrip([f"word{number}" for number in range(100)], 320, ())
    assert len(long.lines) > 4
    assert not np.array_equal(long.image(99, ""), long.image(100, ""))  # the last lines move up into sight


def test_a_frame_shows_the_nearest_sampled_frame() -> None:
    view = view_of()
    assert [nearest_picture(view, number) for number in (0, 5, 10, 11, 19)] == [0, 0, 1, 1, 1]
    twice = replace(view, pictures=(Picture(3), Picture(3), Picture(9)))
    assert [nearest_picture(twice, number) for number in (0, 3, 7)] == [1, 1, 2]
    assert nearest_picture(replace(view, pictures=()), 3) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((240, 320), (480, 640)),
        ((96, 96), (640, 640)),
        ((1080, 1920), (720, 1280)),
        ((1920, 1080), (1080, 608)),
        ((481, 641), (480, 640)),
        ((3, 4000), (2, 1280)),
    ],
)
def test_pictures_have_even_sizes_that_can_be_read(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert picture_size(size) == expected


def test_a_clip_of_another_shape_of_the_world_and_a_narrow_one(tmp_path: Path) -> None:
    world = World(train=2, frames=24)
    view = replace(view_of(*WORDS, nodes=False), size=(96, 96))
    shown = Footage(24, float(world.fps), (96, 96), lambda: iter(world.render("train-00001", np.arange(24))))
    write_overlay(shown, view, tmp_path / "world.mp4")
    frames = decoded(tmp_path / "world.mp4")
    assert len(frames) == 24
    true = world.render("train-00001", np.arange(24))
    for number in (0, 23):
        small = frames[number][:640].reshape(32, 20, 32, 20, 3).mean(axis=(1, 3))
        assert np.abs(small - true[number].reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))).mean() < 5
    narrow = write_clip(tmp_path / "narrow.mp4", grey_frames(6, (1000, 100)))
    draw_over(narrow, replace(view, size=(1000, 100), pictures=(Picture(2),)), tmp_path / "narrow-out.mp4")
    assert decoded(tmp_path / "narrow-out.mp4")[0].shape[1] == 320


def test_a_clip_with_a_lost_packet_keeps_its_length(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "intra.mov", grey_frames(40), codec="png", pixels="rgb24")
    data = bytearray(clip.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 8] == b"\x89PNG\r\n\x1a\n"]
    for lost in (0, 10, 39):
        data[starts[lost] : starts[lost] + 8] = b"notimage"
    clip.write_bytes(data)
    with clip_footage(clip, workers=0) as found:
        assert (found.total, found.size) == (40, (48, 64))
        means = [round(float(frame.mean())) for frame in found.frames()]
    assert means == [level(1), *(level(9 if n == 10 else 38 if n == 39 else n) for n in range(1, 40))]


def test_a_turned_clip_is_upright(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "turned.mp4", grey_frames(4, (48, 64)), rotation=90)
    with clip_footage(clip, workers=0) as found:
        assert found.size == (64, 48)
        assert {frame.shape for frame in found.frames()} == {(64, 48, 3)}


def test_what_cannot_be_read_or_is_another_clip_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"'no.mp4' is not a video"):
        draw_over(tmp_path / "no.mp4", view_of(*WORDS), out)
    clip = write_clip(tmp_path / "v.mp4", grey_frames(20, (240, 160)))
    with pytest.raises(VideoError, match=r"video 'v': this is another clip, with 20 frames of 160x240; .* of 320x240"):
        draw_over(clip, view_of(*WORDS), out)
    clip = write_clip(tmp_path / "v.mp4", grey_frames(15, (240, 320)))
    with pytest.raises(VideoError, match=r"15 frames of 320x240; what is to be drawn .* at least 16 frames"):
        draw_over(clip, view_of(*WORDS), out)
    with pytest.raises(StgError, match=r"could not write .*gone/out.mp4: No such file or directory"):
        write_overlay(footage(), view_of(*WORDS), tmp_path / "gone" / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no.mp4", "v.mp4"]


def test_a_failure_midway_leaves_the_old_file(tmp_path: Path) -> None:
    def breaks() -> Iterator[np.ndarray]:
        yield from grey_frames(5, (240, 320))
        raise VideoError("gone")

    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    with pytest.raises(VideoError, match="gone"):
        write_overlay(Footage(20, 10.0, (240, 320), breaks), view_of(*WORDS), out)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert out.read_bytes() == b"old"
    with pytest.raises(VideoError, match="video 'v' gives no frame"):
        write_overlay(Footage(20, 10.0, (240, 320), lambda: iter(())), view_of(*WORDS), out)
    assert out.read_bytes() == b"old"


def test_killed_midway_leaves_no_file_at_the_target(tmp_path: Path, python: list[str]) -> None:
    code = f"""
import os
import numpy as np
from stg.pages.videos.overlay_film import Footage, write_overlay
from stg.pages.videos.views import VideoView
def frames():
    while True:
        yield np.zeros((48, 64, 3), np.uint8)
def tell(done, total):
    if done == 40:
        print(os.getpid(), flush=True)
write_overlay(Footage(10**6, 25.0, (48, 64), frames), VideoView("v"), {str(tmp_path / "out.mp4")!r}, progress=tell)
"""
    with subprocess.Popen([*python, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        os.kill(int(child.stdout.readline()), signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.mp4").exists()
    assert len(list(tmp_path.iterdir())) == 1  # the unfinished one, under a hidden name
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())


def test_frames_stream_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alive, most = 0, 0

    class Frame(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def frames() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for _ in range(30):
            frame = np.zeros((48, 64, 3), np.uint8).view(Frame)
            alive += 1
            most = max(most, alive)
            yield frame
            del frame

    view = replace(view_of(*WORDS, nodes=False), size=(48, 64))
    write_overlay(Footage(30, 10.0, (48, 64), frames), view, tmp_path / "o.mp4")
    assert most <= 3


@pytest.mark.parametrize("encoder", ["mpeg4"])
def test_without_h264_another_encoder_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: str) -> None:
    monkeypatch.setattr(stg.video.film, "ENCODERS", ("no-such-encoder", encoder))
    thirty = replace(footage(10), fps=30000 / 1001)
    write_overlay(thirty, replace(view_of(*WORDS), pictures=(Picture(2), Picture(7))), tmp_path / "o.mp4")
    with av.open(tmp_path / "o.mp4") as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == encoder
        assert stream.average_rate == Fraction(30000, 1001)
        assert len(list(file.decode(video=0))) == 60


@pytest.mark.parametrize("turned", [False, True])
def test_an_edge_and_an_arrow_between_two_places_lie_apart(turned: bool) -> None:
    """Nothing moves, and the arrows go from each box to the other's place; the blue edge stays in sight."""
    left, right = (40.0, 100.0, 80.0, 140.0), (240.0, 100.0, 280.0, 140.0)
    nodes = tuple(Node(frame, box) for frame in (0, 1) for box in ((right, left) if turned else (left, right)))
    edges = (Edge(0, 1, "spatial", 0.5), Edge(3, 0, "temporal", 0.5), Edge(2, 1, "temporal", 0.5))
    first = next(compose(footage(), replace(view_of(*WORDS), nodes=nodes, edges=edges)))
    column = first[200:280, 320].astype(int)
    blue, red = column[:, 2] - column[:, 0] > 60, column[:, 0] - column[:, 2] > 60
    assert blue.sum() >= 2
    assert red.sum() >= 2
    assert np.flatnonzero(blue).max() + 8 < np.flatnonzero(red).min()


def with_sound(path: Path, film: Path, *, film_from: float, tone_from: float, channels: str, rate: int = 44100) -> Path:
    """Two seconds of a tone from one moment on, and a film from another."""
    with av.open(film) as source, av.open(path, "w") as file:
        picture = file.add_stream_from_template(source.streams.video[0])
        sound = file.add_stream("pcm_s16le", rate=rate, layout=channels)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                shift = round(film_from / packet.time_base)
                packet.stream, packet.pts, packet.dts = picture, packet.pts + shift, packet.dts + shift
                file.mux(packet)
        for start in range(0, 2 * rate, 1000):
            wave = np.rint(20000 * np.sin(2 * np.pi * 500 * (start + np.arange(1000)) / rate)).astype(np.int16)
            samples = np.tile(wave[:, None], (1, sound.layout.nb_channels)).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, "s16", channels)
            frame.sample_rate, frame.pts, frame.time_base = rate, start + round(tone_from * rate), Fraction(1, rate)
            file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("channels", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize(("film_from", "tone_from"), [(0.0, 0.0), (0.0, 2.5), (1.0, 0.0)])
def test_the_sound_stays_at_its_place(tmp_path: Path, channels: str, film_from: float, tone_from: float) -> None:
    film = write_clip(tmp_path / "film.mp4", grey_frames(10, (240, 320)), rate=Fraction(5, 2))
    how = {"film_from": film_from, "tone_from": tone_from, "channels": channels}
    clip = with_sound(tmp_path / "clip.mkv", film, **how)
    view = replace(view_of(*WORDS), pictures=(Picture(2), Picture(7)))
    draw_over(clip, view, tmp_path / "out.mp4")
    with av.open(tmp_path / "out.mp4") as file:
        heard = np.zeros(5 * 48000)
        for frame in file.decode(audio=0):
            at = round(frame.time * 48000)
            samples = frame.to_ndarray()[0][max(-at, 0) :]
            heard[max(at, 0) : max(at, 0) + len(samples)] = samples
    loud = np.flatnonzero(np.abs(heard) > 0.2) / 48000
    begin, end = max(tone_from - film_from, 0), tone_from - film_from + 2
    assert loud[[0, -1]] == pytest.approx([begin, end], abs=0.05)
    assert np.abs(np.fft.rfft(heard[round((begin + 0.2) * 48000) :][:24000])).argmax() == 250  # 500 Hz
    assert len(decoded(tmp_path / "out.mp4")) == 10


def test_each_frame_is_shown_at_its_own_time(tmp_path: Path) -> None:
    times = [0, *(3000 + 20 * number for number in range(19))]
    clip = write_clip(tmp_path / "clip.mp4", grey_frames(20, (240, 320)), pts=times, options={"bf": "0"})
    draw_over(clip, view_of(*WORDS), tmp_path / "out.mp4")
    with av.open(tmp_path / "out.mp4") as file:
        found = [frame.time for frame in file.decode(video=0)]
        assert found == pytest.approx([time / 1000 for time in times], abs=1e-3)
        assert not file.streams.audio


def test_a_film_by_other_processes_is_the_one_by_this_one(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "film.mp4", grey_frames(12, (48, 64)), pts=[0, 300, *range(900, 1900, 100)])
    clip = with_sound(tmp_path / "clip.mkv", film, film_from=0.5, tone_from=0.0, channels="stereo")
    view = replace(view_of(*WORDS, nodes=False), size=(48, 64), pictures=(Picture(2), Picture(7)))
    for workers in (0, 1):
        draw_over(clip, view, tmp_path / f"{workers}.mp4", workers)
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
    with av.open(tmp_path / "1.mp4") as file:
        assert file.streams.audio[0].frames > 60
        assert [frame.time for frame in file.decode(video=0)][:3] == pytest.approx([0, 0.3, 0.9], abs=1e-3)


@pytest.mark.parametrize(
    ("read", "deed", "why"),
    [
        ("read_footage", "crash", r"the decoder crashed \(signal SIGSEGV\)"),
        ("read_footage", "hang", "no result within 2 s: the decoder hangs"),
        ("read_sound", "hang", "no result within 2 s: the decoder hangs"),
        ("read_sound", "greedy", r"out of memory \(limit 4.0 GiB\)"),
    ],
)
def test_a_bad_decoder_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, deed: str, why: str
) -> None:
    film = write_clip(tmp_path / "film.mp4", grey_frames(20, (240, 320)))
    clip = with_sound(tmp_path / f"{deed}.mkv", film, film_from=0.0, tone_from=0.0, channels="mono")
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    monkeypatch.setattr(clip_films, read, getattr(make_readers, read))
    with pytest.raises(VideoError, match=f"'{deed}.mkv': {why}"), clip_footage(clip, 2.0) as found:
        write_overlay(found, view_of(*WORDS), out)
    assert out.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("last", [2**31 - 1, 2**60])
def test_a_clock_that_no_film_can_hold_is_refused(tmp_path: Path, last: int) -> None:
    clip = write_clip(tmp_path / "v.mkv", grey_frames(6), pts=[0, 40, 80, 120, 160, last], options={"bf": "0"})
    with pytest.raises(VideoError, match=r"'v.mkv': one frame stands for \S+ s by its time stamps, .* 21600 s"):
        draw_over(clip, view_of(), tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [clip]


def test_sound_that_no_film_can_hold_is_left_out(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "film.mp4", grey_frames(10, (240, 320)), rate=Fraction(5, 2))
    clip = with_sound(tmp_path / "clip.mkv", film, film_from=0.0, tone_from=2e6, channels="mono")
    draw_over(clip, replace(view_of(*WORDS), pictures=(Picture(2), Picture(7))), tmp_path / "out.mp4")
    with av.open(tmp_path / "out.mp4") as file:
        assert not file.streams.audio
        assert file.streams.video[0].frames == 10
