"""Extraction as a Ray job: bad clips are rows, and the job goes on (fault F10). Starts a real local Ray, once."""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stg.features.ray_job import ENVIRONMENT, RayRow, _running, extract_with_ray
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from tests.stg.commands.test_extract_scale import Bench
from tests.stg.make_clips import write_clip
from tests.stg.make_ray_extractor import build

# What Ray says about its own code while it is imported and set up.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`use_[a-z0-9_]*` is deprecated:DeprecationWarning:ray.data.context"),
    # Of earlier versions: what later ones will do, and files and processes that are left to the garbage collector.
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A local Ray, which is started once: that takes longer than the jobs."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in ENVIRONMENT.items():
            patch.setenv(variable, value)
        found = pytest.importorskip("ray")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # so that Ray's workers find the helper, too
        handler = signal.getsignal(signal.SIGTERM)
        with _running(2):
            assert signal.getsignal(signal.SIGTERM) is handler
            yield found
        assert not found.is_initialized()


def test_bad_clips_are_rows(ray: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from ray.data import DataContext

    before = DataContext.get_current().enable_progress_bars, set(logging.getLogger("ray.data").handlers)
    handler = signal.getsignal(signal.SIGTERM)
    clips = {f"v{number}": tmp_path / f"clip {number}\n.mp4" for number in range(14)}
    clips["v3"] = tmp_path / os.fsdecode(b"-\xff.mp4")
    found = {}
    for row in extract_with_ray(clips, {"word": "done"}, build, workers=2):
        assert row.video not in found
        found[row.video] = row
    assert ray.is_initialized()  # it was not the job's to stop
    with pytest.raises(UserError, match="there are no weights"):
        list(extract_with_ray({"v0": clips["v0"]}, {"word": "wrong"}, build, workers=1))
    assert signal.getsignal(signal.SIGTERM) is handler
    assert found.keys() == clips.keys()
    assert found["v7"] == RayRow("v7", None, f"{clips['v7'].name!r} is broken", "read", "VideoError")
    assert found["v8"] == RayRow("v8", None, "bad \\udcff luck", "extract", "RuntimeError")
    assert found["v9"] == RayRow("v9", None, "the worker's process died at this clip, 2 times", "worker", "WorkerDied")
    good = [row for video, row in found.items() if video not in ("v7", "v8", "v9")]
    assert all(row.record == f"done {row.video} ".encode() + os.fsencode(clips[row.video].name) for row in good)
    assert all(row == RayRow(row.video, row.record) for row in good)
    assert (DataContext.get_current().enable_progress_bars, set(logging.getLogger("ray.data").handlers)) == before
    told = "".join(capfd.readouterr())
    assert "Dataset" not in told  # Ray Data's own lines
    assert "Progress" not in told


def test_a_ray_job_stores_the_same_bytes_and_the_broken_clip_is_a_row(ray: Any, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.run("alone", "--workers", "0") == 0
    assert bench.run("ray", "--engine", "ray", "--workers", "1") == 0
    assert ray.is_initialized()
    assert bench.records("ray") == bench.records("alone")
    rows = bench.skipped("ray")
    assert [(row["id"], row["stage"], row["error"]) for row in rows] == [("zbroken", "read", "VideoError")]
    facts = [json.loads(line) for line in (bench.folder / "ray.clips.jsonl").read_text().splitlines()]
    assert {row["id"]: row["total_frames"] for row in facts} == {f"clip{number}": 8 for number in range(4)}
    assert {row["id"]: row["sha256"] for row in facts} == {
        path.stem: sha256_file(path) for path in bench.clips.glob("clip*")
    }
    rng = np.random.default_rng(1)
    write_clip(bench.clips / "clip1.mp4", list(rng.integers(0, 255, (9, 64, 64, 3), np.uint8)))
    assert bench.run("ray", "--engine", "ray", "--workers", "2") == 2
    before = bench.records("ray")
    assert bench.run("ray", "--engine", "ray", "--workers", "1", "--refresh") == 0
    after = bench.records("ray")
    assert {video for video in after if after[video] != before[video]} == {"clip1"}
    facts = [json.loads(line) for line in (bench.folder / "ray.clips.jsonl").read_text().splitlines()]
    assert (facts[-1]["id"], facts[-1]["total_frames"]) == ("clip1", 9)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(UserError, match=r"Ray is not installed .*: pip install 'stg-video\[ray\]'"):
        extract_with_ray({}, {}, build)


def test_the_number_of_workers_is_checked() -> None:
    with pytest.raises(UserError, match="workers must be at least 1; got 0"):
        extract_with_ray({}, {}, build, workers=0)
