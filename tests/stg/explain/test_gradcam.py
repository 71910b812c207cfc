"""Grad-CAM of the scene branch: against slow autograd through the map, by finite differences, and on known pictures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig
from stg.datasets.world.dataset import World
from stg.datasets.world.perception import WorldBackbone, _standard, block_means
from stg.explain.gradcam import frame_saliency, gradcam, scene_gradients, scene_map
from stg.explain.likelihood import word_log_probs
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.statistics import Standardise
from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.backbones import LocatingBackbone, OnnxBackbone
from stg.vision.torch_backbones import CROP, TorchBackbone, centre_crop, prepare, uncrop
from tests.stg.make_networks import write_backbone
from tests.stg.vision.test_torch_backbones import made, narrow, sample_of

VOCABULARY = 12
WORDS = [5, 7, 4, 9]
STATS = STaTSConfig(scene_streams=("frames", "regions"), object_streams=("frames", "regions"))
KINDS = {
    "transformer": {},
    "two views": {"views": "attentive"},
    "stats": {"decoder": "stats", "stats": STATS},
    "attention_lstm": {"decoder": "attention_lstm"},
    "clip vector and regions": {
        "decoder": "attention_lstm",
        "attention_lstm": AttentionLSTMConfig(memory="spatial", summary="clip"),
    },
    "joined by channel": {"branches": "concat"},
    "joined by time": {"branches": "concat", "concat_axis": "time"},
    "scene only": {"branches": "scene"},
}


def build(scene: int, *, motion: int = 4, **settings: object) -> Captioner:
    settings = {"branches": "full", "dropout": 0.5} | settings
    model = ModelConfig(channels=16, heads=2, hidden=16, **settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    widths = FeatureWidths(scene=scene, motion=motion, objects=6)
    captioner = build_captioner(model, GraphConfig(), widths=widths, vocabulary=VOCABULARY, max_words=8)
    if captioner.standardise is not None:
        for part in captioner.standardise.values():
            assert isinstance(part, Standardise)
            part.fit([3 + 2 * torch.randn(50, len(part.mean))])
    return captioner


def video_of(scene: Tensor, motion: int = 4) -> Data:
    """One video's flat batch: three objects in each even frame, edges along the frames."""
    random = torch.Generator().manual_seed(1)
    frames = len(scene)
    frame = torch.arange(0, frames, 2).repeat_interleave(3)
    count = len(frame)
    ends = torch.randint(count, (2, 4 * count), generator=random)
    return Data(
        x=torch.randn(count, 6, generator=random).to(scene),
        frame=frame,
        batch=torch.zeros(count, dtype=torch.int64),
        edge_index=ends,
        edge_weight=torch.rand(4 * count, generator=random) + 0.1,
        scene=scene,
        motion=torch.randn(2, motion, generator=random).to(scene),
        motion_row=torch.arange(frames) * 2 // frames,
        motion_ptr=torch.tensor([0, 2]),
        num_frames=torch.tensor([frames]),
    )


def scores(captioner: Captioner, batch: Data) -> Tensor:
    """The words' log-probabilities and, last, the caption's, without this module's care."""
    captioner.eval()
    one = word_log_probs(captioner.decoder, captioner.memory(batch), WORDS)
    return torch.cat([one[:-1], one.sum()[None]])


@pytest.fixture
def torch_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TorchBackbone:
    monkeypatch.setattr("stg.vision.torch_backbones.get_model", lambda name, *, weights, num_classes: made(num_classes))
    torch.save(narrow().state_dict(), tmp_path / "tiny.pth")
    return TorchBackbone("resnet101", weights=tmp_path / "tiny.pth")


