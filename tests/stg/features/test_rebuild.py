"""Models on torch's networks caption new clips as their stored graphs; what cannot be made again is refused."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import stg
from graphs import GraphStore
from stg.captioning.pipeline import VideoCaptioner
from stg.commands.extract import main as extract
from stg.commands.import_features import main as import_features
from stg.commands.parser import run_command
from stg.config.extraction import ExtractConfig, ImportConfig
from stg.config.model import AttentionLSTMConfig, STaTSConfig
from stg.datasets.world.extractor import WORLD_BUILDERS
from stg.features.rebuild import plan_features
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.video.decoding import SampledFrames
from stg.vision.published import PUBLISHED
from stg.vision.registry import BACKBONES, ExecutionSettings, NetworkSpec
from tests.stg.commands import test_caption
from tests.stg.commands.test_caption import clip, from_store
from tests.stg.make_sound import sine
from tests.stg.make_torch_networks import (
    shrink,
    write_detector,
    write_i3d,
    write_image,
    write_raft,
    write_s3d,
    write_vggish,
)

RESNEXT = "fasterrcnn_resnext101_fpn"


MAKERS = {
    "image.pth": write_image,
    "eye.pth": lambda path: write_detector(path, RESNEXT),
    "rgb.pt": lambda path: write_i3d(path, 3),
    "s3d.pth": write_s3d,
    "raft.pth": write_raft,
    "ear.pth": write_vggish,
    "one/i3d.pt": lambda path: write_i3d(path, 3),
    "two/i3d.pt": lambda path: write_i3d(path, 2),
}

I3D = {"motion": "i3d", "motion_weights": "rgb.pt", "motion_span": 12}
S3D = {"motion": "s3d", "motion_weights": "s3d.pth", "motion_span": 14}
TWO = {"motion": "i3d_two_stream", "motion_weights": "one/i3d.pt", "flow_weights": "two/i3d.pt", "motion_span": 12}
FOUND = {"detector": RESNEXT, "detector_weights": "eye.pth"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with weights of all networks, which are shrunk while it is there."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        for name, write in MAKERS.items():
            (folder / name).parent.mkdir(exist_ok=True)
            write(folder / name)
        yield folder


def with_sound(path: Path, sound: np.ndarray) -> Path:
    """Put the picture of a clip into another file with sound at 16 kHz beside it; the first one goes."""
    heard = path.with_suffix(".mkv")
    with av.open(path) as source, av.open(heard, "w") as file:
        picture = file.add_stream_from_template(source.streams.video[0])
        voice = file.add_stream("pcm_f32le", rate=16000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                file.mux(packet)
        samples = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        samples.sample_rate, samples.pts = 16000, 0
        file.mux(voice.encode(samples))
        file.mux(voice.encode(None))
    path.unlink()
    return heard


class Bench(test_caption.Bench):
    """Two clips of 12 frames, and an untrained model for a store made from them."""

    def __init__(self, folder: Path, weights: Path, *, tones: bool = False, **options: Any) -> None:
        self.clips, self.weights, self.run = folder / "clips", weights, folder / "run"
        for item in (self.clips, self.run):
            item.mkdir(parents=True)
        self.files = [clip(self.clips / f"clip{i}.mp4", seed=i) for i in range(2)]
        if tones:
            self.files = [with_sound(path, sine(300 + 900 * i, 2.5)) for i, path in enumerate(self.files)]
        self.store = folder / "store"
        self.extract(**options)
        self.save("scene")

    def extract(self, **options: Any) -> None:
        """Make the store; options may name weights."""
        given = {"backbone_weights": "image.pth", "num_frames": 3, "threshold": 0.2, "detector": "none"} | options
        values = [self.weights / value if value in MAKERS else value for value in given.values()]
        told = [str(item) for pair in zip([f"--{name}" for name in given], values, strict=True) for item in pair]
        command = [*told, "--out", str(self.store), "--threads", "1", "--workers", "0", "--", str(self.clips)]
        assert run_command(ExtractConfig, extract, "", command) == 0

    def load(self, *places: Path) -> VideoCaptioner:
        return stg.load(self.run, weights=places or (self.weights, self.weights / "one", self.weights / "two"), beam=2)


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Callable[[dict[str, Any]], Bench]:
    """Store and clips for some options, made once."""
    made: dict[str, Bench] = {}

    def bench(options: dict[str, Any]) -> Bench:
        key = json.dumps(options)
        if key not in made:
            made[key] = Bench(tmp_path_factory.mktemp("bench"), weights, **options)
        return made[key]

    return bench


@pytest.mark.parametrize(
    ("branches", "options", "opened"),
    [
        ("scene", I3D, (False, True)),
        ("scene", S3D, (False, True)),
        ("scene", TWO | {"raft_weights": "raft.pth"}, (False, True)),  # two files of one name
        ("object", FOUND, (True, False)),
        ("object", FOUND | {"objects": "image"}, (True, False)),
        ("object", FOUND | I3D | {"objects": "image+motion"}, (True, True)),
        ("full", FOUND | I3D | {"objects": "image+motion"}, (False, True)),
    ],
)
def test_a_new_clip_gets_what_its_stored_graph_gets(
    benches: Callable[[dict[str, Any]], Bench], branches: str, options: dict[str, Any], opened: tuple[bool, bool]
) -> None:
    bench = benches(options)
    bench.save(branches)
    captioner, expected = bench.load(), from_store(bench, 2)
    assert (captioner.extractor.detector is not None, captioner.extractor.motion is not None) == opened
    assert abs(expected["clip0"].log_prob - expected["clip1"].log_prob) > 1e-3
    found = captioner.describe(bench.files[0])
    assert found.caption == expected["clip0"].text
    assert found.log_prob == pytest.approx(expected["clip0"].log_prob, abs=1e-4)


@pytest.fixture(scope="module")
def bench(benches: Callable[[dict[str, Any]], Bench]) -> Bench:
    """A model on scene and motion features of I3D."""
    made = benches(I3D)
    made.save("scene")
    return made


GRID = {"decoder": "stats", "stats": STaTSConfig(scene_streams=("grid",))}
CLIP = {"decoder": "attention_lstm", "attention_lstm": AttentionLSTMConfig(summary="clip")}
RAW = {"decoder": "stats", "stats": STaTSConfig(scene_streams=("frames", "regions"))}


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Bench:
    """Two clips with sound, and a store with all kinds of features."""
    extracted = FOUND | I3D | {"grid": "true", "sound": "vggish", "sound_weights": "ear.pth"}
    return Bench(tmp_path_factory.mktemp("heard"), weights, tones=True, **extracted)


@pytest.mark.parametrize(
    ("settings", "made"), [(GRID, {"motion", "grid"}), (CLIP, {"motion", "sound"}), (RAW, {"motion", "detector"})]
)
def test_a_new_clip_gets_the_places_sound_and_objects_of_its_stored_graph(
    heard: Bench, settings: dict[str, Any], made: set[str]
) -> None:
    """Each model has what it reads made, and nothing else of the store."""
    heard.save("scene", settings)
    captioner, expected = heard.load(), from_store(heard, 2)
    manifest = captioner.extractor.manifest()
    assert {name for name in ("detector", "motion", "sound", "grid") if manifest[name]} == made
    assert captioner.request().sound == ("sound" in made)
    assert abs(expected["clip0"].log_prob - expected["clip1"].log_prob) > 1e-3
    found = captioner.describe(heard.files[0])
    assert found.caption == expected["clip0"].text
    assert found.log_prob == pytest.approx(expected["clip0"].log_prob, abs=1e-4)


def test_the_missing_files_of_a_model_that_hears_are_told(
    heard: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    heard.save("scene", CLIP)
    with pytest.raises(UserError, match=r"^the i3d_rgb of .* rgb\.pt \(.*, the vggish of .* ear\.pth \(.* are not in"):
        heard.load(heard.weights / "image.pth")
    with GraphStore(heard.store) as store:
        manifest = store.manifest
    for sound, words in (
        ({"kind": "vggish"}, r"lacks sound\.weights, sound\.sha256\)"),
        (
            {"kind": "ready", "name": "ready.npz"},
            r"reads sound features that were made elsewhere \(ready\.npz\), which",
        ),
    ):
        with pytest.raises(UserError, match=words):
            plan_features(manifest | {"sound": sound}, ["scene", "audio"], [heard.weights])
    lacking = {name: value for name, value in manifest.items() if name != "grid"}
    with pytest.raises(UserError, match=r"\(their manifest lacks grid\)"):
        plan_features(lacking, ["scene", "grid"], [heard.weights])


def test_a_missing_file_is_named(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as error:
        bench.load(bench.weights / "image.pth")
    sha256 = sha256_file(bench.weights / "rgb.pt")
    assert str(error.value) == (
        f"the i3d_rgb of this model needs rgb.pt (sha256 {sha256[:16]}...), which is not in "
        f"{bench.weights / 'image.pth'}, {tmp_path / 'hub' / 'checkpoints'}: give the file, or a folder that holds it, "
        "with --weights"
    )


def test_another_file_of_the_same_name_is_refused_with_the_fields(bench: Bench, tmp_path: Path) -> None:
    other, mine = write_i3d(tmp_path / "rgb.pt", 3, seed=1), bench.weights / "rgb.pt"
    with pytest.raises(UserError) as error:
        bench.load(other, bench.weights / "image.pth")
    assert str(error.value) == (
        "the networks at hand make other features than this model was trained on: i3d_rgb.sha256: trained on "
        f"{sha256_file(mine)!r}, now {sha256_file(other)!r} ({other}). Give the files it was trained with, with "
        "--weights"
    )
    assert bench.load(other, bench.weights).extractor.motion is not None  # the recorded one of two


def test_motion_that_came_from_a_file_is_refused(tmp_path: Path, weights: Path) -> None:
    ready = tmp_path / "ready.npz"
    np.savez(ready, clip=np.array(["clip0", "clip1"]), feat=np.ones((2, 3, 4), np.float32))
    bench = Bench(tmp_path / "bench", weights, motion=ready)
    with pytest.raises(UserError, match=r"reads motion features that were made elsewhere \(ready\.npz\), which cannot"):
        bench.load()


def test_imported_features_are_refused(bench: Bench, tmp_path: Path) -> None:
    for kind in ("scene", "motion"):
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "clip0.npy", np.ones((3, 4), np.float32))
    description = {"name": "made", "version": "1", "num_frames": 3, "frames": "centres"}
    description |= {kind: {"source": kind, "width": 4} for kind in ("scene", "motion")}
    (tmp_path / "features.json").write_text(json.dumps(description))
    store = str(tmp_path / "store")
    assert run_command(ImportConfig, import_features, "", [str(tmp_path / "features.json"), "--out", store]) == 0
    with GraphStore(store) as made:
        manifest = made.manifest
    for reads in (["scene"], ["scene", "motion"]):
        with pytest.raises(
            UserError, match=r"were not made by stg\.extract, or .* \(their manifest lacks backbone, .*\): it can"
        ):
            plan_features(manifest, reads, [bench.weights])


def test_objects_of_a_store_without_a_detector(bench: Bench) -> None:
    """Nothing reads them, yet a manifest may be asked so."""
    with GraphStore(bench.store) as store:
        extractor = plan_features(store.manifest, ["scene", "objects"], [bench.weights]).build(ExecutionSettings())
    assert extractor.detector is None


def test_all_missing_files_are_told_at_once(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published ones with address and size."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = PUBLISHED["resnet101"][0]
    network = {"kind": "torchvision", "name": "resnet101", "weights": published.file, "sha256": "63fe2227" * 8}
    motion = {"kind": "i3d", "stream": "two_stream", "weights": ["a.pt", "a.pt"], "sha256": ["12" * 32, "34" * 32]}
    manifest = {"backbone": network, "motion": motion | {"span": 16, "flow": {"weights": "b.pt", "sha256": "56" * 32}}}
    manifest |= {"num_frames": 3, "sampling": "centres", "dtype": "float32"}
    with pytest.raises(UserError) as error:
        plan_features(manifest, ["scene", "motion"], [weights])
    assert str(error.value) == (
        f"the backbone of this model needs {published.file} (170.5 MB, sha256 63fe222763fe2227..., published at "
        f"{published.address}), the i3d_rgb of this model needs a.pt (sha256 1212121212121212...), the i3d_flow of "
        "this model needs a.pt (sha256 3434343434343434...), the raft_large of this model needs b.pt (sha256 "
        f"5656565656565656...), which are not in {weights}, {tmp_path / 'hub' / 'checkpoints'}: give the files, or a "
        "folder that holds them, with --weights"
    )


def test_a_renamed_copy_is_found_by_what_it_holds(bench: Bench, tmp_path: Path) -> None:
    """One that took another's name too; not in folders inside."""
    (tmp_path / "image.PT").write_bytes((bench.weights / "image.pth").read_bytes())
    (tmp_path / "notes.txt").write_bytes((bench.weights / "rgb.pt").read_bytes())
    for place in (tmp_path / "deep" / "x.pt", tmp_path / "rgb.pth"):
        place.parent.mkdir(exist_ok=True)
        with pytest.raises(UserError, match=r"^the i3d_rgb of this model needs rgb\.pt \(sha256"):
            bench.load(tmp_path)
        place.write_bytes((bench.weights / "rgb.pt").read_bytes())
    write_i3d(tmp_path / "rgb.pt", 3, seed=1)
    captioner = bench.load(tmp_path)
    assert captioner.extractor.manifest()["motion"]["weights"] == ["rgb.pth"]
    assert captioner.extractor.manifest()["backbone"]["weights"] == "image.PT"
    assert bench.load(tmp_path / "rgb.pth", tmp_path / "image.PT").caption(bench.files[0])


