"""Detector and backbone: the real ONNX code on tiny networks with known answers, then on real weights."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from stg.config.extraction import ExecutionConfig
from stg.runtime.errors import StgError, UserError
from stg.video.decoding import SampledFrames, sample_video
from stg.vision.backbones import OnnxBackbone, Preprocessing, read_preprocessing
from stg.vision.coco import NAMES
from stg.vision.detectors import OnnxYoloX, category_ids, class_name, decode_yolox, letterbox
from stg.vision.onnx import OnnxNetwork, resize
from stg.vision.registry import REGISTRIES, execution_for
from stg.vision.weights import WeightFile
from tests.stg.make_networks import write_backbone, write_detector, write_endless

BLUE, RED = (0, 0, 255), (255, 0, 0)


def sample_of(*pictures: np.ndarray) -> SampledFrames:
    number = np.arange(len(pictures), dtype=np.int64)
    return SampledFrames("made", np.stack(pictures), number, len(pictures), 25.0)


def picture(height: int, width: int, *squares: tuple[slice, slice, tuple[int, int, int]]) -> np.ndarray:
    made = np.zeros((height, width, 3), np.uint8)
    for rows, columns, colour in squares:
        made[rows, columns] = colour
    return made


# --- letterbox and resize


def test_letterbox_puts_the_picture_upper_left_on_grey() -> None:
    frames = np.full((2, 50, 100, 3), 200, np.uint8)
    canvas, ratio = letterbox(frames, (64, 64))
    assert ratio == pytest.approx(0.64)
    assert canvas.shape == (2, 3, 64, 64)
    assert (canvas[:, :, :32] == 200).all()
    assert (canvas[:, :, 32:] == 114).all()


def test_resize_without_antialiasing_is_plain_bilinear_interpolation() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 9, 13, 3)).astype(np.uint8)
    fast = resize(frames, 5, 7, antialias=False)[0]
    y = ((np.arange(5) + 0.5) * 9 / 5 - 0.5).clip(0, 8)
    x = ((np.arange(7) + 0.5) * 13 / 7 - 0.5).clip(0, 12)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    y1, x1 = np.minimum(y0 + 1, 8), np.minimum(x0 + 1, 12)
    dy, dx = (y - y0)[:, None, None], (x - x0)[None, :, None]
    plane = frames[0].astype(np.float64)
    slow = (1 - dy) * ((1 - dx) * plane[y0][:, x0] + dx * plane[y0][:, x1])
    slow += dy * ((1 - dx) * plane[y1][:, x0] + dx * plane[y1][:, x1])
    np.testing.assert_allclose(fast, slow.transpose(2, 0, 1), atol=1e-3)


# --- detector


def test_yolox_decoding_against_a_loop_over_cells() -> None:
    random = np.random.default_rng(0)
    raw = random.normal(size=(2, 84, 8)).astype(np.float32)
    boxes, scores, labels = decode_yolox(raw, (64, 64))
    place = 0
    for stride in (8, 16, 32):
        for y in range(64 // stride):
            for x in range(64 // stride):
                cell = raw[1, place].astype(np.float64)
                cx, cy = (x + cell[0]) * stride, (y + cell[1]) * stride
                w, h = np.exp(cell[2]) * stride, np.exp(cell[3]) * stride
                expected = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                np.testing.assert_allclose(boxes[1, place], expected, rtol=1e-4, atol=1e-4)
                assert scores[1, place] == pytest.approx(cell[4] * cell[5:].max(), rel=1e-5)
                assert labels[1, place] == cell[5:].argmax()
                place += 1
    assert place == 84


def test_detector_finds_the_blue_square_where_it_is(tmp_path: Path) -> None:
    detector = OnnxYoloX(write_detector(tmp_path / "d.onnx"), threads=1)
    frame = picture(32, 128, (slice(8, 16), slice(64, 80), BLUE), (slice(16, 32), slice(0, 32), RED))
    nothing = picture(32, 128)
    # The frame is halved: the square becomes 4 high and 8 wide, half of the cell at column 4, row 0 of the input.
    found, none = detector(sample_of(frame, nothing))
    np.testing.assert_allclose(found.boxes, [[56, -8, 88, 24]], atol=1e-4)  # 16x16 of the input, doubled
    assert found.scores == pytest.approx([0.5], abs=0.08)
    assert none.boxes.shape == (0, 4)
    assert none.scores.shape == (0,)


def test_nms_settings(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "d.onnx")
    two = picture(64, 64, (slice(0, 8), slice(0, 8), BLUE), (slice(0, 8), slice(8, 16), (0, 0, 200)))
    overlap = 8 * 16 / (16 * 24)  # of the boxes of two neighbouring cells
    assert len(OnnxYoloX(path, threads=1, iou=overlap - 0.01)(sample_of(two))[0].scores) == 1
    both = OnnxYoloX(path, threads=1, iou=overlap + 0.01)(sample_of(two))[0]
    assert both.scores.tolist() == pytest.approx([1.0, 200 / 255], abs=1e-5)
    assert len(OnnxYoloX(path, threads=1, iou=0.9, max_boxes=1)(sample_of(two))[0].scores) == 1
    assert len(OnnxYoloX(path, threads=1, iou=0.9, min_score=0.9)(sample_of(two))[0].scores) == 1
    with pytest.raises(UserError, match=r"nms must be one of agnostic, per_class; got 'soft'"):
        OnnxYoloX(path, nms="soft")


@pytest.mark.parametrize(("nms", "kept"), [("agnostic", 1), ("per_class", 2)])
def test_nms_by_class_keeps_both_claims(tmp_path: Path, nms: str, kept: int) -> None:
    detector = OnnxYoloX(write_detector(tmp_path / "d.onnx"), nms=nms)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    found = detector._suppress(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1]))
    assert len(found.scores) == kept


def test_labels_are_cocos_category_ids(tmp_path: Path) -> None:
    detector = OnnxYoloX(write_detector(tmp_path / "d.onnx"))
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
    found = detector._suppress(boxes, np.array([0.7, 0.9, 0.8], np.float32), np.array([0, 79, 11]), category_ids(80))
    assert found.labels is not None
    assert [class_name(int(label)) for label in found.labels] == ["toothbrush", "stop sign", "person"]
    assert found.labels.tolist() == [90, 13, 1]  # no category has the numbers 12 and 83, among others
    # The made network tells two classes apart, which are none of COCO's.
    assert detector(sample_of(picture(64, 64, (slice(0, 8), slice(0, 8), BLUE))))[0].labels is None


def test_class_names() -> None:
    assert class_name(18) == "dog"
    assert [class_name(label) for label in (-1, 0, 12, 91, 1600)] == [""] * 5
    ids = category_ids(80)
    assert ids is not None
    assert len(ids) == len({class_name(int(label)) for label in ids}) == 80
    assert category_ids(81) is None


def test_class_names_are_torchvisions() -> None:
    theirs = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert list(NAMES) == ["" if name in ("__background__", "N/A") else name for name in theirs]


@pytest.mark.shared_data
def test_the_classes_are_in_the_order_of_the_network(shared_data: Path) -> None:
    names = (shared_data.parent / "weights" / "coco.names").read_text().split("\n")
    today = {
        "motorbike": "motorcycle",
        "aeroplane": "airplane",
        "sofa": "couch",
        "pottedplant": "potted plant",
        "diningtable": "dining table",
        "tvmonitor": "tv",
    }
    ids = category_ids(80)
    assert ids is not None
    assert [class_name(int(label)) for label in ids] == [today.get(name, name) for name in names if name]


def test_a_detector_with_another_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output is \[1, 83, 7\]; YOLOX with input 64x64 has \[frames 84 5\+classes\]"):
        decode_yolox(np.zeros((1, 83, 7), np.float32), (64, 64))
    with pytest.raises(UserError, match=r"takes images of any size"):
        OnnxYoloX(_free_size(tmp_path / "free.onnx"))(sample_of(picture(8, 8)))


def _free_size(path: Path) -> Path:
    import onnx

    model = onnx.load(write_backbone(path))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_param = f"out{axis}"
    path.write_bytes(model.SerializeToString())
    return path


# --- backbone


def test_backbone_scene_is_the_mean_and_objects_are_read_at_their_boxes(tmp_path: Path) -> None:
    backbone = OnnxBackbone(write_backbone(tmp_path / "b.onnx"), threads=1)
    # 96 high, 128 wide, stretched to 64x64: left half red, right half blue.
    frame = picture(96, 128, (slice(0, 96), slice(0, 64), RED), (slice(0, 96), slice(64, 128), BLUE))
    boxes = [
        np.array([[0, 0, 30, 96], [98, 0, 128, 48]], np.float32),
        np.zeros((0, 4), np.float32),
        np.array([[100, 40, 128, 90]], np.float32),
    ]
    scene, objects = backbone(sample_of(frame, picture(96, 128), frame), boxes)
    np.testing.assert_allclose(scene, [[0.5, 0, 0.5], [0, 0, 0], [0.5, 0, 0.5]], atol=0.01)
    np.testing.assert_allclose(objects, [[1, 0, 0], [0, 0, 1], [0, 0, 1]], atol=0.01)


def test_boxes_are_scaled_by_width_and_by_height(tmp_path: Path) -> None:
    backbone = OnnxBackbone(write_backbone(tmp_path / "b.onnx"), threads=1)
    frame = picture(96, 128, (slice(72, 96), slice(0, 32), BLUE))  # the lowest cell of the left column
    boxes = np.array([[4, 76, 28, 94], [40, 40, 80, 60]], np.float32)
    np.testing.assert_allclose(backbone(sample_of(frame), [boxes])[1], [[0, 0, 1], [0, 0, 0]], atol=0.06)


def test_backbone_reads_each_box_from_its_own_frame(tmp_path: Path) -> None:
    backbone = OnnxBackbone(write_backbone(tmp_path / "b.onnx"), threads=1)
    full = slice(0, 64)
    frames = sample_of(picture(64, 64, (full, full, RED)), picture(64, 64, (full, full, BLUE)))
    box = np.array([[8, 8, 40, 40]], np.float32)
    assert np.allclose(backbone(frames, [box, box])[1], [[1, 0, 0], [0, 0, 1]])
    assert backbone(frames, [box[:0], box[:0]])[1].shape == (0, 3)


def test_channels_mean_and_std_of_the_sidecar_are_applied(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "b.onnx", channels="BGR", mean=[10, 20, 30], std=[2, 4, 5])
    frame = np.full((64, 64, 3), (130, 60, 12), np.uint8)
    scene, _ = OnnxBackbone(path, threads=1)(sample_of(frame), [np.zeros((0, 4), np.float32)])
    np.testing.assert_allclose(scene, [[(12 - 10) / 2, (60 - 20) / 4, (130 - 30) / 5]], rtol=1e-5)


def test_a_network_whose_feeding_is_unknown_is_refused(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "b.onnx", sidecar=False)
    with pytest.raises(UserError, match=r"how to feed b.onnx is not known: write .*b.json with name, size"):
        OnnxBackbone(path)
    made = Preprocessing("mine", (64, 64), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), stride=16)
    assert OnnxBackbone(path, preprocessing=made).manifest()["name"] == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "RGB"}, r"unknown fields colour; known: name, size"),
        ({"size": [64]}, r"size must be a list of 2 numbers; got \[64\]"),
        ({"std": [1, 0, 1]}, r"std must be above 0"),
        ({"channels": "GRB"}, r"channels must be RGB or BGR; got 'GRB'"),
        ({"mean": ["a", 0, 0]}, r"must be numbers"),
        ({"size": 64}, r"size must be a list of 2 numbers; got 64"),
    ],
)
def test_a_wrong_sidecar_is_refused_by_field(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        OnnxBackbone(write_backbone(tmp_path / "b.onnx", **changes))


def test_a_sidecar_that_lacks_fields_or_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"name": "x", "size": [1, 1]}))
    with pytest.raises(UserError, match=r"lacks mean, std"):
        read_preprocessing(path)
    path.write_text("[]")
    with pytest.raises(UserError, match=r"must hold one JSON object"):
        read_preprocessing(path)


def test_sidecar_and_network_must_agree(tmp_path: Path) -> None:
    none = [np.zeros((0, 4), np.float32)]
    with pytest.raises(UserError, match=r"takes images of \(64, 64\); its preprocessing says \(32, 32\)"):
        OnnxBackbone(write_backbone(tmp_path / "a.onnx", size=[32, 32]))(sample_of(picture(9, 9)), none)
    with pytest.raises(UserError, match=r"must give a feature map \[batch C 2 2\] at stride 32; got \[1, 3, 4, 4\]"):
        OnnxBackbone(write_backbone(tmp_path / "b.onnx", stride=32))(sample_of(picture(9, 9)), none)
    with pytest.raises(StgError, match=r"c.onnx failed on input \[10, 3, 64, 64\]"):
        OnnxBackbone(write_backbone(tmp_path / "c.onnx", output="nothing"))(sample_of(picture(9, 9)), none)


@pytest.mark.parametrize("own", [None, 2])
def test_results_do_not_depend_on_the_grouping(tmp_path: Path, own: int | None) -> None:
    path = write_backbone(tmp_path / "b.onnx")
    if own:
        _fix_batch(path, own)
    backbone = OnnxBackbone(path, threads=1, batch=3)
    random = np.random.default_rng(0)
    samples = [
        sample_of(*random.integers(0, 256, (t, *size, 3)).astype(np.uint8))
        for t, size in ((4, (64, 64)), (1, (30, 50)), (5, (64, 64)))
    ]
    boxes = [[np.array([[3, 4, 20, 22]], np.float32)] * len(sample.frames) for sample in samples]
    for sample, found, (scene, objects) in zip(samples, boxes, backbone.many(samples, boxes), strict=True):
        alone = backbone(sample, found)
        assert np.array_equal(scene, alone[0])
        assert np.array_equal(objects, alone[1])
        assert len(scene) == len(sample.frames)
    assert backbone.many([], []) == []
    with pytest.raises(UserError, match=r"batch must be at least 1; got 0"):
        OnnxBackbone(path, batch=0)


def _fix_batch(path: Path, size: int) -> None:
    import onnx

    model = onnx.load(path)
    for entry in (model.graph.input[0], model.graph.output[0]):
        entry.type.tensor_type.shape.dim[0].dim_value = size
    path.write_bytes(model.SerializeToString())


def test_the_detector_takes_several_clips(tmp_path: Path) -> None:
    detector = OnnxYoloX(write_detector(tmp_path / "d.onnx"), threads=1)
    blue = sample_of(picture(32, 128, (slice(8, 16), slice(64, 80), BLUE)), picture(32, 128))
    assert [
        [len(item.scores) for item in found] for found in detector.many([blue, sample_of(picture(64, 64)), blue])
    ] == [[1, 0], [0], [1, 0]]


# --- files


def test_missing_or_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network .*none.onnx does not exist; pass the path of an ONNX file"):
        OnnxYoloX(tmp_path / "none.onnx")
    torch.save({"w": torch.zeros(2)}, tmp_path / "pickle.onnx")
    with pytest.raises(UserError, match=r"pickle.onnx is not an ONNX network"):
        OnnxYoloX(tmp_path / "pickle.onnx")(sample_of(picture(8, 8)))


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest, **more)

    detector = OnnxYoloX(write_detector(tmp_path / "d.onnx"))
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"onnxruntime, which is not installed: pip install 'stg-video\[onnx\]'"):
        detector(sample_of(picture(8, 8)))


def test_the_manifest_changes_with_the_weights_not_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = OnnxYoloX(write_detector(tmp_path / "d.onnx")).manifest()
    again = OnnxYoloX(write_detector(tmp_path / "other" / "d.onnx"), threads=2).manifest()
    assert first == again
    assert json.loads(json.dumps(first)) == first
    changed = tmp_path / "d.onnx"
    changed.write_bytes(changed.read_bytes() + b"\x00")
    assert OnnxYoloX(changed).manifest()["sha256"] != first["sha256"]
    backbone = OnnxBackbone(write_backbone(tmp_path / "b.onnx")).manifest()
    assert backbone == OnnxBackbone(tmp_path / "b.onnx", batch=3).manifest()
    assert json.loads(json.dumps(backbone)) == backbone
    assert backbone["std"] == [255.0] * 3


# --- the real weights


@pytest.mark.shared_data
def test_real_networks_on_two_real_clips(shared_data: Path) -> None:
    weights, clips = shared_data.parent / "weights", shared_data / "msvd" / "clips"
    detector = OnnxYoloX(weights / "yolox_nano.onnx", threads=1)
    backbone = OnnxBackbone(weights / "efficientnet_lite0_256.onnx", threads=1)
    scenes, seen = [], set()
    for name in ("-AwoiGR6c8M_10_14", "-DKuLXYoY3g_14_20"):
        sample = sample_video(clips / f"{name}.mp4", 3)
        found = detector(sample)
        assert max(item.scores.max(initial=0) for item in found) > 0.3
        labels = [item.labels[item.scores > 0.5] for item in found if item.labels is not None]
        seen |= {class_name(int(label)) for label in np.concatenate(labels)}
        scene, objects = backbone(sample, [item.boxes[:2].clip(0, 320) for item in found])
        assert scene.shape == (3, 1280)
        assert objects.shape == (sum(len(item.boxes[:2]) for item in found), 1280)
        assert np.isfinite(objects).all()
        scenes.append(scene / np.linalg.norm(scene, axis=1, keepdims=True))
    assert seen == {"chair", "person", "dog"}
    samples = [
        sample_video(clips / f"{name}.mp4", t) for t, name in ((4, "-AwoiGR6c8M_10_14"), (7, "-DKuLXYoY3g_14_20"))
    ]
    none = [[np.zeros((0, 4), np.float32)] * len(sample.frames) for sample in samples]
    for sample, boxes, (scene, _) in zip(samples, none, backbone.many(samples, none), strict=True):
        assert np.array_equal(scene, backbone(sample, boxes)[0])  # to the byte, however clips are grouped
    within = [(scene @ scene.T)[np.triu_indices(3, 1)].mean() for scene in scenes]
    assert min(within) > (scenes[0] @ scenes[1].T).mean() + 0.1


@pytest.mark.parametrize("antialias", [True, False])
def test_resizing_gives_the_same_bytes_with_any_number_of_threads(antialias: bool) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (10, 181, 320, 3), np.uint8)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(resize(frames, 235, 416, antialias=antialias).tobytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1


def test_a_network_that_loops_is_ended_and_the_next_runs(tmp_path: Path) -> None:
    endless = OnnxNetwork(write_endless(tmp_path / "endless.onnx"), 1, time_limit=0.2)
    images = np.zeros((1, 3, 64, 64), np.float32)
    with pytest.raises(
        StgError, match=r"endless\.onnx gave no result within 0\.2 s and was ended: an ONNX file is a prog"
    ):
        endless.run(images)
    assert OnnxNetwork(write_backbone(tmp_path / "b.onnx"), 1, time_limit=60.0).run(images).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("key", ["detector", "backbone"])
def test_the_time_limit_reaches_the_networks(key: str, tmp_path: Path) -> None:
    write = write_detector if key == "detector" else write_backbone
    file = WeightFile(write(tmp_path / "n.onnx"))
    how = execution_for(ExecutionConfig(device="cpu", time_limit=7.0), 10)
    settings = {"min_score": 0.1, "features": False} if key == "detector" else {"objects": True}
    made = REGISTRIES[key][".onnx"].build({key: file}, how, **settings)
    assert made.network.time_limit == 7.0
