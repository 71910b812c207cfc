"""What of a folder is a clip, and what is said of the rest."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stg.datasets.folder import clip_id
from stg.runtime.errors import UserError
from stg.video.clips import SUFFIXES, find_clips, list_clips
from stg.video.decoding import sample_video
from tests.stg.make_clips import grey_frames, level, write_clip

FORMS = {
    "mpegts": (".ts", ".mts", ".m2ts", ".m2t", ".trp"),
    "matroska": (".mkv", ".mk3d"),
    "webm": (".webm",),
    "avi": (".avi", ".divx"),
    "vob": (".mpg", ".mpeg", ".mpe", ".vob", ".mod", ".tod"),
    "flv": (".flv",),
    "ogg": (".ogv", ".ogm"),
    "asf": (".wmv", ".asf"),
    "mov": (".mov", ".qt"),
    "3gp": (".3gp", ".3gpp"),
    "3g2": (".3g2", ".3gp2"),
    "mp4": (".mp4", ".m4v", ".mj2"),
    "f4v": (".f4v",),
}
CODECS = {"webm": "libvpx", "vob": "mpeg2video", "ogg": "libtheora", "asf": "wmv2"}


def test_every_suffix_is_found_in_either_case_and_decodes(tmp_path: Path) -> None:
    forms = [(form, suffix) for form, suffixes in FORMS.items() for suffix in suffixes]
    made = {
        form: write_clip(tmp_path / form, grey_frames(5), container=form, codec=CODECS.get(form, "libx264"))
        for form in FORMS
        if form != "ogg" or "libtheora" in av.codecs_available
    }
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, (form, suffix) in enumerate(forms):
        if form in made:
            (folder / f"{number}{suffix}").write_bytes(made[form].read_bytes())
            (folder / f"{number}up{suffix.upper()}").write_bytes(b"")
    found = find_clips((str(folder),))
    assert len(found) == 2 * sum(form in made for form, _ in forms)
    for number, (form, _) in enumerate(forms):
        if form in made:
            assert sample_video(found[str(number)], 1).frames.mean() == pytest.approx(level(2), abs=4)
    assert {clip_id(f"x{suffix.upper()}", "row 1") for suffix in SUFFIXES} == {"x"}
    assert {suffix for _, suffix in forms} | {".gif"} == set(SUFFIXES)


def test_a_gif_is_a_clip(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.gif", "w") as file:
        stream = file.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for value in (0, 255, 255, 255):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), "rgb24").reformat(format="rgb8")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    sample = sample_video(find_clips((str(tmp_path),))["a"], 4)
    assert sample.frames.mean((1, 2, 3)) == pytest.approx([0, 255, 255, 255], abs=4)
    assert Fraction(sample.fps).limit_denominator(100) == 10


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A folder as it comes from a Mac's stick."""
    for name in ("a.mp4", "._a.mp4", ".DS_Store", "notes.txt", "b.MTS", "cover.jpg", "more.txt", "README"):
        (tmp_path / name).write_bytes(b"")
    for name in ("day/c.mov", "day/._c.mov", "day/night/d.mkv", "day/x.txt", ".Trashes/e.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "captions.csv").write_text("video,caption")
    (tmp_path / "link").symlink_to(tmp_path)
    return tmp_path


def test_hidden_files_and_other_kinds_are_left_out_and_counted(stick: Path) -> None:
    found = list_clips((str(stick),))
    assert [path.name for path in found.paths] == ["a.mp4", "b.MTS"]
    assert found.left_out == (
        "left out: 2 clips in subfolders (--recursive takes them); 4 files that are no clips by their suffix (2 .txt, "
        "1 .jpg, 1 without suffix); 2 hidden files (names that start with a dot)"
    )


def test_subfolders_are_searched_when_asked_for(stick: Path) -> None:
    found = list_clips((str(stick),), recursive=True)
    assert {path.name for path in found.paths} == {"a.mp4", "b.MTS", "c.mov", "d.mkv"}
    assert found.left_out == (
        "left out: 5 files that are no clips by their suffix (3 .txt, 1 .jpg, 1 without suffix); 3 hidden files (names "
        "that start with a dot)"
    )
    (stick / "day" / "a.avi").write_bytes(b"")
    with pytest.raises(UserError, match=r"two clips would have the id 'a'"):
        find_clips((str(stick),), recursive=True)


def test_a_folder_whose_clips_are_all_below_says_so(stick: Path) -> None:
    (stick / "a.mp4").unlink()
    (stick / "b.MTS").unlink()
    with pytest.raises(
        UserError, match=r"holds no clips .*; left out: 2 clips in subfolders \(--recursive takes them\)"
    ):
        list_clips((str(stick),))


def test_what_is_named_is_taken_whatever_it_is_called(stick: Path) -> None:
    found = list_clips((str(stick / "._a.mp4"), str(stick / "notes.txt")))
    assert (len(found.paths), found.left_out) == (2, "")