def test_older_manifests_are_refused_with_all_that_they_lack(bench: Bench, weights: Path) -> None:
    with GraphStore(bench.store) as store:
        manifest = store.manifest
    old = {name: value for name, value in manifest.items() if name not in ("detector", "threshold", "objects")}
    assert plan_features(old, ["scene", "motion"], [weights]).files.keys() == {
        "backbone",
        "i3d_rgb",
    }  # these say enough
    for reads, made, lacks in (
        (["objects"], old, "detector, threshold, objects"),
        (["scene", "objects"], {"dtype": "float32"}, ", ".join(
            ["backbone", "num_frames", "sampling", "detector", "threshold", "max_objects", "objects"])),
        (["scene"], manifest | {"backbone": {"name": "net"}}, "backbone.weights, backbone.sha256"),
        (["motion"], manifest | {"motion": {"kind": "s3d"}}, "motion.weights, motion.sha256, motion.span"),
        (["scene"], {"backbone": {"name": "world-backbone"}, "dtype": "float32"}, "num_frames, sampling"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=rf"\(their manifest lacks {lacks}\): it can caption"):
            plan_features(made, reads, [weights], WORLD_BUILDERS)


def test_a_network_of_another_version_is_named(bench: Bench) -> None:
    with GraphStore(bench.store) as store:
        manifest = store.manifest
    with pytest.raises(UserError, match=r"trained with the network resnet9; known are resnet101, "):
        plan_features(manifest | {"backbone": manifest["backbone"] | {"name": "resnet9"}}, ["scene"], [bench.weights])


def test_each_file_is_hashed_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where boxes are asked for besides what the model reads, and a renamed copy is searched by what it holds."""
    hashed: Counter[Path] = Counter()

    def count(path: Path) -> str:
        hashed[path] += 1
        return sha256_file(path)

    monkeypatch.setattr("stg.vision.weights.sha256_file", count)
    monkeypatch.setattr("stg.vision.weights._sha256", lambda path, stamp: count(path))
    captioner = stg.load(bench.run, weights=bench.weights, beam=2, graph=True)
    assert captioner.extractor.motion is not None
    assert {path.name for path in hashed} >= {"image.pth", "rgb.pt"}
    assert max(hashed.values()) == 1


class Plain:
    """A network of one's own: the mean colour of each frame."""

    def __call__(self, sample: SampledFrames, boxes: Any) -> tuple[np.ndarray, np.ndarray]:
        none = np.zeros((sum(map(len, boxes)), 0), np.float32)
        return sample.frames.mean((1, 2)).astype(np.float32), none

    def manifest(self) -> dict[str, Any]:
        return {"name": "plain", "kind": "mine"}


def test_a_network_of_ones_own_extracts_and_captions(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "plain", NetworkSpec(lambda files, execution, *, objects: Plain()))
    command = ["--backbone", "plain", "--detector", "none", "--num_frames", "3", "--out", str(tmp_path / "store")]
    video = clip(tmp_path / "clip0.mp4", seed=0)
    assert run_command(ExtractConfig, extract, "", [*command, "--workers", "0", "--", str(video)]) == 0
    with GraphStore(tmp_path / "store") as store:
        assert store.get("clip0").scene.shape == (3, 3)
        manifest = store.manifest
    plan = plan_features(manifest, ["scene"])
    assert isinstance(plan.build(ExecutionSettings()).backbone, Plain)
    monkeypatch.delitem(BACKBONES, "plain")
    with pytest.raises(UserError, match=r"was trained with the network plain; known are resnet101, "):
        plan_features(manifest, ["scene"])


def test_planning_loads_no_torch() -> None:
    modules = (
        "stg.features.rebuild, stg.datasets.world.extractor, stg.vision.registry, stg.vision.weights, stg.video.readers"
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
