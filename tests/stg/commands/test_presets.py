"""One preset for every published row: what its first lines say, how it differs from the others, and that it learns."""

import dataclasses
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from graphs import GraphStore, VideoFeatures, build_graph
from stg.commands.option_files import PRESETS, presets, with_preset
from stg.commands.parser import parse
from stg.config.extraction import ExtractConfig, ImportConfig
from stg.config.model import ModelConfig
from stg.config.retrieval import EmbedConfig, FuseConfig
from stg.config.schema import differences, to_dict
from stg.config.store import StoreConfig
from stg.config.training import FitConfig
from stg.data.batches import BatchSource, CaptionBatch, TrainingSet
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.text.vocabulary import SPECIAL, Vocabulary
from stg.training.losses import captioning_losses
from stg.training.schedules import OPTIMISERS, teacher_forcing_rate
from tests.stg.best_captions import best_captions


class Row(NamedTuple):
    """A published row: its preset, what the preset reads of a video besides scene features, and its scores."""

    preset: str
    features: str
    scores: str


PAN = "motion objects"
"""Pan et al.: BLEU-4, METEOR, ROUGE-L, CIDEr (checklist P35-P37)."""
ROWS = {
    "Pan 1, Ours (Scene only)": Row("pan_msrvtt_scene", "motion", "37.2 27.3 59.1 44.6"),
    "Pan 1, Ours": Row("pan_msrvtt", PAN, "40.5 28.3 60.9 47.1"),
    "Pan 2, Ours": Row("pan_msvd", PAN, "52.2 36.9 73.9 93.0"),
    "Pan 3, Scene Branch Only": Row("pan_msvd_scene", "motion", "45.8 34.3 71.0 86.0"),
    "Pan 3, Two Branch + Concat": Row("pan_msvd_concat", PAN, "45.5 34.1 70.7 79.3"),
    "Pan 3, Two Branch + L2": Row("pan_msvd_l2", PAN, "46.1 33.7 70.6 80.3"),
    "Pan 3, Spatial Graph Only": Row("pan_msvd_spatial", PAN, "50.8 36.1 72.9 91.8"),
    "Pan 3, Temporal Graph Only": Row("pan_msvd_temporal", PAN, "50.7 36.1 73.1 92.1"),
    "Pan 3, Dense Graph": Row("pan_msvd_dense", PAN, "51.4 35.9 72.8 91.3"),
    "Pan 3, Our Full Model": Row("pan_msvd", PAN, "52.2 36.9 73.9 93.0"),
    # Cherian et al. print CIDEr, BLEU-4, ROUGE-L, METEOR, as fractions (S29-S32); here in the order of the others.
    "STaTS 1, MSVD ST I3D": Row("stats_msvd_i3d_st", "motion grid", "0.502 0.325 0.68 0.742"),
    "STaTS 1, MSVD TS I3D": Row("stats_msvd_i3d_ts", "motion grid", "0.391 0.289 0.646 0.521"),
    "STaTS 1, MSVD STaTS I3D": Row("stats_msvd_i3d", "motion grid", "0.526 0.335 0.695 0.802"),
    "STaTS 1, MSVD ST FRCNN": Row("stats_msvd_frcnn_st", "objects", "0.477 0.33 0.69 0.686"),
    "STaTS 1, MSVD TS FRCNN": Row("stats_msvd_frcnn_ts", "objects", "0.376 0.274 0.633 0.439"),
    "STaTS 1, MSVD STaTS FRCNN": Row("stats_msvd_frcnn", "objects", "0.492 0.319 0.68 0.709"),
    "STaTS 1, MSR-VTT ST I3D": Row("stats_msrvtt_i3d_st", "motion grid", "0.397 0.271 0.600 0.429"),
    "STaTS 1, MSR-VTT TS I3D": Row("stats_msrvtt_i3d_ts", "motion grid", "0.380 0.273 0.595 0.427"),
    "STaTS 1, MSR-VTT STaTS I3D": Row("stats_msrvtt_i3d", "motion grid", "0.401 0.275 0.604 0.434"),
    "STaTS 2, Mean Pool": Row("stats_msrvtt_i3d_st_mean", "motion grid", "0.362 0.263 0.580 0.389"),
    "STaTS 2, LSTM": Row("stats_msrvtt_i3d_st_lstm", "motion grid", "0.347 0.261 0.578 0.385"),
    "STaTS 2, Mean + LSTM": Row("stats_msrvtt_i3d_st_mean_lstm", "motion grid", "0.364 0.259 0.575 0.388"),
    "STaTS 2, Temp Att": Row("stats_msrvtt_i3d_st_temp_att", "motion grid", "0.368 0.258 0.580 0.382"),
    "STaTS 2, Mean + Temp Att": Row("stats_msrvtt_i3d_st_mean_temp_att", "motion grid", "0.368 0.26 0.58 0.385"),
    "STaTS 2, Ranked Att": Row("stats_msrvtt_i3d_st_ranked", "motion grid", "0.376 0.264 0.589 0.387"),
    "STaTS 2, Mean + Ranked Att": Row("stats_msrvtt_i3d_st_mean_ranked", "motion grid", "0.376 0.268 0.592 0.404"),
    "STaTS 3, FR+FL": Row("stats_msvd_frcnn_flow", "objects motion grid", "0.495 0.334 0.694 0.747"),
    "STaTS 3, I3D+FL": Row("stats_msvd_i3d_flow", "motion grid", "0.548 0.350 0.711 0.835"),
    "STaTS 4, R152": Row("stats_msrvtt_r152", "", "0.392 0.279 0.597 0.445"),
    "STaTS 4, R152+C3D": Row("stats_msrvtt_r152_c3d", "motion", "0.416 0.284 0.615 0.465"),
    "STaTS 4, I3D": Row("stats_msrvtt_i3d", "motion grid", "0.401 0.275 0.604 0.434"),
    "STaTS 4, I3D+FL": Row("stats_msrvtt_i3d_flow", "motion grid", "0.410 0.276 0.611 0.438"),
    "STaTS 4, I3D+FL+C": Row("stats_msrvtt_i3d_flow_class", "motion grid category", "0.417 0.280 0.612 0.451"),
    # Chen et al., on validation (V11).
    "VATEX 1, vanilla": Row("vatex_vanilla", "motion audio", "36.7 25.5 52.1 72.5"),
    "VATEX 1, temporal": Row("vatex_temporal", "motion audio", "38.4 26.5 53.2 78.5"),
    "VATEX 1, spatial": Row("vatex_spatial", "motion audio objects", "38.4 26.3 53.2 77.8"),
    "VATEX 1, temporal with RL": Row("vatex_temporal_rl", "motion audio", "41.4 26.8 54.6 85.4"),
    "VATEX 1, spatial with RL": Row("vatex_spatial_rl", "motion audio objects", "41.0 26.9 54.6 85.4"),
}
ENCODERS = ("clip_small_msvd", "clip_small_msrvtt", "siglip_base_msvd", "siglip_base_msrvtt")
OWN = {"msvd_small": PAN, "stg_msrvtt": "", "stg_msvd": "", "stg_world": "objects tracks"} | dict.fromkeys(ENCODERS, "")
"""Presets of ours, and what they read."""
READS = {row.preset: row.features for row in ROWS.values()} | OWN

