"""Networks of transformers: tiny random models through the real classes, against what the library itself gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate
from torchvision.ops import box_iou

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.inference import roi_features
from stg.vision.transformers_networks import OVERLAP, TransformersBackbone, TransformersDetector, VideoMAENetwork
from tests.stg import make_models
from tests.stg.make_models import COLOURS, PATCH, SIDE

BOXES = [
    np.array([[0, 0, 60, 40], [5, 3, 40, 22]], np.float32),
    np.zeros((0, 4), np.float32),
    np.array([[30, 10, 59, 39]], np.float32),
]


def sample(seed: int = 0, size: tuple[int, int] = (40, 60)) -> SampledFrames:
    frames = np.random.default_rng(seed).integers(0, 255, (3, *size, 3), np.uint8)
    return SampledFrames("v", frames, np.arange(3), total_frames=3, fps=25.0)


def prepared(folder: Path, frames: np.ndarray) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return processor(list(frames), return_tensors="pt")["pixel_values"]


MODELS: dict[str, Any] = {
    "clip": make_models.write_clip,
    "siglip": make_models.write_siglip,
    "dinov2": lambda folder: make_models.write_dino(folder, 2),
    "dinov3": lambda folder: make_models.write_dino(folder, 3),
}
FIRST = {"clip": 1, "siglip": 0, "dinov2": 1, "dinov3": 4}
"""Tokens that are no places."""


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    folder, clip = MODELS[name](tmp_path / name), sample()
    scene, objects = TransformersBackbone(folder / "model.safetensors", batch=2)(clip, BOXES)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = prepared(folder, clip.frames)
    whole = interpolate(
        torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float(), (SIDE, SIDE), mode="bilinear", antialias=True
    )
    mean, std = (torch.tensor(COLOURS[key])[:, None, None] for key in ("image_mean", "image_std"))
    with torch.inference_mode():
        tower = getattr(model, "vision_model", model)
        expected = tower(pixels).pooler_output
        if name == "clip":
            expected = model.visual_projection(expected)
        hidden = tower((whole / 255 - mean) / std).last_hidden_state
    np.testing.assert_allclose(scene, expected.numpy(), atol=1e-5)
    rows = SIDE // PATCH
    places = hidden[:, FIRST[name] :].unflatten(1, (rows, rows)).permute(0, 3, 1, 2)
    corners = torch.from_numpy(np.concatenate(BOXES)) * torch.tensor([SIDE / 60, SIDE / 40] * 2)
    found = roi_features(places, corners, torch.tensor([0, 0, 2]), stride=PATCH)
    np.testing.assert_allclose(objects, found.numpy(), atol=1e-5)


def test_clips_together_give_what_each_gives_alone(tmp_path: Path) -> None:
    backbone = TransformersBackbone(make_models.write_clip(tmp_path / "clip") / "model.safetensors", batch=4)
    clips = [sample(0), sample(1, (50, 44)), sample(2)]
    together = backbone.many(clips, [BOXES] * 3)
    for clip, found in zip(clips, together, strict=True):
        for one, other in zip(backbone(clip, BOXES), found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.allclose(together[0][0], together[2][0])


def test_the_manifest_names_what_decides_the_numbers(tmp_path: Path) -> None:
    file = make_models.write_clip(tmp_path / "clip") / "model.safetensors"
    before = TransformersBackbone(file, objects=False).manifest()
    assert (before["kind"], before["name"], before["model"]) == ("transformers", "clip", "clip")
    assert before["processor"]["image_mean"] == COLOURS["image_mean"]
    assert (before["scene"], before["objects"]) == ("get_image_features", "none")
    # Saved by another version of the library: the same numbers.
    config = json.loads((file.parent / "config.json").read_text())
    (file.parent / "config.json").write_text(json.dumps(config | {"transformers_version": "9"}))
    assert TransformersBackbone(file, objects=False).manifest() == before
    config["vision_config"]["hidden_act"] = "relu"
    (file.parent / "config.json").write_text(json.dumps(config))
    assert TransformersBackbone(file, objects=False).manifest()["config"] != before["config"]


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    file = make_models.write_dino(tmp_path / "dino", 2) / "model.safetensors"
    state = load_file(file)
    del state["layernorm.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"dino lacks weights of Dinov2Model: layernorm.weight"):
        TransformersBackbone(file)(sample(), BOXES)


def test_a_pooler_that_was_never_trained_is_not_asked(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**make_models.TOWER, **make_models.PICTURES)
    processor = transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **COLOURS)
    make_models.write_model(tmp_path, transformers.ViTForImageClassification(config), processor)
    scene, _ = TransformersBackbone(tmp_path / "model.safetensors", objects=False)(sample(), BOXES)
    model: Any = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        expected = model.vit(prepared(tmp_path, sample().frames)).last_hidden_state[:, 0]
    np.testing.assert_allclose(scene, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["d_fine", "rt_detr"])
def test_a_detector_gives_the_boxes_of_the_library(kind: str, tmp_path: Path) -> None:
    folder, clip = make_models.write_detr(tmp_path / kind, kind), sample()
    detector = TransformersDetector(folder / "model.safetensors", min_score=0.2)
    found = detector(clip)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model: Any = transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        given = model(**processor(list(clip.frames[:2]), return_tensors="pt"))
    expected = processor.post_process_object_detection(given, threshold=0.2, target_sizes=[(40, 60)] * 2)
    assert len(found) == 3
    for one, other in zip(found, expected, strict=False):
        best = other["scores"].argmax()
        assert 0 < len(one.boxes) <= len(other["boxes"])
        np.testing.assert_allclose(one.boxes[0], other["boxes"][best].numpy(), atol=1e-3)
        np.testing.assert_allclose(one.scores[0], other["scores"][best].item(), atol=1e-6)
        assert (np.diff(one.scores) <= 0).all()
        boxes = torch.from_numpy(one.boxes)
        assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= OVERLAP
        # person is COCO's first; a ball and a tree are none of its words.
        assert one.labels is not None
        assert one.labels[0] == {0: 1, 1: 0, 2: 0}[int(other["labels"][best])]


def test_a_detector_finds_what_the_words_name(tmp_path: Path) -> None:
    folder, clip = make_models.write_grounding_dino(tmp_path / "dino"), sample()
    detector = TransformersDetector(folder / "model.safetensors", words=("person", "ball"), min_score=0.0)
    found = detector(clip)
    tokens, owner = detector.prompt
    text = detector_text(folder, tokens)
    assert text == "person.ball."
    assert owner == [0] * 6 + [-1] + [1] * 4 + [-1]
    model: Any = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        given = model(**processor(list(clip.frames[:1]), return_tensors="pt"), **tokens)
    scores = given.logits[0, :, : len(owner)].sigmoid()
    words = torch.stack([scores[:, :6].amax(1), scores[:, 7:11].amax(1)], dim=1)
    best = words.amax(1).argmax()
    x, y, width, height = (given.pred_boxes[0, best] * torch.tensor([60, 40, 60, 40])).tolist()
    np.testing.assert_allclose(found[0].scores[0], words.max().item(), atol=1e-5)
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    np.testing.assert_allclose(found[0].boxes[0], corners, atol=1e-3)
    assert found[0].labels is not None
    assert found[0].labels[0] == [1, 0][int(words[best].argmax())]
    assert detector.manifest()["words"] == ["person", "ball"]


def detector_text(folder: Path, tokens: dict[str, torch.Tensor]) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return "".join(tokenizer.convert_ids_to_tokens(tokens["input_ids"][0].tolist()))


def test_words_go_with_detectors_that_take_them(tmp_path: Path) -> None:
    file = make_models.write_detr(tmp_path / "rt", "rt_detr") / "model.safetensors"
    with pytest.raises(UserError, match="the detector rt knows its own classes: leave out the words"):
        _ = TransformersDetector(file, words=("ball",)).network
    file = make_models.write_grounding_dino(tmp_path / "dino") / "model.safetensors"
    with pytest.raises(UserError, match=r"the detector dino is given words: name what to look for \(--detector_words"):
        _ = TransformersDetector(file).network


def test_motion_is_that_of_the_library_in_the_order_of_places(tmp_path: Path) -> None:
    folder = make_models.write_videomae(tmp_path / "mae")
    network = VideoMAENetwork(folder / "model.safetensors", span=8, batch=2)
    assert network.request.crop == (SIDE, SIDE)
    segments = np.random.default_rng(0).integers(0, 255, (3, 8, SIDE, SIDE, 3), np.uint8)
    found = network(segments)
    model: Any = transformers.VideoMAEModel.from_pretrained(folder).eval()
    processor = transformers.VideoMAEImageProcessor.from_pretrained(folder)
    # Of eight frames each second, as the network takes four.
    pixels = torch.cat([processor(list(rows[::2]), return_tensors="pt")["pixel_values"] for rows in segments])
    with torch.inference_mode():
        hidden = model(pixels).last_hidden_state
    np.testing.assert_allclose(found.pooled, hidden.mean(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(found.maps.reshape(3, -1, 16), hidden.numpy(), atol=1e-5)
    assert found.maps.shape == (3, 2, SIDE // PATCH, SIDE // PATCH, 16)
    with pytest.raises(UserError, match=r"mae takes 4 frames, and a segment has 6: give --motion_span 4 or a multiple"):
        VideoMAENetwork(folder / "model.safetensors", span=6)
    clip = make_models.write_clip(tmp_path / "clip")
    with pytest.raises(UserError, match=r"clip \(clip\) is no VideoMAE"):
        VideoMAENetwork(clip / "model.safetensors")


def test_what_is_no_network_of_the_library_is_refused(tmp_path: Path) -> None:
    folder = make_models.write_dino(tmp_path / "dino", 2)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="dino holds no network that transformers can open here"):
        _ = TransformersBackbone(folder / "model.safetensors").network
    (folder / "preprocessor_config.json").write_text("[")
    with pytest.raises(UserError, match=r"preprocessor_config.json cannot be used"):
        _ = TransformersBackbone(folder / "model.safetensors").processor
