"""The made detector errs as told, the made backbone sees pixels and nothing else."""

import dataclasses
import json

import numpy as np
import pytest

from stg.datasets.world.dataset import World
from stg.datasets.world.perception import WorldBackbone, block_means, crops
from stg.runtime.errors import UserError

WORLD = World(train=160, val=4, test=4)
VIDEOS = [f"train-{index:05d}" for index in range(160)]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    side = (np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])).clip(min=0)
    inner = side.prod(axis=-1)
    area = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)]
    return inner / (area[0][:, None] + area[1][None] - inner)


def test_the_detector_misses_invents_and_jitters_as_told() -> None:
    detector = WORLD.detector()
    plain = missed = hidden_total = hidden_missed = objects = false = false_passing = 0
    shifts, true_scores = [], []
    for video in VIDEOS:
        sample = WORLD.sample(video)
        boxes, hidden = WORLD.truth(video, sample.frame_number)
        for found, true, share in zip(detector(sample), boxes, hidden, strict=True):
            objects += len(true)
            match = iou(true, found.boxes.astype(float))
            of = match.argmax(axis=1)
            assert (match.max(axis=1) > 0.35).all(), "a missed object comes back with a low score"
            low = found.scores[of] < 0.5
            clear = share < 0.02
            plain += int(clear.sum())
            missed += int((low & clear).sum())
            hidden_total += int((share > 0.6).sum())
            hidden_missed += int((low & (share > 0.6)).sum())
            shifts.append((found.boxes[of] - true)[clear] / np.tile(true[:, 2:] - true[:, :2], 2)[clear])
            true_scores.append(found.scores[of][clear & ~low])
            extra = np.setdiff1d(np.arange(len(found.scores)), of)
            false += len(extra)
            false_passing += int((found.scores[extra] >= 0.5).sum())
    assert missed / plain == pytest.approx(0.05, abs=0.012)
    assert hidden_missed / hidden_total > 0.4
    assert false / objects == pytest.approx(0.05, abs=0.012)
    assert 0.4 < false_passing / false < 0.8
    # Clipping at the picture's edge takes a little off the jitter.
    assert np.concatenate(shifts).std() == pytest.approx(0.035, abs=0.004)
    assert abs(np.concatenate(shifts).mean()) < 0.003
    assert np.concatenate(true_scores).mean() > 0.8


def test_invented_boxes_score_lower_than_true_ones() -> None:
    many = dataclasses.replace(WORLD.detector(), invent=1.0, miss=0.0)
    count, sure = 0, 0
    for video in VIDEOS[:10]:
        for found in many(WORLD.sample(video)):
            count += len(found.scores)
            sure += int((found.scores > 0.725).sum())
    assert sure <= count / 2, "only true boxes score above .72"


def test_only_the_farther_of_two_is_hidden() -> None:
    world = World(train=6, events=("passes behind",))
    for index in range(6):
        script = world.script(f"train-{index:05d}")
        _, hidden = world.truth(f"train-{index:05d}", np.arange(60))
        assert hidden[:, script.actor].max() > 0.2
        assert hidden[:, script.target].max() < 0.05


def test_the_order_of_detections_does_not_tell_the_invented() -> None:
    many = dataclasses.replace(WORLD.detector(), invent=1.0, miss=0.0, jitter=0.0)
    places = []
    for video in VIDEOS[:20]:
        sample = WORLD.sample(video)
        boxes, _ = WORLD.truth(video, sample.frame_number)
        for found, true in zip(many(sample), boxes, strict=True):
            invented = iou(found.boxes.astype(float), true).max(axis=1) < 0.9
            places.append(np.flatnonzero(invented).mean() / (len(invented) - 1))
    assert np.mean(places) == pytest.approx(0.5, abs=0.05)


def test_the_same_frame_always_gives_the_same_boxes() -> None:
    few, many = WORLD.sample("train-00003", num_frames=10), WORLD.sample("train-00003", num_frames=60)
    one, other = WORLD.detector()(few), World(train=160, val=4, test=4).detector()(many)
    for number, found in zip(few.frame_number, one, strict=True):
        assert np.array_equal(found.boxes, other[number].boxes)
        assert np.array_equal(found.scores, other[number].scores)