TO_MSRVTT = {"data.dataset": ("msvd", "msrvtt")}
TEMPORAL = "model.stats.st.temporal"
REWARDED = {"reward.weight": (0.0, 0.9), "reward.from_epoch": (10, 25)}
DIFFERS: dict[tuple[str, str], dict[str, Any]] = {
    ("pan_msvd", "pan_msrvtt"): TO_MSRVTT | {"data.min_count": (2, 3)},
    ("pan_msrvtt", "pan_msrvtt_scene"): {"model.branches": ("full", "scene")},
    ("pan_msvd", "pan_msvd_scene"): {"model.branches": ("full", "scene")},
    ("pan_msvd", "pan_msvd_concat"): {"model.branches": ("full", "concat")},
    ("pan_msvd", "pan_msvd_l2"): {"model.branches": ("full", "l2")},
    ("pan_msvd", "pan_msvd_spatial"): {"graph.variant": ("full", "spatial")},
    ("pan_msvd", "pan_msvd_temporal"): {"graph.variant": ("full", "temporal")},
    ("pan_msvd", "pan_msvd_dense"): {"graph.variant": ("full", "dense")},
    ("stats_msvd_i3d", "stats_msvd_i3d_st"): {"model.stats.order": ("stats", "st")},
    ("stats_msvd_i3d", "stats_msvd_i3d_ts"): {"model.stats.order": ("stats", "ts")},
    ("stats_msvd_i3d", "stats_msvd_i3d_flow"): {},  # other features, the same settings
    ("stats_msvd_i3d", "stats_msvd_frcnn"): {"model.stats.scene_streams": (["grid"], ["regions"])},
    ("stats_msvd_frcnn", "stats_msvd_frcnn_st"): {"model.stats.order": ("stats", "st")},
    ("stats_msvd_frcnn", "stats_msvd_frcnn_ts"): {"model.stats.order": ("stats", "ts")},
    ("stats_msvd_frcnn", "stats_msvd_frcnn_flow"): {"model.stats.scene_streams": (["regions"], ["regions", "grid"])},
    ("stats_msvd_i3d", "stats_msrvtt_i3d"): TO_MSRVTT | {"data.min_count": (1, 3)},
    ("stats_msrvtt_i3d", "stats_msrvtt_i3d_st"): {"model.stats.order": ("stats", "st")},
    ("stats_msrvtt_i3d", "stats_msrvtt_i3d_ts"): {"model.stats.order": ("stats", "ts")},
    ("stats_msrvtt_i3d", "stats_msrvtt_i3d_flow"): {},
    ("stats_msrvtt_i3d_flow", "stats_msrvtt_i3d_flow_class"): {"model.stats.categories": (0, 20)},
    ("stats_msrvtt_i3d", "stats_msrvtt_r152"): {"model.stats.scene_streams": (["grid"], ["frames"])},
    ("stats_msrvtt_r152", "stats_msrvtt_r152_c3d"): {},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_mean_ranked"): {},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_mean"): {TEMPORAL: ("mean+ranked", "mean")},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_lstm"): {TEMPORAL: ("mean+ranked", "lstm")},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_mean_lstm"): {TEMPORAL: ("mean+ranked", "mean+lstm")},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_temp_att"): {TEMPORAL: ("mean+ranked", "temp_att")},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_mean_temp_att"): {TEMPORAL: ("mean+ranked", "mean+temp_att")},
    ("stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_ranked"): {TEMPORAL: ("mean+ranked", "ranked")},
    ("vatex_temporal", "vatex_vanilla"): {"model.attention_lstm.memory": ("temporal", "none")},
    ("vatex_temporal", "vatex_spatial"): {"model.attention_lstm.memory": ("temporal", "spatial")},
    ("vatex_temporal", "vatex_temporal_rl"): REWARDED,
    ("vatex_spatial", "vatex_spatial_rl"): REWARDED,
}
"""What each preset changes of another of its paper, and nothing else."""


