"""The captioner: Eq. 6, Eq. 8, the ablations, and what is left at test time (P17-P28)."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import LossConfig
from stg.data.batches import CaptionBatch
from stg.models.branches import SceneBranch, SceneFrames, pad_scene
from stg.models.build import build_captioner
from stg.models.captioner import Branch, Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.statistics import Standardise
from stg.runs.bundle import CaptionerBundle
from stg.runs.tensors import load_tensors, save_tensors
from stg.text.vocabulary import SPECIAL, Vocabulary
from stg.training.losses import captioning_losses

WORDS = 10
POOR = FeatureWidths(scene=5, motion=4, objects=6)


def build(branches: str = "full", **settings: object) -> Captioner:
    model = ModelConfig(branches=branches, channels=16, heads=2, hidden=16, dropout=0.0, **settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return build_captioner(model, GraphConfig(), widths=POOR, vocabulary=WORDS, max_words=8)


def test_equation_6() -> None:
    torch.manual_seed(0)
    branch = SceneBranch(5, 4, 3).double()
    scene, motion = torch.randn(2, 7, 5).double(), torch.randn(2, 7, 4).double()
    found = branch(SceneFrames(scene, motion, torch.ones(2, 7, dtype=torch.bool)))
    assert branch.motion is not None
    w2d, w3d, fuse = branch.frames.weight.T, branch.motion.weight.T, branch.fuse.weight.T
    for video in range(2):
        for frame in range(7):
            row = torch.cat([scene[video, frame] @ w2d, motion[video, frame] @ w3d]) @ fuse
            torch.testing.assert_close(found[video, frame], row, rtol=0, atol=1e-12)
    assert {name for name, _ in branch.named_parameters()} == {"frames.weight", "motion.weight", "fuse.weight"}


def test_motion_rows_are_gathered_as_if_replicated(caption_batch: CaptionBatch) -> None:
    padded = pad_scene(caption_batch.graphs)
    assert padded.motion is not None
    for video, graph in enumerate(caption_batch.graphs.to_data_list()):
        replicated = torch.stack([graph.motion[row] for row in graph.motion_row.tolist()])
        assert torch.equal(padded.motion[video], replicated)
        assert torch.equal(padded.scene[video], graph.scene)


def test_a_model_with_motion_says_so_when_there_is_none(caption_batch: CaptionBatch) -> None:
    del caption_batch.graphs.motion
    with pytest.raises(ValueError, match="built with motion features and the batch has none: extract with --motion"):
        build().encode(caption_batch.graphs)


def test_the_branches_share_no_weight() -> None:
    model = build()
    groups = [
        {id(weight) for part in parts if part is not None for weight in part.parameters()}
        for parts in ((model.scene, model.scene_decoder), (model.objects, model.object_decoder))
    ]
    assert all(groups)
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == {id(weight) for weight in model.parameters()}


def test_equation_8_weighs_the_distillation_not_the_object_loss(caption_batch: CaptionBatch) -> None:
    parts = captioning_losses(build(), caption_batch, LossConfig(scene_weight=0.5, distill_weight=4.0))
    assert set(parts) == {"loss", "scene", "object", "distill"}
    expected = parts["object"] + 0.5 * parts["scene"] + 4.0 * parts["distill"]
    torch.testing.assert_close(parts["loss"], expected)
    assert all(value > 0 for value in parts.values())


@pytest.mark.parametrize(
    ("branches", "names"),
    [
        ("scene", {"loss", "scene"}),
        ("object", {"loss", "object"}),
        ("concat", {"loss", "scene"}),
        ("l2", {"loss", "scene", "object", "l2"}),
    ],
)
def test_ablations_have_their_losses_and_reach_all_weights(
    branches: str, names: set[str], caption_batch: CaptionBatch
) -> None:
    model = build(branches)
    parts = captioning_losses(model, caption_batch)
    assert set(parts) == names
    parts["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_videos_without_objects_do_not_count_in_object_and_distillation_loss(caption_batch: CaptionBatch) -> None:
    model = build()
    parts = captioning_losses(model, caption_batch)
    keep = caption_batch.video != 1
    fewer = dataclasses.replace(
        caption_batch,
        words=caption_batch.words[keep],
        targets=caption_batch.targets[keep],
        real=caption_batch.real[keep],
        video=caption_batch.video[keep],
    )
    without = captioning_losses(model, fewer)
    for name in ("object", "distill"):
        torch.testing.assert_close(parts[name], without[name])
        kept = captioning_losses(model, caption_batch, LossConfig(keep_empty=True))[name]
        assert not torch.isclose(kept, parts[name])
    assert not torch.isclose(parts["scene"], without["scene"])


def test_a_batch_without_any_object_trains_through_the_scene_branch(caption_batch: CaptionBatch) -> None:
    rows = caption_batch.video == 1
    empty = dataclasses.replace(
        caption_batch,
        words=caption_batch.words[rows],
        targets=caption_batch.targets[rows],
        real=caption_batch.real[rows],
        video=caption_batch.video[rows],
    )
    model = build()
    parts = captioning_losses(model, empty)
    parts["loss"].backward()
    assert parts["object"].item() == 0
    assert parts["distill"].item() == 0
    assert parts["scene"].item() > 0
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_padding_the_captions_changes_no_loss(caption_batch: CaptionBatch) -> None:
    longer = dataclasses.replace(
        caption_batch,
        words=nn.functional.pad(caption_batch.words, (0, 2)),
        targets=nn.functional.pad(caption_batch.targets, (0, 2)),
        real=nn.functional.pad(caption_batch.real, (0, 2)),
    )
    short, long = (captioning_losses(build(), batch) for batch in (caption_batch, longer))
    for name in short:
        torch.testing.assert_close(short[name], long[name], rtol=0, atol=1e-6)


def test_detaching_the_teacher_leaves_it_its_language_loss_alone(caption_batch: CaptionBatch) -> None:
    def gradient(**settings: bool | float) -> torch.Tensor:
        model = build()
        captioning_losses(model, caption_batch, LossConfig(**{"distill_weight": 4.0, **settings}))["loss"].backward()  # type: ignore[arg-type]
        assert model.object_decoder is not None
        grad = model.object_decoder.output.weight.grad
        assert grad is not None
        return grad

    alone = gradient(distill_weight=0.0)
    torch.testing.assert_close(gradient(detach_teacher=True), alone)
    assert not torch.allclose(gradient(), alone)


def test_concat_by_time_doubles_the_memory(caption_batch: CaptionBatch) -> None:
    by_time = build("concat", concat_axis="time").encode(caption_batch.graphs).scene
    by_channel = build("concat").encode(caption_batch.graphs).scene
    assert by_time is not None
    assert by_channel is not None
    assert by_time.frames.shape == (3, 6, 16)
    assert by_channel.frames.shape == (3, 3, 16)
    assert by_time.frame_mask.tolist()[1] == [True] * 3 + [False] * 3


def test_parts_must_fit_the_fusion() -> None:
    model = build()
    with pytest.raises(ValueError, match="needs a scene branch, an object branch, or both"):
        Captioner()
    with pytest.raises(ValueError, match="every branch needs its decoder"):
        Captioner(scene=Branch(model.scene))
    with pytest.raises(ValueError, match="needs both branches and exactly one decoder"):
        Captioner(
            scene=Branch(model.scene, model.scene_decoder),
            objects=Branch(model.objects, model.object_decoder),
            fusion="concat",
        )


def trained(branches: str) -> CaptionerBundle:
    settings = ModelConfig(branches=branches, channels=16, heads=2, hidden=16)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = build_captioner(settings, GraphConfig(), widths=POOR, vocabulary=WORDS, max_words=8).eval()
    vocabulary = Vocabulary((*SPECIAL, "a", "b", "c", "d", "e", "f"), 8)
    return CaptionerBundle(model, vocabulary, settings, GraphConfig(), POOR, {"detector": "made"})


def test_the_exported_model_holds_no_object_branch_and_captions_without_objects(
    tmp_path: Path, caption_batch: CaptionBatch
) -> None:
    whole = trained("full")
    whole.save(tmp_path / "model.safetensors")
    whole.save(tmp_path / "whole.safetensors", whole=True)
    small = CaptionerBundle.load(tmp_path / "model.safetensors")
    assert small.model.branches == "scene"
    assert not [name for name in small.captioner.state_dict() if name.startswith("object")]
    batch = caption_batch.graphs
    memory, words = whole.captioner.memory(batch), caption_batch.words
    assert whole.captioner.scene_decoder is not None
    expected = whole.captioner.scene_decoder(words, memory, caption_batch.video)
    for name in ("x", "boxes", "frame", "edge_index", "edge_weight", "edge_type", "batch"):
        del batch[name]
    found = small.captioner.decoder(words, small.captioner.memory(batch), caption_batch.video)
    assert torch.equal(found, expected)
    both = CaptionerBundle.load(tmp_path / "whole.safetensors")
    assert both.model.branches == "full"
    assert both.captioner.objects is not None
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size


def test_a_file_of_before_other_decoders_still_loads(tmp_path: Path, caption_batch: CaptionBatch) -> None:
    made = trained("full")
    made.save(tmp_path / "model.safetensors")
    tensors, header = load_tensors(tmp_path / "model.safetensors")
    for name in ("decoder", "views", "stats", "attention_lstm"):
        del header["model"][name]
    for name in ("grid", "audio"):
        del header["widths"][name]
    del header["reads"]
    save_tensors(tmp_path / "old.safetensors", tensors, header)
    old = CaptionerBundle.load(tmp_path / "old.safetensors")
    assert old.widths == POOR
    frames = made.captioner.memory(caption_batch.graphs).frames
    assert torch.equal(old.captioner.memory(caption_batch.graphs).frames, frames)


def test_a_file_of_before_the_largest_number_of_steps_reads_them_all(tmp_path: Path) -> None:
    trained("scene").save(tmp_path / "model.safetensors")
    assert CaptionerBundle.load(tmp_path / "model.safetensors").model.stats.max_steps == 64
    tensors, header = load_tensors(tmp_path / "model.safetensors")
    del header["model"]["stats"]["max_steps"]
    save_tensors(tmp_path / "old.safetensors", tensors, header)
    assert CaptionerBundle.load(tmp_path / "old.safetensors").model.stats.max_steps == 0


@pytest.mark.parametrize("branches", ["concat", "object"])
def test_models_that_read_objects_keep_them(branches: str, tmp_path: Path, caption_batch: CaptionBatch) -> None:
    made = trained(branches)
    made.save(tmp_path / "model.safetensors")
    again = CaptionerBundle.load(tmp_path / "model.safetensors")
    assert again.captioner.needs_objects
    first, second = (one.captioner.memory(caption_batch.graphs).frames for one in (made, again))
    assert torch.equal(first, second)


def test_standardised_features_have_mean_0_and_deviation_1_and_the_rest_stays_in_place() -> None:
    torch.manual_seed(0)
    blocks = [3 * torch.randn(50, 4) + 7 for _ in range(4)]
    for block in blocks:
        block[:, 2] = 5.0
    standardise = Standardise(4)
    assert torch.equal(standardise(blocks[0]), blocks[0])
    standardise.fit(blocks)
    found = standardise(torch.cat(blocks))
    torch.testing.assert_close(found.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.std(0, unbiased=False)[[0, 1, 3]], torch.ones(3), rtol=0, atol=1e-4)
    assert found[:, 2].abs().max() < 1e-3


def test_places_of_a_grid_share_their_statistics() -> None:
    grid = 3 * torch.randn(2500, 4, 5, generator=torch.Generator().manual_seed(0)) + torch.arange(5.0)
    by_place, by_row = Standardise(5), Standardise(5)
    by_place.fit([grid[:900], grid[900:]])
    by_row.fit([grid.reshape(-1, 5)])
    torch.testing.assert_close(by_place.mean, by_row.mean)
    torch.testing.assert_close(by_place.scale, by_row.scale)
    flat = by_place(grid).flatten(0, 1)
    torch.testing.assert_close(flat.mean(0), torch.zeros(5), rtol=0, atol=1e-4)


def test_encoding_leaves_the_batch_as_it_was(caption_batch: CaptionBatch) -> None:
    model = build()
    assert model.standardise is not None
    standardise = model.standardise["x"]
    assert isinstance(standardise, Standardise)
    standardise.fit([caption_batch.graphs.x])
    before = caption_batch.graphs.x.clone()
    model.encode(caption_batch.graphs)
    assert torch.equal(caption_batch.graphs.x, before)
