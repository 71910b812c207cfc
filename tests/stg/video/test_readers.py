"""Child processes that read clips: what a bad decoder may not do to the others (faults A13, A10, A15)."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stg.runtime.errors import StgError, UserError
from stg.video.clip import AudioChunk, ClipPart, ClipRequest, Segment, SegmentRequest
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames, VideoError
from stg.video.reader_process import receive, request_from, request_values, send_part
from stg.video.readers import Readers
from tests.stg.make_clips import grey_frames, level, write_clip
from tests.stg.make_readers import act, sound

ROOT = Path(__file__).resolve().parents[3]


def acting(workers: int = 1, time_limit: float = 20.0, memory: int = 2**29) -> Readers:
    return Readers(ClipRequest(), workers, time_limit, memory, act)


def named(*names: str) -> dict[str, Path]:
    return {name: Path(f"{name}.avi") for name in names}


def told(readers: Readers, clips: dict[str, Path]) -> dict[str, str]:
    """What became of each clip: its error, or the first number of each part but the first."""
    found = {}
    for video, parts in readers.open(clips):
        try:
            found[video] = " ".join(f"{part.examples[0, 0, 0]:g}" for part in list(parts)[1:])  # type: ignore[union-attr]
        except VideoError as error:
            found[video] = str(error)
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def gone(pid: int, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def pid_of(part: ClipPart) -> int:
    assert isinstance(part, AudioChunk)
    return int(part.examples[0, 0, 0])


def test_a_crash_costs_one_clip() -> None:
    clips = named("a", "crash", "bb", "killed", "leave", "broken", "fault", "disk", "nonsense", "chatty", "ccc")
    with acting(workers=2) as readers:
        found = told(readers, clips)
    assert list(found) == list(clips)
    assert (found["a"], found["bb"]) == ("5 5", "6 6")
    assert found["ccc"] == "7 7"
    assert found["crash"] == "'crash.avi': the decoder crashed (signal SIGSEGV)"
    assert found["killed"].startswith("'killed.avi': the decoder was killed (signal SIGKILL), most often because")
    assert found["leave"] == "'leave.avi': the decoder ended its process with code 7"
    assert found["broken"] == "'broken.avi' is broken"
    assert found["fault"].startswith("'fault.avi' was given up through a fault of this program")
    assert "TypeError: 3 is not a frame (make_readers.py line " in found["fault"]
    assert found["disk"] == "'disk.avi' cannot be read: Input/output error"
    assert re.search("TypeError: a clip has parts SampledFrames, .*; got str", found["nonsense"])
    assert found["chatty"] == "10 10"


def test_a_hang_costs_its_time_limit_once() -> None:
    start = time.monotonic()
    with acting(workers=2, time_limit=1.0) as readers:
        found = told(readers, named("a", "hang", "bb"))
    assert (found["a"], found["bb"]) == ("5 5", "6 6")
    assert found["hang"] == (
        "'hang.avi': no result within 1 s: the decoder hangs, or it is slow and time_limit too short"
    )
    assert time.monotonic() - start < 200  # the clip sleeps for 1,000 s


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may not enforce the limit")
def test_a_clip_that_eats_memory_meets_the_limit() -> None:
    with acting(memory=2**28) as readers:
        found = told(readers, named("greedy", "a"))
    assert found == {"greedy": "'greedy.avi': out of memory (limit 0.2 GiB)", "a": "5 5"}


def test_the_limit_on_time_is_for_the_whole_clip_and_for_waiting_only() -> None:
    with acting(time_limit=2.0) as readers:
        for _, parts in readers.open(named("a")):
            for _ in parts:
                time.sleep(0.8)  # slow ourselves
        for _, parts in readers.open(named("endless")):
            with pytest.raises(VideoError, match="no result within"):
                deque(parts, maxlen=0)


def same(one: ClipPart, other: ClipPart) -> bool:
    assert type(one) is type(other)
    for name, value in vars(one).items():
        twin = getattr(other, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == twin.dtype
            assert value.shape == twin.shape
            assert value.tobytes() == twin.tobytes()
        else:
            assert value == twin
            assert type(value) is type(twin)
    return True


HOSTILE = [
    "-x.avi",
    "two words.mp4",
    "new\nline.mp4",
    "\N{GRINNING FACE}.mkv",
    os.fsdecode(b"\xff\xfe.mp4"),
    "plain.mp4",
]


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Path]:
    made = write_clip(tmp_path / "made.mp4", grey_frames(40))
    files = {}
    for number, name in enumerate(HOSTILE):
        path = tmp_path / name
        try:
            path.write_bytes(made.read_bytes())
        except OSError:
            pytest.skip("this file system refuses such names")
        files[f"v{number}"] = path
    return files


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_bytes_are_those_of_reading_here(clips: dict[str, Path], workers: int) -> None:
    request = ClipRequest(num_frames=4, sampling="linspace")
    expected = [(video, list(parts)) for video, parts in Readers(request, 0).open(clips)]
    with Readers(request, workers) as readers:
        found = [(video, list(parts)) for video, parts in readers.open(clips)]
        again = [(video, list(parts)) for video, parts in readers.open(clips)]
    assert [video for video, _ in found] == [video for video, _ in again] == list(clips)
    for (_, one), (_, other), (_, third) in zip(expected, found, again, strict=True):
        assert all(same(a, b) and same(a, c) for a, b, c in zip(one, other, third, strict=True))
    sample = found[0][1][0]
    assert isinstance(sample, SampledFrames)
    assert sample.video == "-x"
    assert sample.frames.mean(axis=(1, 2, 3)).tolist() == pytest.approx([level(n) for n in (0, 13, 26, 39)], abs=2)


def test_a_real_clip_that_is_broken_says_the_same_here_and_there(tmp_path: Path) -> None:
    files = {"none": tmp_path / "none.mp4", "empty": tmp_path / "empty.mp4"}
    files["empty"].touch()
    words = []
    for workers in (0, 1):
        with Readers(ClipRequest(), workers) as readers:
            for _, parts in readers.open(files):
                with pytest.raises(VideoError) as caught:
                    list(parts)
                words.append(str(caught.value))
    assert words[:2] == words[2:]
    assert "could not open 'none.mp4'" in words[0]
    assert "the file is empty" in words[1]


def test_errors_in_this_process_are_told_as_those_of_a_child() -> None:
    readers = acting(workers=0)
    found = told(readers, named("a", "fault", "disk", "broken"))
    assert found["a"] == "5 5"
    assert "fault of this program, please report it: TypeError: 3 is not a frame" in found["fault"]
    assert found["disk"] == "'disk.avi' cannot be read: Input/output error"


def test_a_wrong_request_is_no_fault_of_the_clip() -> None:
    for workers in (0, 1):
        with acting(workers) as readers:
            for _, parts in readers.open(named("request", "request-2")):
                with pytest.raises(UserError, match="the request is wrong") as caught:
                    list(parts)
                assert type(caught.value) is UserError


def test_children_load_no_torch() -> None:
    with acting() as readers:
        assert told(readers, named("modules")) == {"modules": "0"}
    # The same of what is read by default, which is imported in the clip's course.
    code = "import sys, stg.video.readers, av; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_children_are_kept_from_clip_to_clip_and_read_ahead() -> None:
    with acting(workers=2) as readers:
        pids = [pid_of(next(parts)) for _, parts in readers.open(named("a", "b", "c", "d"))]
        more = [pid_of(next(parts)) for _, parts in readers.open(named("a"))]
    assert pids[:2] == pids[2:]
    assert len({*pids, *more}) == 2


def test_the_next_clip_is_begun_before_it_is_asked_for(tmp_path: Path) -> None:
    touched = tmp_path / "touch.avi"
    with acting() as readers:
        clips = readers.open({"a": Path("a.avi"), "b": touched})
        _, parts = next(clips)
        assert len(list(parts)) == 3
        end = time.monotonic() + 5
        while not touched.exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert touched.exists()


def test_a_clip_may_be_left_before_its_end() -> None:
    with acting(workers=2) as readers:
        left = []
        for video, parts in readers.open(named("a", "endless", "hang", "b", "c")):
            left.append(parts)
            if video == "endless":
                pid = pid_of(next(parts))
            elif video in "bc":
                assert len(list(parts)) == 3
        assert gone(pid)
        for parts in left[:3]:
            with pytest.raises(RuntimeError, match="the parts of this clip are gone"):
                next(parts)


def test_one_round_at_a_time() -> None:
    with acting() as readers:
        first = readers.open(named("a", "b"))
        next(first)
        with pytest.raises(RuntimeError, match="at work on other clips"):
            next(readers.open(named("c")))
        first.close()  # type: ignore[attr-defined]
        assert told(readers, named("c")) == {"c": "5 5"}


def test_closing_ends_the_children_at_once() -> None:
    readers = acting(workers=2)
    clips = readers.open(named("hang-1", "hang-2"))
    _, parts = next(clips)
    pid = pid_of(next(parts))
    start = time.monotonic()
    readers.close()
    readers.close()
    assert time.monotonic() - start < 200  # the clips sleep for 1,000 s
    assert gone(pid)
    with pytest.raises(RuntimeError, match="or the readers closed"):
        next(parts)


PARENT = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from tests.stg.make_readers import act
from stg.video.clip import ClipRequest
from stg.video.readers import Readers
with Readers(ClipRequest(), 2, read=act) as readers:
    clips = readers.open({{name: Path(name) for name in ("hang-1.avi", "hang-2.avi")}})
    for _, parts in clips:
        for part in parts:
            print(int(part.examples[0, 0, 0]), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_child_outlives_its_parent(number: int) -> None:
    code = PARENT.format(paths=[str(ROOT), str(Path(__file__).parent)])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        os.killpg(parent.pid, number)  # as the terminal does
        parent.wait(10)
    assert str(pid) in children
    assert len(children) == 2
    assert all(gone(int(child)) for child in children)


def test_a_child_that_died_in_between_is_replaced() -> None:
    with acting() as readers:
        (pid,) = [pid_of(next(parts)) for _, parts in readers.open(named("a"))]
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        time.sleep(0.2)  # the first thread is; this is for the others
        assert told(readers, named("b")) == {"b": "5 5"}


def test_a_child_that_does_not_start_is_no_fault_of_the_clip(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(sys, "path", [*(item for item in sys.path if "site-packages" not in item)])
    with acting() as readers:
        for _, parts in readers.open(named("a", "b")):
            with pytest.raises(StgError, match=r"a reading process did not start \(code 1\); it says why above"):
                next(parts)
    assert "ModuleNotFoundError" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded_however_many_parts() -> None:
    with acting(memory=2**28) as readers:
        clips = readers.open(named("endless"))
        _, parts = next(clips)
        pid = pid_of(next(parts))
        for _ in range(200):
            next(parts)  # 2.4 MB each
        peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 120 * 1024


def parts_of_each_kind() -> Iterator[ClipPart]:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (2, 3, 5, 3), np.uint8)
    yield SampledFrames("id \udcff\n", frames[:, :, ::-1], np.array([3, 9]), 10, 1 / 3, True, 2, 11)
    yield Segment(7, frames)
    yield AudioChunk(random.normal(size=(2, 96, 64)).astype(np.float32), np.array([True, False]))
    yield sound(0, count=0)


def test_parts_survive_the_pipe(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with path.open("wb", buffering=0) as stream:
        for part in parts_of_each_kind():
            send_part(stream, part)
    with path.open("rb") as stream:
        for part in parts_of_each_kind():
            assert same(part, receive(stream)["part"])
        with pytest.raises(EOFError):
            receive(stream)


def test_objects_are_not_taken_from_a_child(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    header = b'{"kind": "part", "type": "AudioChunk", "values": {}, "arrays": [["audible", "|O", [1]]]}\n'
    path.write_bytes(header + bytes(8))
    with path.open("rb") as stream, pytest.raises(ValueError, match="an array of object"):
        receive(stream)


@pytest.mark.parametrize(
    "request_",
    [ClipRequest(), ClipRequest(3, "linspace", 5, 6, SegmentRequest(16, (7, 8), (5, 4)), True)],
)
def test_requests_survive_the_pipe(request_: ClipRequest) -> None:
    import json

    assert request_from(json.loads(json.dumps(request_values(request_)))) == request_


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="workers must not be negative; got -1"):
        Readers(ClipRequest(), -1)
    with pytest.raises(UserError, match="time_limit and memory must be positive; got 0"):
        Readers(ClipRequest(), 1, 0.0)
    with pytest.raises(ValueError, match="read must be a function at the top of a module"):
        Readers(ClipRequest(), 1, read=lambda path, request: iter(()))
    assert Readers(ClipRequest(), read=read_clip).workers == 1