def test_the_order_of_detections_does_not_tell_the_actor() -> None:
    first = 0
    for video in VIDEOS:
        sample = WORLD.sample(video, num_frames=2)
        boxes, _ = WORLD.truth(video, sample.frame_number)
        actor = WORLD.script(video).actor
        first += int(iou(boxes[0], WORLD.detector()(sample)[0].boxes.astype(float))[actor].argmax() == 0)
    assert 0.15 * len(VIDEOS) < first < 0.45 * len(VIDEOS)


def test_boxes_lie_in_the_picture_and_are_of_the_agreed_type() -> None:
    for video in VIDEOS[:20]:
        for found in WORLD.detector()(WORLD.sample(video)):
            assert found.boxes.dtype == found.scores.dtype == np.float32
            assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
            assert found.boxes.min() >= 0
            assert found.boxes.max() <= 96


def test_videos_of_elsewhere_are_refused() -> None:
    sample = WORLD.sample("train-00000")
    foreign = [
        dataclasses.replace(sample, total_frames=300),
        dataclasses.replace(sample, frames=sample.frames[:, :64]),
    ]
    for clip in foreign:
        with pytest.raises(UserError, match="video 'train-00000' is no video of this world: it has"):
            WORLD.detector()(clip)
    with pytest.raises(UserError, match="no video 'holiday' in this world"):
        WORLD.detector()(dataclasses.replace(sample, video="holiday"))


def test_block_means_equal_the_plain_mean_and_count_split_pixels_by_share() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 12, 18, 3), dtype=np.uint8)
    plain = frames.astype(float).reshape(2, 6, 2, 6, 3, 3).mean(axis=(2, 4))
    assert block_means(frames, 6) == pytest.approx(plain, abs=1e-3)
    row = np.zeros((1, 3, 3, 3), dtype=np.uint8)
    row[0, :, 1] = 90
    assert block_means(row, 2)[0, :, :, 0] == pytest.approx(np.full((2, 2), 30.0), abs=1e-4)


def test_crops_equal_a_loop_over_points() -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    boxes = np.array([[2.5, 3.0, 11.0, 9.5], [-4.0, 10.0, 8.0, 27.0], [7.0, 7.0, 7.0, 7.0]], dtype=np.float32)
    frame = np.array([0, 2, 1])
    points, context = 4, 1.5

    def pixel(t: int, x: float, y: float) -> np.ndarray:
        x, y = min(max(x - 0.5, 0), 23), min(max(y - 0.5, 0), 19)
        i, j = min(int(y), 18), min(int(x), 22)
        u, v = x - j, y - i
        f = frames[t].astype(float)
        return (1 - v) * ((1 - u) * f[i, j] + u * f[i, j + 1]) + v * ((1 - u) * f[i + 1, j] + u * f[i + 1, j + 1])

    wanted = np.zeros((3, points, points, 3))
    for n, (x1, y1, x2, y2) in enumerate(boxes.astype(float)):
        wide, high = x2 - x1 + 2 * context, y2 - y1 + 2 * context
        for a in range(2 * points):
            for b in range(2 * points):
                at = (x1 - context + wide * (b + 0.5) / 8, y1 - context + high * (a + 0.5) / 8)
                wanted[n, a // 2, b // 2] += pixel(int(frame[n]), *at) / 4
    assert crops(frames, frame, boxes, points, context) == pytest.approx(wanted, abs=2e-3)


def features(video: str, world: World = WORLD) -> tuple[np.ndarray, np.ndarray]:
    sample = world.sample(video)
    return world.backbone()(sample, [found.boxes for found in world.detector()(sample)])


def test_features_are_finite_of_the_agreed_shape_and_always_the_same() -> None:
    for video in VIDEOS[:5]:
        sample = WORLD.sample(video)
        boxes = [found.boxes for found in WORLD.detector()(sample)]
        scene, objects = WORLD.backbone()(sample, boxes)
        assert scene.shape == (10, 512)
        assert objects.shape == (sum(map(len, boxes)), 256)
        assert scene.dtype == objects.dtype == np.float32
        assert np.isfinite(scene).all()
        assert np.isfinite(objects).all()
        assert scene.std() > 0.1
        assert objects.std() > 0.1
        again = features(video, World(train=160, val=4, test=4))
        assert np.array_equal(scene, again[0])
        assert np.array_equal(objects, again[1])


def test_frames_without_boxes_are_normal() -> None:
    sample = WORLD.sample("train-00000", num_frames=3)
    none = np.zeros((0, 4), dtype=np.float32)
    one = np.array([[10.0, 10.0, 30.0, 30.0]], dtype=np.float32)
    assert WORLD.backbone()(sample, [none, none, none])[1].shape == (0, 256)
    assert WORLD.backbone()(sample, [none, one, none])[1].shape == (1, 256)
    flat = np.array([[10.0, 10.0, 10.0, 10.0]], dtype=np.float32)
    assert np.isfinite(WORLD.backbone()(sample, [none, flat, none])[1]).all()


def test_objects_come_in_the_order_of_frames_and_boxes() -> None:
    sample = WORLD.sample("train-00001", num_frames=2)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (3, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + 20], axis=1)
    both = WORLD.backbone()(sample, [boxes[:1], boxes])[1]
    single = dataclasses.replace(sample, frames=sample.frames[1:], frame_number=sample.frame_number[1:], num_unique=1)
    assert both[1:] == pytest.approx(WORLD.backbone()(single, [boxes])[1], abs=1e-5)