@cache
def config_of(name: str) -> FitConfig:
    return parse(FitConfig, ["--config", name], prog="stg.fit", description="")[0]


@cache
def head_of(name: str) -> str:
    """The comment that a preset begins with, wrapped commands in one line each."""
    lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return re.sub(r" \\\n +", " ", "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:first]))


def commands_of(name: str) -> list[list[str]]:
    return [shlex.split(line) for line in head_of(name).splitlines() if line.startswith("  ./run ")]


def test_every_published_row_has_its_file_and_every_file_its_row() -> None:
    assert set(presets(FitConfig)) == {row.preset for row in ROWS.values()} | set(OWN)


def test_the_fused_row_has_its_files() -> None:
    # Of other commands than fit: the runs are those of the rows above it.
    assert set(presets()) - set(presets(FitConfig)) == {"vatex_embedding", "vatex_fused"}
    assert presets(FuseConfig) == ["vatex_fused"]
    assert "vatex_embedding" in presets(EmbedConfig)
    (fuse_words,), (embed_words,) = commands_of("vatex_fused"), commands_of("vatex_embedding")
    fuse = parse(FuseConfig, fuse_words[2:], prog="fuse", description="")[0]
    embed = parse(EmbedConfig, embed_words[2:], prog="embed", description="")[0]
    assert (fuse.method, fuse.candidates, fuse.mix, fuse.embedding) == ("rerank", 5, 0.0, embed.out)
    assert list(fuse.runs) == ["runs/vatex_temporal_rl", "runs/vatex_spatial_rl"]
    assert (embed.model.channels, embed.model.words, embed.optim.margin) == (1024, 300, 0.2)
    assert embed.data.store == "stores/vatex_spatial"
    published = "Published: BLEU-4 42.2, METEOR 27.4, ROUGE-L 55.2, CIDEr 88.8 on validation; on the test set 39.1, "
    assert published in head_of("vatex_fused")


@pytest.mark.parametrize("row", ROWS)
def test_the_first_lines_say_the_paper_the_row_and_its_scores(row: str) -> None:
    name, _, scores = ROWS[row]
    paper, table = re.fullmatch(r"(\w+) (\d), .*", row).groups()  # type: ignore[union-attr]
    head = head_of(name)
    assert head.startswith({"Pan": "Pan et al.", "STaTS": "Cherian et al.", "VATEX": "Chen et al."}[paper])
    assert f"Table {table}" in head.splitlines()[0]
    published = "Published: BLEU-4 {}, METEOR {}, ROUGE-L {}, CIDEr {}".format(*scores.split())
    assert re.search(rf"^{re.escape(published)}(\.| on validation;)", head, re.MULTILINE)
    assert "\nReproduced: not yet.\n" in head
    assert re.search(r"^Needs ", head, re.MULTILINE)


@pytest.mark.parametrize("name", presets(FitConfig))
def test_the_commands_of_the_first_lines_are_understood(name: str) -> None:
    kinds = {"fit": FitConfig, "extract": ExtractConfig, "import_features": ImportConfig, "store": StoreConfig}
    parsed = {
        words[1]: parse(kinds[words[1]], words[2:], prog=words[1], description="")[0] for words in commands_of(name)
    }
    fit = parsed.pop("fit")
    assert isinstance(fit, FitConfig)
    assert f"--config {name}" + (" --data.root" if config_of(name).data.dataset != "world" else "") in head_of(name)
    data, run = config_of(name).data, config_of(name).run
    given = dataclasses.replace(fit, data=dataclasses.replace(fit.data, root=data.root, store=data.store), run=run)
    assert given == config_of(name)
    if name in OWN:
        return
    assert fit.run.out == f"runs/{name}"
    assert parsed
    for makes in parsed.values():
        assert isinstance(makes, ExtractConfig | ImportConfig)
        assert makes.out == fit.data.store
    if isinstance(makes := parsed.get("extract"), ExtractConfig):
        made = {"motion"} if makes.motion != "none" else set()
        made |= {"grid"} if makes.grid else set()
        made |= {"objects"} if makes.detector != "none" else set()
        made |= {"audio"} if makes.sound != "none" else set()
        assert made == set(READS[name].split()) - {"category"}


def test_rewards_are_those_of_the_papers() -> None:
    for name in presets(FitConfig):
        reward = config_of(name).reward
        weights = (reward.weight, reward.cider, reward.bleu4, reward.meteor)
        if name.startswith("stats"):
            assert weights == (0.5, 0.0, 0.5, 0.5)
            assert (reward.from_epoch, config_of(name).optim.epochs) == (10, 20)
        elif name.endswith("_rl"):
            assert weights == (0.9, 1.0, 1.0, 0.0)
            assert "fuses the captions of vatex_temporal_rl and vatex_spatial_rl" in " ".join(head_of(name).split())
        else:
            assert reward.weight == 0.0
        assert (reward.baseline, reward.samples) == ("greedy", 1)


@pytest.mark.parametrize(("one", "other"), DIFFERS)
def test_presets_of_a_paper_differ_in_what_their_rows_differ_in(one: str, other: str) -> None:
    assert differences(to_dict(config_of(one)), to_dict(config_of(other))) == DIFFERS[one, other]


def test_all_presets_of_a_paper_are_compared() -> None:
    for paper in ("pan", "stats", "vatex"):
        known = {f"{paper}_temporal" if paper == "vatex" else f"{paper}_msvd" + ("_i3d" if paper == "stats" else "")}
        for one, other in DIFFERS:
            known |= {other} if one in known else set()
        assert known == {name for name in presets(FitConfig) if name.startswith(paper)}


def test_batches_are_of_captions_as_in_the_papers() -> None:
    for name in presets(FitConfig):
        batch = {"pan": 64, "stats": 32, "vatex": 128}.get(name.partition("_")[0])
        optim = config_of(name).optim
        assert batch is None or (optim.batch_videos, optim.captions_per_video) == (batch, 1), name


def test_the_values_of_the_papers() -> None:
    pan, stats, vatex = (config_of(name) for name in ("pan_msvd", "stats_msvd_i3d", "vatex_temporal"))
    for config, captions in ((pan, 64), (stats, 32), (vatex, 128)):
        assert (config.optim.batch_videos, config.optim.captions_per_video) == (captions, 1)
        assert config.model.channels == 512
        assert not config.model.standardise
        assert config.optim.clip_norm == 0
    assert (pan.model.layers, pan.model.heads, pan.model.hidden, pan.model.dropout) == (2, 8, 1024, 0.3)
    assert (pan.graph.layers, pan.loss.scene_weight, pan.loss.distill_weight) == (3, 1.0, 4.0)
    assert (pan.optim.algorithm, pan.optim.lr, pan.optim.epochs) == ("adam", 1e-4, 50)
    assert (stats.optim.algorithm, stats.optim.lr, stats.optim.epochs) == ("rmsprop", 1e-4, 20)
    assert (stats.optim.scheduled_sampling, stats.model.dropout, stats.loss.rank_weight) == (24.0, 0.5, 0.1)
    assert (vatex.optim.algorithm, vatex.optim.lr, vatex.model.dropout) == ("adam", 2e-4, 0.5)


LESSONS = {"transformer": ("one", "two", "six", "ten")}
"""The captions of the four videos. Two words each, of which none tells the other; one for Transformers, whose first
steps the distillation slows down."""
TWO_WORDS = ("one two", "one six", "ten six", "ten two")
STEP = {"transformer": 1.2e-3, "stats": 4e-3, "attention_lstm": 8e-3}
"""Step size of each preset's own optimiser for networks of `CHANNELS`, so that a few dozen steps do."""
CHANNELS = 64
TIMES = 4
"""How often each caption stands in a step, so that dropout is averaged over."""


def made_features(video: str, features: str) -> VideoFeatures:
    """A video that has what is named, in small widths, and scene features as all have."""
    random = torch.Generator().manual_seed(ord(video))
    read = features.split()
    corner = 50 * torch.rand(4, 2, generator=random)

    def some(name: str, *shape: int) -> Any:
        return 3 * torch.randn(*shape, generator=random) if name in read else None

    tracked: dict[str, Any] = {}
    if "tracks" in read:
        tracked = {"track": torch.tensor([0, 1, 0, 0]), "label": torch.tensor([1, 2, 1, 1]), "scores": torch.ones(4)}
    return VideoFeatures(
        boxes=torch.cat([corner, corner + 20], 1)[: 4 * ("objects" in read)],
        objects=3 * torch.randn(4 * ("objects" in read), 6, generator=random),
        frame=torch.tensor([0, 0, 1, 2])[: 4 * ("objects" in read)],
        num_frames=3,
        scene=3 * torch.randn(3, 6, generator=random),
        motion=some("motion", 2, 5),
        motion_row=torch.tensor([0, 0, 1]) if "motion" in read else None,
        grid=some("grid", 2, 3, 7),
        audio=some("audio", 2, 4),
        audio_mask=torch.ones(2, dtype=torch.bool) if "audio" in read else None,
        video=video,
        **tracked,
    )


LEARNED = [
    "clip_small_msrvtt", "msvd_small", "stg_msrvtt", "stg_world", "pan_msrvtt", "pan_msrvtt_scene",
    "pan_msvd_concat", "pan_msvd_dense", "pan_msvd_l2", "pan_msvd_spatial", "pan_msvd_temporal", "stats_msrvtt_i3d",
    "stats_msrvtt_i3d_flow_class", "stats_msrvtt_i3d_st", "stats_msrvtt_i3d_st_lstm", "stats_msrvtt_i3d_st_mean",
    "stats_msrvtt_i3d_st_mean_lstm", "stats_msrvtt_i3d_st_mean_temp_att", "stats_msrvtt_i3d_st_ranked",
    "stats_msrvtt_i3d_st_temp_att", "stats_msrvtt_i3d_ts", "stats_msrvtt_r152", "stats_msrvtt_r152_c3d",
    "stats_msvd_frcnn", "stats_msvd_frcnn_flow", "stats_msvd_frcnn_st", "stats_msvd_frcnn_ts", "vatex_spatial",
    "vatex_temporal", "vatex_vanilla",
]  # fmt: skip
"""One preset of each kind; listed, as all of them take seconds to read, which each process of the tests would do."""


def kind_of(name: str) -> str:
    """Network, features and loss: presets of one kind differ in data sets, rewards and what features are."""
    config = config_of(name)
    return repr((config.model, config.graph, config.loss, config.optim.algorithm, READS[name]))


def test_one_preset_of_each_kind_is_learned() -> None:
    assert sorted(map(kind_of, LEARNED)) == sorted({kind_of(name) for name in presets(FitConfig)})


UNREAD = {"scene.frames.weight", "scene.motion.weight", "scene.fuse.weight"}
"""What makes the clip's vector of each frame, which decoders of places, objects or a mean do not read."""


@pytest.mark.parametrize("name", LEARNED)
def test_a_preset_learns_four_videos(name: str, tmp_path: Path) -> None:
    """At the paper's width the loss reaches every weight; a narrow network of the same settings learns the captions."""
    config, features = config_of(name), READS[name]
    texts = dict(zip("abcd", LESSONS.get(config.model.decoder, TWO_WORDS), strict=True))
    vocabulary = Vocabulary((*SPECIAL, *sorted({word for text in texts.values() for word in text.split()})), 30)
    category = {video: number for number, video in enumerate(texts)} if "category" in features else None
    optim = dataclasses.replace(config.optim, lr=STEP[config.model.decoder])
    sampling: dict[str, Any] = {}
    if optim.scheduled_sampling is not None:
        rate = 1 - teacher_forcing_rate(optim.scheduled_sampling, 0)
        sampling = {"sampling_rate": rate, "sampling_pick": optim.own_word}

    with GraphStore(tmp_path / "store", "a") as store:
        for video in texts:
            store.put(video, build_graph(made_features(video, features)))
        source = BatchSource(store, config.graph.variant, config.graph.time_flow, category=category)

        def batch_of(times: int) -> CaptionBatch:
            encoded = {video: [vocabulary.encode(text)] * times for video, text in texts.items()}
            data = TrainingSet(source, encoded, captions_per_video=times)
            return data.load(data.epoch(0)[0])

        def build(settings: ModelConfig) -> Captioner:
            torch.manual_seed(0)
            return build_captioner(
                settings,
                config.graph,
                widths=FeatureWidths.of(store.get("a")),
                vocabulary=len(vocabulary),
                max_words=vocabulary.max_words,
            )

        def captions() -> dict[str, str]:
            found = best_captions(model, source, list(texts), vocabulary)
            return {video: caption.text for video, caption in found.items()}

        model = build(config.model)
        captioning_losses(model, batch_of(1), config.loss, **sampling)["loss"].backward()
        slopes = {name: weights.grad for name, weights in model.named_parameters()}
        flat = {name for name, slope in slopes.items() if slope is None or not slope.any()}
        # Relations of tracks are multiplied with zeros at first: only these learn from the first step.
        behind = {name for name in flat if name.startswith("readout.relations.")}
        assert not any("output" in name for name in behind)
        assert flat - behind <= UNREAD
        assert all(slope.isfinite().all() for slope in slopes.values() if slope is not None)

        model = build(dataclasses.replace(config.model, channels=CHANNELS, hidden=2 * CHANNELS))
        optimiser = OPTIMISERS[optim.algorithm](list(model.parameters()), optim)
        batch = batch_of(TIMES)
        found = captions()
        assert found != texts
        for step in range(1, 61):
            optimiser.zero_grad()
            captioning_losses(model, batch, config.loss, **sampling)["loss"].backward()
            optimiser.step()
            if step % 5 == 0 and (found := captions()) == texts:
                break
    assert found == texts


@pytest.mark.parametrize("words", ["", "--run.out x", "--run.seed=3 --debug", "--print_config"])
def test_a_bare_command_is_a_preset(words: str) -> None:
    assert with_preset(words.split(), "stg_world") == ["--config", "stg_world", *words.split()]


@pytest.mark.parametrize(
    "words", ["--optim.epochs 3", "--optim.epochs=3", "--config pan_msvd", "--run.seed 1 --plugin p", "--help"]
)
def test_a_command_that_chooses_anything_is_what_it_says(words: str) -> None:
    assert with_preset(words.split(), "stg_world") == words.split()
