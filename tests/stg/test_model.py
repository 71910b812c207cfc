"""The captioner: Eq. 6, Eq. 8, the ablations, and what is left at test time (P17-P28)."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from graphs import build_graph
from graphs.in_memory import GraphsInMemory
from stg.assembly import Widths, build_captioner
from stg.checkpoint import load_tensors, save_tensors
from stg.config import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig
from stg.data import CaptionBatch
from stg.model import Captioner, SceneBranch, SceneFrames, SceneViews, Standardise, pad_scene
from stg.text import SPECIAL, Vocabulary
from stg.trained import Trained
from stg.training import captioning_losses

sys.path.insert(0, str(Path(__file__).parent))  # the helpers lie beside the tests
from conftest import made_batch, rich_videos

WORDS = 10
POOR, RICH = Widths(scene=5, motion=4, objects=6), Widths(scene=5, motion=4, objects=6, grid=7, audio=8)
DECODERS = {
    "transformer": ModelConfig(),
    "add": ModelConfig(views="add"),
    "attentive": ModelConfig(views="attentive"),
    "stats": ModelConfig(decoder="stats"),
    "stats-regions": ModelConfig(decoder="stats", stats=STaTSConfig(scene_streams=("regions",))),
    "stats-all": ModelConfig(
        decoder="stats",
        stats=STaTSConfig(
            scene_streams=("frames", "motion", "regions", "grid"),
            object_streams=("regions", "frames", "grid"),
            categories=3,
            category_use="both",
        ),
    ),
    "vanilla": ModelConfig(decoder="attention_lstm", attention_lstm=AttentionLSTMConfig(memory="none", summary="mean")),
    "vanilla-clip": ModelConfig(decoder="attention_lstm", attention_lstm=AttentionLSTMConfig(memory="none")),
    "temporal": ModelConfig(decoder="attention_lstm", attention_lstm=AttentionLSTMConfig(summary="mean")),
    "spatial": ModelConfig(decoder="attention_lstm", attention_lstm=AttentionLSTMConfig(memory="spatial")),
}
"""Settings under which every decoder reads something else."""
PAIRS = [
    (name, branches)
    for name in DECODERS
    for branches in ("full", "scene", "object", "l2", "concat")
    if not (branches == "object" and name in ("add", "attentive"))
    and (branches == "scene" or name != "vanilla-clip")
    and not (branches == "concat" and name in ("add", "attentive", "stats-regions", "stats-all", "spatial"))
]
"""Two views are for the scene branch; an object branch must look at objects; joined branches hand over frames alone."""


def build(branches: str = "full", **settings: object) -> Captioner:
    model = ModelConfig(branches=branches, channels=16, heads=2, hidden=16, dropout=0.0, **settings)  # type: ignore[arg-type]
    return assemble(model, POOR)


def small(name: str, branches: str) -> ModelConfig:
    return dataclasses.replace(DECODERS[name], branches=branches, channels=16, heads=2, hidden=16, dropout=0.0)  # type: ignore[arg-type]


def assemble(model: ModelConfig, widths: Widths = RICH) -> Captioner:
    torch.manual_seed(0)
    return build_captioner(model, GraphConfig(), widths=widths, vocabulary=WORDS, max_words=8)


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
    parts = captioning_losses(build(), caption_batch, scene_weight=0.5, distill_weight=4.0)
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
        kept = captioning_losses(model, caption_batch, keep_empty=True)[name]
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
        captioning_losses(model, caption_batch, **settings)["loss"].backward()  # type: ignore[arg-type]
        assert model.object_decoder is not None
        grad = model.object_decoder.output.weight.grad
        assert grad is not None
        return grad

    alone = gradient(distill_weight=0.0)
    torch.testing.assert_close(gradient(detach_teacher=True), alone)
    assert not torch.allclose(gradient(), alone)


def unread(model: Captioner) -> set[str]:
    """Weights of what a decoder leaves aside: every branch makes frames, whether they are looked at or not."""
    left = set()
    if model.scene is not None:
        prefixes = ("scene.frames", "scene.motion", "scene.fuse")
        left = {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
    return left


FRAMELESS = {"stats-regions", "vanilla-clip", "spatial"}
"""Those whose scene branch looks at no frames."""


@pytest.mark.parametrize(("name", "branches"), PAIRS)
def test_any_decoder_goes_with_any_branch(name: str, branches: str, rich_batch: CaptionBatch) -> None:
    model = assemble(small(name, branches))
    parts = captioning_losses(model, rich_batch)
    alignment = {"full": {"distill"}, "l2": {"l2"}}.get(branches, set())
    languages = (
        {"scene"} if branches in ("scene", "concat") else {"object"} if branches == "object" else {"scene", "object"}
    )
    own = {f"{branch}_rank" for branch in languages if name.startswith("stats")}
    own |= {f"{branch}_category" for branch in languages if name == "stats-all"}
    assert set(parts) == {"loss"} | languages | alignment | own
    assert all(part.isfinite() for part in parts.values())
    parts["loss"].backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert without == (unread(model) if name in FRAMELESS and branches != "l2" else set())
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize(("name", "branches"), [pair for pair in PAIRS if pair[1] in ("scene", "object")])
def test_captions_of_a_batch_equal_those_of_its_members(name: str, branches: str, rich_batch: CaptionBatch) -> None:
    model = assemble(small(name, branches)).eval()
    words = rich_batch.words
    together = model.decoder(words, model.memory(rich_batch.graphs), rich_batch.video)
    for row, video in enumerate(rich_videos()):
        chosen = rich_batch.video == row
        memory = model.memory(made_batch([video], [rich_batch.graphs.category[row].item()]))
        alone = model.decoder(words[chosen], memory, torch.zeros(int(chosen.sum()), dtype=torch.int64))
        torch.testing.assert_close(together[chosen], alone, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "branches", "reads"),
    [
        ("transformer", "full", {"scene", "motion"}),
        ("add", "full", {"scene", "motion"}),
        ("stats-all", "l2", {"scene", "motion", "objects", "grid"}),
        ("spatial", "scene", {"scene", "motion", "objects", "audio"}),
        ("spatial", "object", {"scene", "motion", "objects", "audio"}),
        ("vanilla-clip", "scene", {"scene", "motion", "audio"}),
        ("temporal", "object", {"objects"}),
        ("temporal", "concat", {"scene", "motion", "objects"}),
    ],
)
def test_captioning_reads_these_features_and_its_file_says_so(
    name: str, branches: str, reads: set[str], tmp_path: Path, rich_batch: CaptionBatch
) -> None:
    made = trained(branches, small(name, branches), RICH)
    assert made.captioner.reads == reads
    assert made.captioner.needs_objects == ("objects" in reads)
    made.save(tmp_path / "model.safetensors")
    again = Trained.load(tmp_path / "model.safetensors")
    assert again.captioner.reads == reads
    assert again.widths == RICH
    assert again.model == dataclasses.replace(made.model, branches=again.model.branches)
    assert set(load_tensors(tmp_path / "model.safetensors")[1]["reads"]) == reads
    assert again.captioner.standardise is not None
    fields = {"x" if kind == "objects" else kind for kind in reads}
    assert set(again.captioner.standardise) == fields
    batch, words = rich_batch.graphs, rich_batch.words
    expected = made.captioner.decoder(words, made.captioner.memory(batch), rich_batch.video)
    for field in {"x", "grid", "audio"} - fields:
        del batch[field]
    assert torch.equal(again.captioner.decoder(words, again.captioner.memory(batch), rich_batch.video), expected)


def test_two_views_are_not_fused_before_the_decoder_and_the_object_branch_has_one() -> None:
    model = assemble(small("add", "full"))
    assert isinstance(model.scene, SceneViews)
    assert {name for name, _ in model.scene.named_parameters()} == {"frames.weight", "motion.weight"}
    assert model.scene_decoder is not None
    assert model.object_decoder is not None
    assert model.scene_decoder.reads == {"motion"}
    assert model.object_decoder.reads == frozenset()


@pytest.mark.parametrize(
    ("name", "branches", "lacking", "message"),
    [
        ("add", "full", ("motion",), r"scene branch reads motion \(model.views\) and .* no motion .* --motion i3d"),
        ("stats-all", "scene", ("grid",), r"reads grid \(model.stats.scene_streams\) .* --motion i3d --grid true"),
        ("stats-all", "object", ("grid",), r"object branch reads grid \(model.stats.object_streams\) and the store"),
        ("stats-regions", "scene", ("objects",), r"reads regions \(model.stats.scene_streams\) .* with a --detector"),
        (
            "spatial",
            "scene",
            ("objects",),
            r"reads regions \(model.attention_lstm.memory\) and the store has no object",
        ),
        (
            "spatial",
            "object",
            ("scene", "motion", "audio"),
            r"reads clip \(model.attention_lstm.summary\) .* no scene, m",
        ),
    ],
)
def test_features_that_a_decoder_lacks_are_told(
    name: str, branches: str, lacking: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(small(name, branches), dataclasses.replace(RICH, **dict.fromkeys(lacking, 0)))


def test_settings_that_do_not_go_together_are_told() -> None:
    with pytest.raises(ValueError, match="views='add' is for the scene branch, and branches='object' has none"):
        assemble(small("add", "object"))
    for name in ("add", "stats-regions", "spatial"):
        with pytest.raises(ValueError, match="fusion='concat' joins the frames of both branches and its decoder reads"):
            assemble(small(name, "concat"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (small("vanilla-clip", "concat"), r"reads clip \(model.attention_lstm.summary\) alone and would see no object"),
        (
            ModelConfig(branches="object", decoder="stats", stats=STaTSConfig(object_streams=("grid",))),
            r"reads grid \(model.stats.object_streams\) alone and would see no object: let it read frames or regions",
        ),
    ],
)
def test_an_object_branch_that_would_see_no_object_is_refused(settings: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(settings)


def test_widths_are_those_of_the_graph(caption_batch: CaptionBatch, rich_batch: CaptionBatch) -> None:
    assert Widths.of(caption_batch.graphs) == POOR
    assert Widths.of(rich_batch.graphs) == RICH


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
        Captioner(scene=None, objects=None, scene_decoder=None, object_decoder=None)
    with pytest.raises(ValueError, match="every branch needs its decoder"):
        Captioner(scene=model.scene, objects=None, scene_decoder=None, object_decoder=model.object_decoder)
    with pytest.raises(ValueError, match="needs both branches and exactly one decoder"):
        Captioner(
            scene=model.scene,
            objects=model.objects,
            scene_decoder=model.scene_decoder,
            object_decoder=model.object_decoder,
            fusion="concat",
        )


@pytest.mark.parametrize(("branches", "lacking"), [("full", "objects"), ("object", "objects"), ("scene", "scene")])
def test_missing_features_are_told(branches: str, lacking: str) -> None:
    widths = dataclasses.replace(POOR, **{lacking: 0})
    settings = ModelConfig(branches=branches, channels=16, heads=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"features and the store has none: use branches="):
        build_captioner(settings, GraphConfig(), widths=widths, vocabulary=WORDS, max_words=8)


def trained(branches: str, settings: ModelConfig | None = None, widths: Widths = POOR) -> Trained:
    settings = settings or ModelConfig(branches=branches, channels=16, heads=2, hidden=16)  # type: ignore[arg-type]
    model = assemble(settings, widths).eval()
    vocabulary = Vocabulary((*SPECIAL, "a", "b", "c", "d", "e", "f"), 8)
    return Trained(model, vocabulary, settings, GraphConfig(), widths, {"detector": "made"})


def test_the_exported_model_holds_no_object_branch_and_captions_without_objects(
    tmp_path: Path, caption_batch: CaptionBatch
) -> None:
    whole = trained("full")
    whole.save(tmp_path / "model.safetensors")
    whole.save(tmp_path / "whole.safetensors", whole=True)
    small = Trained.load(tmp_path / "model.safetensors")
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
    both = Trained.load(tmp_path / "whole.safetensors")
    assert both.model.branches == "full"
    assert both.captioner.objects is not None
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size


def test_batches_of_the_store_are_read_as_those_of_the_tests(rich_batch: CaptionBatch) -> None:
    graphs = {video.video: build_graph(video) for video in rich_videos()}
    stored = GraphsInMemory(graphs, "float32").batch(list(graphs))
    for name in ("stats-all", "spatial"):
        model = assemble(small(name, "full")).eval()
        found, expected = model.encode(stored), model.encode(rich_batch.graphs)
        for branch in ("scene", "objects"):
            for part in ("frames", "regions", "grid", "clip"):
                first, second = (getattr(getattr(one, branch), part) for one in (found, expected))
                assert (first is None) == (second is None)
                if first is not None:
                    torch.testing.assert_close(first, second)


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
    old = Trained.load(tmp_path / "old.safetensors")
    assert old.widths == POOR
    frames = made.captioner.memory(caption_batch.graphs).frames
    assert torch.equal(old.captioner.memory(caption_batch.graphs).frames, frames)


@pytest.mark.parametrize("branches", ["concat", "object"])
def test_models_that_read_objects_keep_them(branches: str, tmp_path: Path, caption_batch: CaptionBatch) -> None:
    made = trained(branches)
    made.save(tmp_path / "model.safetensors")
    again = Trained.load(tmp_path / "model.safetensors")
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