def test_an_object_feature_sees_its_crop_and_no_more() -> None:
    sample = WORLD.sample("train-00002", num_frames=1)
    box = np.array([[20.0, 20.0, 40.0, 40.0]], dtype=np.float32)
    far, near = sample.frames.copy(), sample.frames.copy()
    far[:, 60:, 60:] = 255
    near[:, 38:42, 30:34] = 255
    before = WORLD.backbone()(sample, [box])[1]
    assert np.array_equal(before, WORLD.backbone()(dataclasses.replace(sample, frames=far), [box])[1])
    assert np.abs(before - WORLD.backbone()(dataclasses.replace(sample, frames=near), [box])[1]).max() > 0.05


def test_the_wall_tells_an_object_where_it_is() -> None:
    """A linear read-out of the object feature places the box, though no coordinate enters."""
    rows, places = [], []
    for video in VIDEOS:
        sample = WORLD.sample(video)
        boxes, _ = WORLD.truth(video, sample.frame_number)
        rows.append(WORLD.backbone()(sample, list(boxes.astype(np.float32)))[1].astype(float))
        flat = boxes.reshape(-1, 4)
        places.append((flat[:, :2] + flat[:, 2:]) / 2)
    cut = 120
    x, y = np.concatenate(rows[:cut]), np.concatenate(places[:cut])
    x_test, y_test = np.concatenate(rows[cut:]), np.concatenate(places[cut:])
    mean = y.mean(axis=0)
    weight = np.linalg.solve(x.T @ x + 10 * np.eye(256), x.T @ (y - mean))
    error = np.sqrt(((x_test @ weight + mean - y_test) ** 2).mean(axis=0))
    assert (error < 0.5 * y_test.std(axis=0)).all()


def test_the_scene_sees_the_change_to_the_next_frame() -> None:
    still = WORLD.sample("train-00004", num_frames=2)
    same = dataclasses.replace(still, frames=np.repeat(still.frames[:1], 2, axis=0))
    none = [np.zeros((0, 4), dtype=np.float32)] * 2
    backbone = WORLD.backbone()
    moving, resting = backbone(still, none)[0], backbone(same, none)[0]
    assert np.array_equal(resting[0], resting[1])
    assert np.abs(moving[0] - resting[0]).max() > 0.05


def test_wrong_arguments_are_told() -> None:
    sample = WORLD.sample("train-00000", num_frames=2)
    with pytest.raises(ValueError, match="video 'train-00000' has 2 frames but boxes for 1"):
        WORLD.backbone()(sample, [np.zeros((0, 4), dtype=np.float32)])
    with pytest.raises(ValueError, match="scene must be a multiple of 4 and grid larger than patch; got 255, 16, 3"):
        WorldBackbone(scene=255)


def test_manifests_are_json_and_name_what_decides() -> None:
    text = json.dumps(WORLD.detector().manifest()), json.dumps(WORLD.backbone().manifest())
    assert '"seed": 0' in text[0]
    assert '"world-backbone"' in text[1]
    assert WORLD.detector().manifest() != World(seed=3).detector().manifest()
    # How many videos there are changes no number: features of a small world serve a larger one.
    assert WORLD.detector().manifest() == World().detector().manifest()


def test_the_extractor_takes_both() -> None:
    from stg.features.extractor import Extractor

    extractor = Extractor(WORLD.detector(), WORLD.backbone())
    features = extractor(WORLD.sample("val-00001"))
    assert features.num_frames == 10
    assert features.objects.shape[1] == 256
    assert 20 <= len(features.boxes) <= 50
    json.dumps(extractor.manifest())
