"""From settings to models: every decoder in every branch, what it reads, what does not go together (S25)."""

import dataclasses
from pathlib import Path

import pytest
import torch

from decoders import RecurrentDecoder
from graphs import GraphsInMemory, build_graph
from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig, STConfig, TSConfig
from stg.data.batches import CaptionBatch
from stg.models.branches import SceneViews
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.decoders import DECODERS as RECIPES
from stg.models.feature_kinds import FeatureWidths
from stg.runs.bundle import CaptionerBundle
from stg.runs.tensors import load_tensors
from stg.text.vocabulary import SPECIAL, Vocabulary
from stg.training.losses import captioning_losses
from tests.stg.conftest import made_batch, rich_videos

WORDS = 10
POOR, RICH = FeatureWidths(scene=5, motion=4, objects=6), FeatureWidths(scene=5, motion=4, objects=6, grid=7, audio=8)
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
FRAMELESS = {"stats-regions", "vanilla-clip", "spatial"}
"""Those whose scene branch looks at no frames."""
PAIRS = [
    (name, branches)
    for name in DECODERS
    for branches in ("full", "scene", "object", "l2", "concat")
    if not (branches == "object" and name in ("add", "attentive"))
    and not (branches == "concat" and name in ("add", "attentive", "stats-regions", "stats-all", "spatial"))
    and not (branches in ("concat", "l2") and name in FRAMELESS)
]
"""Two views are for the scene branch; joined branches hand over frames alone, and must be looked at as those that are
pulled together."""


def small(name: str, branches: str) -> ModelConfig:
    return dataclasses.replace(DECODERS[name], branches=branches, channels=16, heads=2, hidden=16, dropout=0.0)  # type: ignore[arg-type]


def assemble(model: ModelConfig, widths: FeatureWidths = RICH) -> Captioner:
    torch.manual_seed(0)
    return build_captioner(model, GraphConfig(), widths=widths, vocabulary=WORDS, max_words=8)


def unread(model: Captioner) -> set[str]:
    """Weights of what a decoder leaves aside: every branch makes frames, whether they are looked at or not."""
    left = set()
    if model.scene is not None:
        prefixes = ("scene.frames", "scene.motion", "scene.fuse")
        left = {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
    return left


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
    assert without == (unread(model) if name in FRAMELESS else set())
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
        ("spatial", "object", {"objects"}),
        ("vanilla-clip", "scene", {"scene", "motion", "audio"}),
        ("temporal", "object", {"objects"}),
        ("temporal", "concat", {"scene", "motion", "objects"}),
    ],
)
def test_captioning_reads_these_features_and_its_file_says_so(
    name: str, branches: str, reads: set[str], tmp_path: Path, rich_batch: CaptionBatch
) -> None:
    settings = small(name, branches)
    vocabulary = Vocabulary((*SPECIAL, "a", "b", "c", "d", "e", "f"), 8)
    made = CaptionerBundle(assemble(settings).eval(), vocabulary, settings, GraphConfig(), RICH, {"detector": "made"})
    assert made.captioner.reads == reads
    assert made.captioner.needs_objects == ("objects" in reads)
    made.save(tmp_path / "model.safetensors")
    again = CaptionerBundle.load(tmp_path / "model.safetensors")
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
        (
            small("vanilla-clip", "concat"),
            r"the joined decoder reads clip \(model.attention_lstm.summary\) alone and would see no object",
        ),
        (
            ModelConfig(branches="object", decoder="stats", stats=STaTSConfig(object_streams=("grid",))),
            r"the object branch reads grid \(model.stats.object_streams\) alone and would see no object: let it read",
        ),
    ],
)
def test_an_object_branch_that_would_see_no_object_is_refused(settings: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(settings)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        (small("stats-regions", "l2"), r"regions \(model.stats.scene_streams\)"),
        (small("vanilla-clip", "l2"), r"clip \(model.attention_lstm.summary\)"),
        (small("spatial", "l2"), r"clip \(model.attention_lstm.summary\), regions \(model.attention_lstm.memory\)"),
    ],
)
def test_frames_that_nobody_reads_are_not_pulled_on(settings: ModelConfig, asked: str) -> None:
    with pytest.raises(ValueError, match=f"branches='l2' pulls on .* whose decoder reads {asked} alone: let it read"):
        assemble(settings)


@pytest.mark.parametrize("name", ["vanilla-clip", "spatial"])
def test_the_object_branch_sees_objects_alone(name: str, rich_batch: CaptionBatch) -> None:
    model = assemble(small(name, "full")).eval()
    assert model.object_decoder is not None
    batch, words = rich_batch.graphs, rich_batch.words

    def logits() -> torch.Tensor:
        memory = model.encode(batch).objects
        assert model.object_decoder is not None
        assert memory is not None
        return model.object_decoder(words, memory, rich_batch.video)

    before = logits()
    for field in ("scene", "motion", "audio", "grid"):
        batch[field] = batch[field] + 1.0
    assert torch.equal(logits(), before)
    batch.x = batch.x + 1.0
    assert not torch.equal(logits(), before)


@pytest.mark.parametrize("temporal", ["lstm", "mean+lstm", "ranked", "mean+ranked"])
def test_steps_of_objects_are_not_put_behind_frames_where_their_order_is_read(temporal: str) -> None:
    def joined(order: str, axis: str = "time") -> ModelConfig:
        stats = STaTSConfig(order=order, st=STConfig(temporal=temporal))  # type: ignore[arg-type]
        return ModelConfig("concat", "stats", stats=stats, concat_axis=axis)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r"concat_axis='time' puts objects behind frames, .* concat_axis='channel'"):
        joined("stats")
    joined("stats", "channel")
    joined("ts")
    ModelConfig("concat", "stats", stats=STaTSConfig(st=STConfig(temporal="mean+temp_att")), concat_axis="time")


@pytest.mark.parametrize(
    ("decoder", "order", "selection"), [("transformer", "ts", "soft"), ("stats", "st", "soft"), ("stats", "ts", "hard")]
)
def test_annealing_where_nothing_is_annealed_is_refused(decoder: str, order: str, selection: str) -> None:
    stats = STaTSConfig(order=order, ts=TSConfig(selection=selection, anneal_from=1.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"got decoder '{decoder}', order '{order}', selection '{selection}': set it"):
        ModelConfig(decoder=decoder, stats=stats)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DECODERS)
def test_recipes_say_what_their_decoders_learn_from(name: str) -> None:
    settings = small(name, "full")
    model, recipe = assemble(settings), RECIPES[settings.decoder]
    for branch, decoder in (("scene", model.scene_decoder), ("object", model.object_decoder)):
        assert decoder is not None
        assert recipe.reads(settings, branch).keys() - {"frames"} == decoder.learns_from  # type: ignore[arg-type]
        assert recipe.recurrent == isinstance(decoder, RecurrentDecoder)


def test_widths_are_those_of_the_graph(caption_batch: CaptionBatch, rich_batch: CaptionBatch) -> None:
    assert FeatureWidths.of(caption_batch.graphs) == POOR
    assert FeatureWidths.of(rich_batch.graphs) == RICH


@pytest.mark.parametrize(("branches", "lacking"), [("full", "objects"), ("object", "objects"), ("scene", "scene")])
def test_missing_features_are_told(branches: str, lacking: str) -> None:
    widths = dataclasses.replace(POOR, **{lacking: 0})
    settings = ModelConfig(branches=branches, channels=16, heads=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"features and the store has none: use branches="):
        build_captioner(settings, GraphConfig(), widths=widths, vocabulary=WORDS, max_words=8)


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
