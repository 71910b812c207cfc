"""Pictures too large and videos too long: neither may cost memory (faults A9, A10)."""

import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from stg.video.clip import ClipRequest
from stg.video.decoding import MAX_PIXELS, sample_video
from tests.stg.make_clips import grey_frames, level, write_clip

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status to see the peak of memory")


@reads_proc
@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("giant.mp4", {"options": {"preset": "ultrafast", "rc-lookahead": "0"}}, "4096x4096 = 16777216 pixels"),
        ("giant.mkv", {"codec": "mjpeg", "pixels": "yuvj420p"}, "unknown size, or too large"),
    ],
)
def test_a_giant_picture_is_refused_before_it_is_decoded(tmp_path: Path, name: str, how: dict, words: str) -> None:
    """Left alone, merely opening the second file decodes its picture."""
    giant = write_clip(tmp_path / name, [np.zeros((4096, 4096, 3), np.uint8)], **how)
    small = write_clip(tmp_path / "small.mp4", grey_frames(2))
    told, grown = _child(_measured(small, giant, max_pixels=2**22)).splitlines()
    assert told == f"'{name}' has pictures of {words}; the limit is 4194304 pixels"
    assert int(grown) < 12  # MiB; one decoded picture is 24, its conversion twice as much
    assert signature(sample_video).parameters["max_pixels"].default == ClipRequest().max_pixels == MAX_PIXELS == 2**25


def _measured(small: Path, path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """Code that tells what `sample_video` says of `path`, and by how many MiB it grows the process beyond `small`."""
    return f"""
import re
from stg.video.decoding import VideoError, sample_video

def peak():  # of this very process: ru_maxrss would begin with that of its parent
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])

sample_video({str(small)!r})
before = peak()
try:
    sample = sample_video({str(path)!r}, max_pixels={max_pixels})
    print(sample.total_frames, *sample.frame_number.tolist())
except VideoError as error:
    print(error)
print((peak() - before) // 1024)
"""


@reads_proc
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    pictures = [np.full((160, 160, 3), level(number), np.uint8) for number in range(50)]
    options = {"preset": "ultrafast"}
    path = write_clip(tmp_path / "long.mp4", pictures * 40, rate=1000, options=options)
    small = write_clip(tmp_path / "small.mp4", pictures, rate=1000, options=options)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))"
    told, grown = _child(limit + _measured(small, path)).splitlines()
    assert told.split() == ["2000", *(str(number) for number in range(100, 2000, 200))]
    assert int(grown) < 32  # MiB; all pictures are 146


def _child(code: str) -> str:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
