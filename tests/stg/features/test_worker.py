"""A worker's record of a clip is that of the plain command, to the byte."""

import importlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from graphs import GraphStore
from stg.commands.extract import main
from stg.commands.parser import run_command
from stg.config.extraction import ExecutionConfig, ExtractConfig, NetworkConfig, SamplingConfig
from stg.features.worker import ClipToRecord, pack, unpack
from stg.video.decoding import VideoError
from stg.video.readers import Readers
from tests.stg.commands.test_caption import clip
from tests.stg.make_networks import write_backbone, write_detector
from tests.stg.make_torch_networks import shrink, write_i3d, write_image, write_vggish
from tests.stg.make_torch_networks import write_detector as write_torch_detector

RESNEXT = "fasterrcnn_resnext101_fpn"


@pytest.fixture(scope="module", autouse=True)
def _shrunk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


def test_the_record_is_that_of_the_command(tmp_path: Path) -> None:
    networks = NetworkConfig(
        detector=RESNEXT,
        detector_weights=str(write_torch_detector(tmp_path / "eye.pth", RESNEXT)),
        backbone_weights=str(write_image(tmp_path / "image.pth")),
        motion="i3d",
        motion_weights=str(write_i3d(tmp_path / "rgb.pt", 3)),
        motion_span=9,
        sound="vggish",
        sound_weights=str(write_vggish(tmp_path / "ear.pth")),
    )
    sampling = SamplingConfig(num_frames=3, threshold=0.2, objects="image+motion", grid=True)
    clips = [clip(tmp_path / f"clip{i}.mp4", seed=i) for i in range(2)]
    given = {**vars(networks), **vars(sampling), "out": tmp_path / "store", "threads": 1, "workers": 0}
    options = [str(item) for name, value in given.items() if value is not None for item in (f"--{name}", value)]
    assert run_command(ExtractConfig, main, "", [*options, "--", *map(str, clips)]) == 0
    facts = [json.loads(line) for line in (tmp_path / "store.clips.jsonl").read_text().splitlines()]
    with GraphStore(tmp_path / "store") as store:
        worker = ClipToRecord(networks, sampling, ExecutionConfig(threads=1), store.features_dtype)
        with closing(worker):
            assert worker.extractor.manifest() == store.manifest
            for row, path in zip(facts, clips, strict=True):
                assert unpack(worker.extract_one(path.stem, path)) == (row, store.record(path.stem))
        assert store.record("clip0") != store.record("clip1")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[ClipToRecord]:
    """One with tiny ONNX networks."""
    detector, backbone = write_detector(tmp_path / "eye.onnx"), write_backbone(tmp_path / "net.onnx")
    networks = NetworkConfig(detector=str(detector), backbone=str(backbone))
    with closing(ClipToRecord(networks, SamplingConfig(num_frames=4), ExecutionConfig(threads=1), "float16")) as made:
        yield made


CRASH = """
import os, signal
from stg.video.clips import read_clip
def read(path, request):
    yield next(read_clip(path, request))
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_reader_that_crashes_costs_one_clip(
    worker: ClipToRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, usual = clip(tmp_path / "clip0.mp4"), worker.readers
    (tmp_path / "made_crash.py").write_text(CRASH)
    monkeypatch.syspath_prepend(tmp_path)
    with Readers(usual.request, 1, read=importlib.import_module("made_crash").read) as worker.readers:
        for _ in range(2):
            with pytest.raises(VideoError, match=r"'clip0.mp4': the decoder crashed") as crash:
                worker.extract_one("clip0", path)
    worker.readers = usual
    (tmp_path / "cut.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match="the file is empty") as empty:
        worker.extract_one("cut", tmp_path / "cut.mp4")
    facts, record = unpack(worker.extract_one("clip0", path))
    assert (facts["id"], facts["total_frames"]) == ("clip0", 12)
    assert record
    assert crash.tb  # past errors, which hold their frames, do not hold the readers
    assert empty.tb


def test_a_packed_value_comes_back() -> None:
    for facts, record in (({}, b""), ({"id": "caf\udce9 \N{GRINNING FACE}", "fps": 29.97, "size": None}, b"\0\xff")):
        assert unpack(pack(facts, record)) == (facts, record)
