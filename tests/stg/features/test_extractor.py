"""From frames to features: which boxes are kept (checklist P5, faults A14), and that the result makes a graph."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import stg
from graphs import GraphStore, build_graph
from stg.commands.extract import main as extract_clips
from stg.commands.parser import run_command
from stg.config.extraction import ExtractConfig, SamplingConfig
from stg.features.extractor import Extractor, select
from stg.models.branches import pad_scene
from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.video.sampling import segment_centres
from stg.vision.backbones import OnnxBackbone
from stg.vision.detectors import Detections, OnnxYoloX
from tests.stg.commands import test_caption
from tests.stg.make_clips import write_clip
from tests.stg.make_networks import write_backbone, write_detector

SIZE = (60, 80)


@dataclass
class Found:
    """A detector that says what it is told."""

    answer: Sequence[Detections]

    def __call__(self, sample: SampledFrames) -> Sequence[Detections]:
        return self.answer

    def manifest(self) -> dict[str, Any]:
        return {"name": "told"}


class Corners:
    """A backbone whose object feature is the box itself and whose scene feature is the frame number."""

    def __call__(self, sample: SampledFrames, boxes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return sample.frame_number[:, None].astype(np.float32), np.concatenate([*boxes])

    def manifest(self) -> dict[str, Any]:
        return {"name": "corners"}


def frames(count: int) -> SampledFrames:
    return SampledFrames("vid", np.zeros((count, *SIZE, 3), np.uint8), 3 * np.arange(count), 3 * count, 25.0)


def found(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(table[:, :4].copy(), table[:, 4].copy())


def box_at(x: float, score: float) -> tuple[float, float, float, float, float]:
    return (x, 10.0, x + 5.0, 20.0, score)


def extract(*answer: Detections, **settings: Any) -> Any:
    extractor = Extractor(Found(answer), Corners(), SamplingConfig(**{"num_frames": len(answer)} | settings))
    return extractor(frames(len(answer)))


def labelled(item: Detections, *labels: int) -> Detections:
    return Detections(item.boxes, item.scores, item.features, np.array(labels, np.int64))


def test_labels_stay_with_their_boxes() -> None:
    mixed = found(box_at(0, 0.6), box_at(70, 0.9), box_at(200, 0.99), box_at(20, 0.4), box_at(40, 0.8))
    features = extract(labelled(mixed, 1, 18, 44, 3, 90), labelled(found(), *()), labelled(found(box_at(9, 0.7)), 0))
    assert features.boxes[:, 0].tolist() == [70, 40, 0, 9]
    assert features.label.tolist() == [18, 90, 1, 0]
    assert build_graph(features).label.tolist() == [18, 90, 1, 0]
    # Nothing is guessed where a detector tells some frames' classes only, or none at all.
    assert extract(labelled(found(box_at(0, 0.6)), 1), found(box_at(0, 0.6))).label is None
    assert "label" not in build_graph(extract(mixed))


def test_the_five_best_of_seven_are_kept_in_order() -> None:
    seven = found(*(box_at(8.0 * i, score) for i, score in enumerate([0.6, 0.9, 0.55, 0.7, 0.95, 0.8, 0.65])))
    features = extract(seven)
    assert features.scores.tolist() == pytest.approx([0.95, 0.9, 0.8, 0.7, 0.65])
    assert features.boxes[:, 0].tolist() == [32, 8, 40, 24, 48]
    assert torch.equal(features.objects, features.boxes)


def test_equal_scores_keep_their_order() -> None:
    scores = [0.9, *[0.8, 0.7] * 30]
    features = extract(found(*(box_at(float(i), score) for i, score in enumerate(scores))), max_objects=40)
    assert features.boxes[:, 0].tolist() == [0, *range(1, 61, 2), *range(2, 20, 2)]


def test_the_threshold_includes_its_value() -> None:
    features = extract(found(box_at(0, 0.5), box_at(8, 0.49), box_at(16, 0.51)))
    assert features.boxes[:, 0].tolist() == [16, 0]
    assert extract(found(box_at(0, 0.2)), threshold=0.2).num_objects == 1


def test_frames_without_objects_are_legal_all_of_them_too() -> None:
    none = found()
    features = extract(none, found(box_at(0, 0.9)), none, found(box_at(8, 0.9), box_at(16, 0.8)))
    assert features.frame.tolist() == [1, 3, 3]
    empty = extract(none, none)
    assert empty.boxes.shape == (0, 4)
    assert empty.objects.shape[0] == 0
    assert empty.scene.tolist() == [[0], [3]]
    graph = build_graph(empty)
    assert graph.edge_index.shape == (2, 0)
    assert graph.num_frames == 2


def test_bad_boxes_are_dropped_and_counted_and_boxes_are_clipped() -> None:
    nan, inf = float("nan"), float("inf")
    features = extract(
        found(
            (-10, -10, 30, 30, 0.9),  # clipped to 0, 0
            (70, 50, 200, 200, 0.8),  # clipped to the size
            (nan, 0, 10, 10, 0.9),
            (0, 0, inf, 10, 0.9),
            (0, 0, 10, 10, nan),
            (20, 20, 20, 40, 0.9),  # no width
            (30, 30, 20, 40, 0.9),  # turned round
            (90, 10, 95, 20, 0.9),  # outside
            (0, 0, 10, 10, 0.1),  # usable, only weak
        )
    )
    assert features.boxes.tolist() == [[0, 0, 30, 30], [70, 50, 80, 60]]
    assert features.manifest["unusable_boxes"] == 6


def test_inputs_are_not_changed() -> None:
    given_boxes = found((-10, -10, 30, 30, 0.9), box_at(5, 0.8))
    before = given_boxes.boxes.copy()
    select(given_boxes, SIZE, 0.5, 5)
    assert np.array_equal(given_boxes.boxes, before)


wild = st.floats(width=32) | st.floats(-20, 120, width=32)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.integers(0, 8).flatmap(lambda n: npst.arrays(np.float32, (n, 5), elements=wild)), min_size=1, max_size=4
    )
)
def test_any_boxes_make_a_sound_graph(tables: list[np.ndarray]) -> None:
    features = extract(*(Detections(table[:, :4], table[:, 4]) for table in tables), threshold=0.3)
    graph = build_graph(features)
    assert torch.isfinite(graph.edge_weight).all()
    per_frame = torch.bincount(features.frame, minlength=len(tables))
    assert per_frame.max() <= 5
    for kind in (0, 1):
        rows = torch.zeros(features.num_objects).index_add_(
            0, graph.edge_index[1][graph.edge_type == kind], graph.edge_weight[graph.edge_type == kind]
        )
        assert ((rows - 1).abs().minimum(rows.abs()) < 1e-5).all()


def test_the_facts_of_the_video_travel_along() -> None:
    features = extract(found(), found())
    assert features.video == "vid"
    assert features.size == SIZE
    assert features.frame_number.tolist() == [0, 3]
    facts = {"total_frames": 6, "header_frames": 0, "fps": 25.0, "truncated": False, "num_unique": 2}
    assert features.manifest == facts | {"unusable_boxes": 0}


def test_another_number_of_frames_is_refused() -> None:
    extractor = Extractor(Found([found()]), Corners())
    with pytest.raises(UserError, match=r"'vid' was sampled at 1 frames; this extractor is set to 10"):
        extractor(frames(1))
    with pytest.raises(ValueError, match=r"the detector gave 1 lists for 2 frames"):
        Extractor(Found([found()]), Corners(), SamplingConfig(num_frames=2))(frames(2))


def test_with_a_stride_videos_may_have_fewer_frames() -> None:
    extractor = Extractor(None, Corners(), SamplingConfig(num_frames=3, sampling="stride", stride=8))
    request = extractor.request()
    assert (request.num_frames, request.sampling, request.stride) == (3, "stride", 8)
    made = extractor.extract([frames(1), frames(3), frames(2)])
    assert [item.num_frames for item in made] == [1, 3, 2]
    assert [item.scene.tolist() for item in made] == [[[0]], [[0], [3], [6]], [[0], [3]]]
    with pytest.raises(UserError, match=r"'vid' was sampled at 4 frames; this extractor is set to at most 3"):
        extractor(frames(4))


class Ragged(test_caption.Bench):
    """Clips of 5, 12 and 44 frames, one sampled frame each 8 of them, and an untrained model for their store."""

    def __init__(self, folder: Path, branches: str) -> None:
        self.clips, self.weights, self.run = folder / "clips", folder / "weights", folder / "run"
        for item in (self.clips, self.weights, self.run):
            item.mkdir(parents=True)
        self.files = []
        for i, count in enumerate((5, 12, 44)):
            colours = np.random.default_rng(i).integers(0, 255, (count, 2, 2, 3), np.uint8)
            shown = list(colours.repeat(32, axis=1).repeat(32, axis=2))
            name = self.clips / f"clip{i}.mp4"
            self.files.append(write_clip(name, shown, options={"crf": "0"}, pixels="yuv444p"))
        networks = write_detector(self.weights / "eye.onnx"), write_backbone(self.weights / "net.onnx")
        self.store = folder / "store"
        options = ["--detector", networks[0], "--backbone", networks[1], "--sampling", "stride", "--stride", 8]
        options += ["--num_frames", 5, "--threads", 1, "--workers", 0, "--out", self.store]
        assert run_command(ExtractConfig, extract_clips, "", [str(item) for item in [self.clips, *options]]) == 0
        self.save(branches)


@pytest.mark.parametrize("branches", ["scene", "full", "object"])
def test_clips_sampled_by_stride_are_captioned_alone_as_together(tmp_path: Path, branches: str) -> None:
    bench = Ragged(tmp_path, branches)
    with GraphStore(bench.store) as store:
        assert (store.manifest["sampling"], store.manifest["stride"]) == ("stride", 8)
        graphs = [store.get(f"clip{i}") for i in range(3)]
        numbers = [graph.frame_number.tolist() for graph in graphs]
        assert numbers == [[4], [4, 11], segment_centres(44, 5).tolist()], "six strides, and at most five frames"
        batch = store.batch(["clip0", "clip1", "clip2"])
        scene = pad_scene(batch)
        assert scene.mask.tolist() == [[t < count for t in range(5)] for count in (1, 2, 5)]
        for row, graph in zip(scene.scene, graphs, strict=True):
            assert torch.equal(row[: len(graph.scene)], graph.scene.to(row.dtype))
            assert not row[len(graph.scene) :].any()
    captioner, together = stg.load(bench.run, weights=bench.weights, beam=2), test_caption.from_store(bench, 2)
    for path in bench.files:
        found = captioner.describe(path)
        assert found.caption == together[path.stem].text
        assert found.log_prob == pytest.approx(together[path.stem].log_prob, abs=1e-4)


def test_the_stride_of_a_model_is_kept(tmp_path: Path) -> None:
    bench = Ragged(tmp_path, "scene")
    with GraphStore(bench.store) as store:
        manifest = store.manifest
    captioner = stg.load(bench.run, weights=bench.weights)
    assert captioner.extractor.sampling.stride == 8
    bench.save("scene", features={name: value for name, value in manifest.items() if name != "stride"})
    with pytest.raises(UserError, match=r"than this model was trained on: stride: trained on None, now 32\."):
        stg.load(bench.run, weights=bench.weights)
    for stride in ({}, {"stride": None}):  # manifests of the other rules, old or written elsewhere
        rest = {name: value for name, value in manifest.items() if name != "stride"}
        bench.save("scene", features=rest | {"sampling": "centres"} | stride)
        assert stg.load(bench.run, weights=bench.weights).extractor.manifest()["sampling"] == "centres"


def test_options_of_sampling_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"stride must be at least 1; got 0"):
        SamplingConfig(sampling="stride", stride=0)
    with pytest.raises(ValueError, match=r"stride=16 needs sampling=stride; got sampling=centres"):
        SamplingConfig(stride=16)
    assert SamplingConfig(sampling="stride", stride=16).stride == 16


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"num_frames": 0}, r"num_frames must be at least 1; got 0"),
        ({"max_objects": 0}, r"max_objects must be at least 1; got 0"),
        ({"threshold": 1.5}, r"threshold must lie in 0..1; got 1.5"),
        ({"objects": "image+motion"}, r"objects=image\+motion needs a motion network: give one with motion"),
        ({"grid": True}, r"grid needs a motion network: give one with motion"),
        ({"sampling": "stride", "stride": 0}, r"stride must be at least 1; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], words: str) -> None:
    with pytest.raises((UserError, ValueError), match=words):
        Extractor(Found([]), Corners(), SamplingConfig(**setting))


@pytest.mark.parametrize(
    ("name", "known"), [("sampling", "centres, linspace, stride"), ("objects", "image, detector, image+motion")]
)
def test_unknown_rules_of_a_manifest_are_refused(name: str, known: str) -> None:
    sampling = SamplingConfig()
    object.__setattr__(sampling, name, "all")  # as a manifest of another program may have it
    with pytest.raises(UserError, match=re.escape(f"{name} must be one of {known}; got 'all'")):
        Extractor(Found([]), Corners(), sampling)


def test_the_manifest_tells_every_setting_apart() -> None:
    def manifest(**settings: Any) -> dict[str, Any]:
        return Extractor(Found([]), Corners(), SamplingConfig(**settings)).manifest()

    variants = [{}, {"num_frames": 9}, {"threshold": 0.3}, {"max_objects": 4}, {"sampling": "linspace"}]
    variants += [{"sampling": "stride"}, {"sampling": "stride", "stride": 16}]
    made = [manifest(**settings) for settings in variants]
    assert all(made[i] != made[j] for i in range(7) for j in range(i))
    assert (made[5]["stride"], made[6]["stride"]) == (32, 16)
    assert "stride" not in made[0], "stores made before there was a stride must stay what they are"
    assert made[0]["detector"] == {"name": "told"}
    assert made[0]["backbone"] == {"name": "corners"}


def test_with_onnx_networks_end_to_end(tmp_path: Path) -> None:
    """A blue square on black moves right; box and feature follow it."""
    pictures = np.zeros((4, 64, 64, 3), np.uint8)
    for t in range(4):
        pictures[t, 24:32, 8 * (t + 2) : 8 * (t + 3), 2] = 255
    sample = SampledFrames("moving", pictures, np.arange(4), 4, 25.0)
    extractor = Extractor(
        OnnxYoloX(write_detector(tmp_path / "d.onnx"), threads=1),
        OnnxBackbone(write_backbone(tmp_path / "b.onnx"), threads=1),
        SamplingConfig(num_frames=4),
    )
    features = extractor(sample)
    assert features.frame.tolist() == [0, 1, 2, 3]
    assert features.boxes.tolist() == [[8 * t + 12, 20, 8 * t + 28, 36] for t in range(4)]
    assert (features.objects[:, 2] > 0.2).all()
    assert (features.objects[:, :2] == 0).all()
    assert features.scene.shape == (4, 3)