def test_equals_slow_autograd_through_the_map_of_a_real_network(torch_backbone: TorchBackbone) -> None:
    sample = sample_of(3, 4, 60, 84)
    captioner = build(2048).double()
    images = centre_crop(prepare(sample.frames)).double()
    maps = narrow().double()
    for key in ("avgpool", "fc"):
        setattr(maps, key, torch.nn.Identity())
    activations: Tensor = torch.nn.Sequential(*list(maps.children()))(images).detach().requires_grad_()
    batch = video_of(activations.mean((2, 3)))
    found, whole = gradcam(captioner, batch.clone().apply(Tensor.detach), WORDS, torch_backbone.scene_map(sample))
    assert (found.whole, whole.whole) == (False, True)
    for row, score in enumerate(scores(captioner, batch)):
        slope = torch.autograd.grad(score, activations, retain_graph=True)[0]
        cam = (slope.mean((2, 3), keepdim=True) * activations).sum(1).clamp_min(0).detach().numpy()
        expected = uncrop(cam, 256, 358)
        look, number = (found, row) if row < len(WORDS) else (whole, 0)
        assert look.places is not None
        np.testing.assert_allclose(look.places[number], expected / expected.sum(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    captioner = build(5, **KINDS[kind]).double()
    batch = video_of(torch.randn(6, 5, generator=torch.Generator().manual_seed(2)).double())
    gradient = scene_gradients(captioner.train(), batch, WORDS)
    assert gradient is not None
    assert gradient.abs().sum((1, 2)).min() > 0
    random = torch.Generator().manual_seed(3)
    for _ in range(3):
        way = torch.randn(6, 5, generator=random).double()
        rise = [scores(captioner, _moved(batch, way * step))[-1].detach() for step in (1e-5, -1e-5)]
        slope = float(rise[0] - rise[1]) / 2e-5
        assert float((gradient.sum(0) * way).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def _moved(batch: Data, way: Tensor) -> Data:
    moved = batch.clone()
    moved.scene = batch.scene + way
    return moved


def test_the_captioner_is_left_as_it_was_and_may_be_searched_below_inference_mode() -> None:
    captioner = build(5, **KINDS["stats"])
    captioner.decoder.eval()
    captioner.objects.requires_grad_(False)
    modes = [part.training for part in captioner.modules()]
    learned = [weight.requires_grad for weight in captioner.parameters()]
    assert len(set(modes)) == len(set(learned)) == 2
    plain = scene_gradients(captioner, video_of(torch.ones(3, 5)), WORDS)
    with torch.inference_mode():
        below = scene_gradients(captioner, video_of(torch.ones(3, 5)), WORDS)
        assert torch.is_inference_mode_enabled()
    assert plain is not None
    assert below is not None
    assert torch.equal(plain, below)
    assert [part.training for part in captioner.modules()] == modes
    assert [weight.requires_grad for weight in captioner.parameters()] == learned
    assert all(weight.grad is None for weight in captioner.parameters())


@pytest.mark.gpu
def test_recurrent_layers_of_a_gpu_give_gradients_without_being_trained() -> None:
    captioner = build(5, **KINDS["stats"])
    batch = video_of(torch.randn(4, 5))
    expected, found = scene_gradients(captioner, batch, WORDS), scene_gradients(captioner.cuda(), batch, WORDS)
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-5)


def onnx(tmp_path: Path) -> OnnxBackbone:
    """A network whose map is the mean colour of each of 4x4 patches."""
    return OnnxBackbone(write_backbone(tmp_path / "colours.onnx"))


def noise(frames: int) -> SampledFrames:
    """Random pictures."""
    pictures = np.random.default_rng(0).integers(0, 256, (frames, 64, 64, 3)).astype(np.uint8)
    return SampledFrames("noise", pictures, np.arange(frames), frames, 25.0)


def red_square(frames: int, row: int, column: int) -> SampledFrames:
    """Black pictures of 4x4 patches, one of which is red in the middle frame."""
    pictures = np.zeros((frames, 64, 96, 3), np.uint8)
    pictures[frames // 2, 16 * row : 16 * row + 16, 24 * column : 24 * column + 24, 0] = 255
    return SampledFrames("square", pictures, np.arange(frames), frames, 25.0)


def test_a_word_that_one_patch_tells_is_found_there(tmp_path: Path) -> None:
    sample, backbone = red_square(3, 1, 2), onnx(tmp_path)
    places = backbone.scene_map(sample).gradcam(np.array([[[2.0, 0.0, 0.0]] * 3, [[-2.0, 1.0, 0.0]] * 3]))
    assert places.shape == (2, 3, 4, 4)
    assert np.unravel_index(places[0].argmax(), places[0].shape) == (1, 1, 2)
    # The mean over 16 places holds a sixteenth of each.
    assert places[0].sum() == pytest.approx(2.0 * backbone(sample, [np.zeros((0, 4), np.float32)] * 3)[0].sum())
    assert places[0, 1, 1, 2] > 20 * np.delete(places[0].ravel(), 1 * 16 + 1 * 4 + 2).max()
    assert not places[1].any(), "red lowers the second score"


def test_rows_are_shares_of_all_frames(tmp_path: Path) -> None:
    sample, backbone = noise(4), onnx(tmp_path)
    scene, _ = backbone(sample, [np.zeros((0, 4), np.float32)] * 4)
    words, whole = gradcam(build(3), video_of(torch.from_numpy(scene)), WORDS, backbone.scene_map(sample))
    for look, rows in ((words, len(WORDS)), (whole, 1)):
        assert look.places is not None
        assert look.places.shape == (rows, 4, 4, 4)
        assert (look.places >= 0).all()
        sums = look.places.sum((1, 2, 3))
        assert (np.isclose(sums, 1) | (sums == 0)).all()
        assert np.isclose(sums, 1).any()
    assert "4 x 4" in words.note


def test_without_pictures_frames_have_what_their_places_add_up_to(tmp_path: Path) -> None:
    sample, backbone = noise(5), onnx(tmp_path)
    scene = torch.from_numpy(backbone(sample, [np.zeros((0, 4), np.float32)] * 5)[0])
    captioner, batch = build(3), video_of(scene)
    gradient = scene_gradients(captioner, batch, WORDS)
    assert gradient is not None
    one, whole = frame_saliency(captioner, batch, WORDS)
    assert (one.whole, whole.whole) == (False, True)
    assert one.frames is not None
    assert whole.frames is not None
    signed = np.einsum("ltc,tcij->lt", gradient.numpy(), backbone.feature_maps(sample)) / 16
    expected = signed[:-1].clip(min=0)
    np.testing.assert_allclose(one.frames, expected / expected.sum(1, keepdims=True).clip(1e-30), rtol=1e-3, atol=1e-6)
    expected = signed.sum(0).clip(min=0)
    np.testing.assert_allclose(whole.frames[0], expected / max(expected.sum(), 1e-30), rtol=1e-3, atol=1e-6)


def test_the_crop_lies_where_torchvision_cuts_it() -> None:
    rng = np.random.default_rng(0)
    places = rng.random((2, 7, 7))
    found = uncrop(places, 256, 341)
    canvas = np.zeros((2, 256, 341))
    canvas[:, 16 : 16 + CROP, 58 : 58 + CROP] = places.repeat(32, 1).repeat(32, 2)
    slow = np.zeros((2, 16, 21))
    # Cells of 341 / 21 pixels: averaged over a picture in which each pixel is 21 wide.
    wide = canvas.repeat(21, 2)
    for row, column in np.ndindex(16, 21):
        slow[:, row, column] = wide[:, 16 * row : 16 * row + 16, 341 * column : 341 * column + 341].mean((1, 2))
    np.testing.assert_allclose(found, slow, atol=1e-12)
    one = torch.zeros(1, 3, 256, 341)
    one[:, :, 16, 58] = 1
    assert centre_crop(one)[0, 0, 0, 0] == 1
    assert uncrop(places, 300, 256).shape == (2, 19, 16)


def test_the_torch_backbone_puts_nothing_outside_of_the_crop(torch_backbone: TorchBackbone) -> None:
    sample = sample_of(5, 2, 60, 200)
    found = torch_backbone.scene_map(sample)
    places = found.over_frame(found.gradcam(np.random.default_rng(0).normal(size=(2, 2048)).astype(np.float32)))
    assert places.shape == (2, 16, 53)
    seen = places.any((0, 1)).nonzero()[0]
    assert seen.min() >= (853 - CROP) / 2 / (853 / 53) - 1
    assert seen.max() <= (853 + CROP) / 2 / (853 / 53)


@pytest.mark.parametrize("shape", [{}, {"grid": 9, "patch": 2, "scene": 20}])
def test_the_world_shares_its_scene_feature_out_by_quarters(shape: dict[str, int]) -> None:
    world = World(train=2, val=1, test=1)
    backbone, sample = WorldBackbone(**shape), world.sample("train-00000")
    empty = [np.zeros((0, 4), np.float32)] * len(sample.frames)
    scene, _ = backbone(sample, empty)
    # Responses are not negative, so that with a gradient that is not, either, places add up to gradient x feature.
    gradient = np.random.default_rng(0).random((2, *scene.shape)).astype(np.float32)
    seen = backbone.scene_map(sample)
    places = seen.over_frame(seen.gradcam(gradient))
    assert places.shape == (2, len(scene), backbone.grid, backbone.grid)
    np.testing.assert_allclose(places.sum((2, 3)), (gradient * scene).sum(-1), rtol=1e-4)
    # The last quarter of the feature is of the lower right, and a place reaches as far as its patch.
    gradient[..., : 3 * backbone.scene // 4] = 0
    places = seen.over_frame(seen.gradcam(gradient))
    half = (backbone.grid - backbone.patch + 1) // 2
    assert not places[..., :half, :].any()
    assert not places[..., :, :half].any()
    assert places[..., half:, half:].all()


def slow_scene(backbone: LocatingBackbone, sample: SampledFrames, hidden: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """The scene features of one row of hidden places: the network's own map, changed, and averaged once more."""
    if isinstance(backbone, WorldBackbone):
        response = backbone._responses(_standard(block_means(sample.frames, backbone.grid)))
        half, quarters = response.shape[1] // 2, np.split(fill, 4)
        scene = []
        for quarter, (down, across) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            rows = slice(half, None) if down else slice(half)
            columns = slice(half, None) if across else slice(half)
            changed = np.where(hidden[..., None], quarters[quarter], response)[:, rows, columns]
            scene.append(changed.mean((1, 2)))
        return np.concatenate(scene, -1)
    if isinstance(backbone, TorchBackbone):
        with torch.no_grad():
            maps = backbone.body(centre_crop(prepare(sample.frames))).numpy()
    else:
        assert isinstance(backbone, OnnxBackbone)
        maps = backbone.feature_maps(sample)
    return np.where(hidden[:, None], fill[:, None, None], maps).mean((2, 3))


@pytest.mark.parametrize("network", ["onnx", "torch", "world", "odd world"])
def test_hidden_places_are_as_if_the_map_had_been_changed(
    network: str, tmp_path: Path, torch_backbone: TorchBackbone
) -> None:
    world = World(train=1, val=1, test=1).sample("train-00000")
    backbone, sample = {
        "onnx": lambda: (onnx(tmp_path), noise(3)),
        "torch": lambda: (torch_backbone, sample_of(4, 2, 60, 90)),
        "world": lambda: (WorldBackbone(), world),
        "odd world": lambda: (WorldBackbone(grid=9, patch=1, scene=20), world),
    }[network]()
    assert isinstance(backbone, LocatingBackbone)
    seen = backbone.scene_map(sample)
    scene, _ = backbone(sample, [np.zeros((0, 4), np.float32)] * len(sample.frames))
    frames, _, height, width = seen.maps.shape
    rng = np.random.default_rng(0)
    hidden = rng.random((2, 3, frames, height, width)) < 0.3
    hidden[0, 0], hidden[1, 2] = False, True
    fill = rng.normal(size=scene.shape[1]).astype(np.float32)
    found = seen.without(hidden, fill)
    assert found.shape == (2, 3, *scene.shape)
    np.testing.assert_allclose(found[0, 0], scene, rtol=1e-4, atol=1e-5, err_msg="nothing was hidden")
    np.testing.assert_allclose(found[1, 2], np.tile(fill, (frames, 1)), rtol=1e-4, atol=1e-5)
    for row in np.ndindex(2, 3):
        np.testing.assert_allclose(
            found[row], slow_scene(backbone, sample, hidden[row], fill), rtol=1e-4, atol=1e-5, err_msg=str(row)
        )
    np.testing.assert_allclose(seen.without(hidden[1, 1], fill), found[1, 1], rtol=1e-6)


def test_every_image_network_tells_where() -> None:
    assert issubclass(OnnxBackbone, LocatingBackbone)
    assert issubclass(TorchBackbone, LocatingBackbone)
    assert issubclass(WorldBackbone, LocatingBackbone)


def test_nothing_is_shown_where_there_is_nothing_to_show(tmp_path: Path) -> None:
    sample, backbone = red_square(3, 1, 1), onnx(tmp_path)
    batch = video_of(torch.rand(3, 3))
    assert gradcam(build(3, branches="object"), batch, WORDS, backbone.scene_map(sample)) == ()
    assert gradcam(build(3), batch, [], backbone.scene_map(sample)) == ()
    regions_alone = dataclasses.replace(STATS, scene_streams=("regions",), object_streams=("regions",))
    blind = build(3, decoder="stats", stats=regions_alone)
    assert gradcam(blind, batch, WORDS, backbone.scene_map(sample)) == ()
    assert frame_saliency(blind, batch, WORDS) == ()


def test_other_frames_than_those_of_the_features_are_refused(tmp_path: Path) -> None:
    sample, backbone = red_square(3, 1, 1), onnx(tmp_path)
    batch = video_of(torch.rand(3, 3))
    batch.frame_number = torch.tensor([0, 1, 4])
    with pytest.raises(UserError, match=r"'square' are not those of its features: numbers \[0, 1, 2\].*\[0, 1, 4\]"):
        scene_map(backbone, batch, sample)
    del batch.frame_number
    assert scene_map(backbone, batch, sample).maps.shape[0] == 3
    with pytest.raises(UserError, match="the features are of 4 frames"):
        scene_map(backbone, video_of(torch.rand(4, 3)), sample)
    batch.num_frames = torch.tensor([2, 1])
    with pytest.raises(ValueError, match="belongs to one video, and the batch has 2"):
        gradcam(build(3), batch, WORDS, backbone.scene_map(sample))
