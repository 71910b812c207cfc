"""From settings to a model: the one place that maps names to classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import nn
from torch_geometric.data import Data

from decoders import Decoder, TransformerDecoder
from decoders.attention_lstm import AttentionLSTMDecoder
from decoders.stats import STaTSDecoder
from graphs import STGEncoder
from stg.memories import FEATURES, ClipVector, MemoryParts
from stg.model import Captioner, Fusion, SceneBranch, SceneViews, Standardise
from stg.model_config import GraphConfig, ModelConfig
from stg.text import BOS, EOS, PAD, UNK

Branch = Literal["scene", "object"]
FUSIONS: Mapping[str, Fusion] = {
    "full": "distill",
    "scene": "distill",
    "object": "distill",
    "concat": "concat",
    "l2": "l2",
}


@dataclass(frozen=True)
class Widths:
    """Feature widths that a model is built for; 0 where a feature is absent."""

    scene: int
    motion: int
    objects: int
    grid: int = 0
    audio: int = 0

    @classmethod
    def of(cls, graph: Data) -> "Widths":
        """The widths of one video's graph (or of a batch)."""
        return cls(**{kind: graph[name].shape[-1] if name in graph else 0 for name, (kind, *_) in FEATURES.items()})


class Recipe(NamedTuple):
    """How a decoder is made from settings.

    ``make`` takes the settings, the branch it is for, and the arguments that all decoders share. ``reads`` says which
    parts of a memory that decoder will learn from, frames included, and which setting (below ``model.``) asks for each.
    ``recurrent`` is True where it reads one word after another, and so can go on from its own.
    """

    make: Callable[[ModelConfig, Branch, dict[str, Any]], Decoder]
    reads: Callable[[ModelConfig, Branch], dict[str, str]]
    recurrent: bool = True


def _transformer(model: ModelConfig, branch: Branch, shared: dict[str, Any]) -> Decoder:
    return TransformerDecoder(
        num_layers=model.layers,
        num_encoder_layers=model.layers,
        heads=model.heads,
        hidden=model.hidden,
        fusion=None if branch == "object" or model.views == "one" else model.views,
        **shared,
    )


def _transformer_reads(model: ModelConfig, branch: Branch) -> dict[str, str]:
    return {"frames": "decoder"} | ({"motion": "views"} if branch == "scene" and model.views != "one" else {})


def _stats(model: ModelConfig, branch: Branch, shared: dict[str, Any]) -> Decoder:
    stats = model.stats
    return STaTSDecoder(
        # 256 and 128 at the paper's 512 channels.
        embedding=max(model.channels // 2, 1),
        attention=max(model.channels // 4, 1),
        streams=stats.scene_streams if branch == "scene" else stats.object_streams,
        order=stats.order,
        temporal=stats.st.temporal,
        spatial=stats.st.spatial,
        mean_join=stats.st.mean_join,
        rank_margin=stats.st.rank_margin,
        rank_l2=stats.st.rank_l2,
        selection=stats.ts.selection,
        at_test=stats.ts.at_test,
        top_k=stats.ts.top_k,
        temperature=stats.ts.temperature,
        summary=stats.ts.summary,
        visual=stats.visual,
        categories=stats.categories,
        category_use=stats.category_use,
        category_dropout=stats.category_dropout,
        **shared,
    )


def _stats_reads(model: ModelConfig, branch: Branch) -> dict[str, str]:
    streams = model.stats.scene_streams if branch == "scene" else model.stats.object_streams
    reads: dict[str, str] = dict.fromkeys(streams, f"stats.{branch}_streams")
    return reads | ({"category": "stats.categories"} if model.stats.categories else {})


def _attention_lstm(model: ModelConfig, branch: Branch, shared: dict[str, Any]) -> Decoder:
    return AttentionLSTMDecoder(
        embedding=model.channels,
        attention=model.channels,
        memory=_attended(model, branch),
        summary=_summary(model, branch),
        query_bias=model.attention_lstm.query_bias,
        **shared,
    )


def _attention_lstm_reads(model: ModelConfig, branch: Branch) -> dict[str, str]:
    memory = {"none": [], "temporal": ["frames"], "spatial": ["regions"]}[_attended(model, branch)]
    summary = {"mean": "frames", "clip": "clip"}[_summary(model, branch)]
    asked = "attention_lstm.memory" if branch == "scene" else "attention_lstm.object_memory"
    return {summary: "attention_lstm.summary"} | dict.fromkeys(memory, asked)


def _attended(model: ModelConfig, branch: Branch) -> Literal["none", "temporal", "spatial"]:
    settings = model.attention_lstm
    return settings.memory if branch == "scene" else settings.object_memory


def _summary(model: ModelConfig, branch: Branch) -> Literal["clip", "mean"]:
    # The clip vector holds scene, motion and sound; the object branch is to see objects alone.
    return model.attention_lstm.summary if branch == "scene" else "mean"


DECODERS: Mapping[str, Recipe] = {
    "transformer": Recipe(_transformer, _transformer_reads, recurrent=False),
    "stats": Recipe(_stats, _stats_reads),
    "attention_lstm": Recipe(_attention_lstm, _attention_lstm_reads),
}

MADE_OF = {"motion": "motion", "regions": "x", "grid": "grid"}
"""By part of a memory: the feature of a batch without which it cannot be made."""


def build_captioner(
    model: ModelConfig, graph: GraphConfig, *, widths: Widths, vocabulary: int, max_words: int
) -> Captioner:
    """A fresh captioner with its branches and decoders.

    Raises:
        ValueError: the features lack what the branches or their decoders need, or the settings do not go together.
    """
    wants_scene, wants_objects = model.branches != "object", model.branches != "scene"
    if wants_scene and not widths.scene:
        raise ValueError(
            f"branches={model.branches!r} needs scene features and the store has none: use branches='object'"
        )
    if wants_objects and not widths.objects:
        raise ValueError(
            f"branches={model.branches!r} needs object features and the store has none: use branches='scene'"
        )
    if model.views != "one" and not wants_scene:
        raise ValueError(f"views={model.views!r} is for the scene branch, and branches={model.branches!r} has none")
    wants_decoder: dict[Branch, bool] = {"scene": wants_scene, "object": wants_objects and model.branches != "concat"}
    recipe = DECODERS[model.decoder]
    reads = {branch: recipe.reads(model, branch) for branch, wanted in wants_decoder.items() if wanted}
    for branch, parts in reads.items():
        _check_features(branch, parts, widths)
    if wants_decoder["object"]:
        _check_sees_objects("decoder of the object branch", reads["object"])
    elif wants_objects:
        _check_sees_objects("joined decoder", reads["scene"])
    if model.branches == "l2" and "frames" not in reads["scene"]:
        asked = _asked(reads["scene"])
        raise ValueError(
            f"branches='l2' pulls on the frames of the scene branch, whose decoder reads {asked} alone: let it read "
            "frames, or use branches='full'"
        )

    def decoder(branch: Branch) -> Decoder:
        shared = {
            "vocabulary": vocabulary,
            "channels": model.channels,
            "dropout": model.dropout,
            "max_length": max_words + 2,
            "pad": PAD,
            "bos": BOS,
            "eos": EOS,
        }
        made = recipe.make(model, branch, shared)
        # The unknown word is learned, as the captions hold it, and never written.
        made.barred = (UNK,)
        return made

    scene: SceneBranch | SceneViews | None = None
    if wants_scene and "motion" in reads["scene"]:
        scene = SceneViews(widths.scene, widths.motion, model.channels)
    elif wants_scene:
        scene = SceneBranch(widths.scene, widths.motion or None, model.channels)
    objects = STGEncoder(widths.objects, model.channels, graph.layers) if wants_objects else None
    decoders = {branch: decoder(branch) for branch in reads}
    joined = model.branches == "concat" and model.concat_axis == "channel"
    join = nn.Linear(2 * model.channels, model.channels, bias=False) if joined else None
    made = {branch: _parts(branch, frozenset(parts), widths, model) for branch, parts in reads.items()}

    fields = frozenset({"x"} if wants_objects else ()) | (scene.fields if scene is not None else frozenset())
    fields = fields.union(*(parts.fields for parts in made.values()))
    standardise = nn.ModuleDict(
        {name: Standardise(getattr(widths, kind)) for name, (kind, *_) in FEATURES.items() if name in fields}
    )
    return Captioner(
        scene=scene,
        objects=objects,
        scene_decoder=decoders.get("scene"),
        object_decoder=decoders.get("object"),
        scene_parts=made.get("scene"),
        object_parts=made.get("object"),
        fusion=FUSIONS[model.branches],
        join=join,
        standardise=standardise if model.standardise else None,
    )


def _parts(branch: Branch, reads: frozenset[str], widths: Widths, model: ModelConfig) -> MemoryParts:
    channels = model.channels
    regions: nn.Module | None = None
    if "regions" in reads:
        # The graph has projected its nodes already (Eq. 5); raw objects are projected likewise, without a bias.
        regions = nn.Identity() if branch == "object" else nn.Linear(widths.objects, channels, bias=False)
    return MemoryParts(
        regions=regions,
        grid=nn.Linear(widths.grid, channels) if "grid" in reads else None,
        clip=ClipVector(widths.scene, widths.motion, widths.audio, channels) if "clip" in reads else None,
        category="category" in reads,
        max_steps=model.stats.max_steps,
    )


def _check_features(branch: Branch, reads: Mapping[str, str], widths: Widths) -> None:
    for part, setting in reads.items():
        kind, called, options = FEATURES[MADE_OF[part]] if part in MADE_OF else (None, "", "")
        if kind is not None and not getattr(widths, kind):
            raise ValueError(
                f"the decoder of the {branch} branch reads {part} (model.{setting}) and the store has no {called} "
                f"features: extract with {options}, or choose another setting (the built-in world has scene and object "
                "features only)"
            )


def _check_sees_objects(decoder: str, reads: Mapping[str, str]) -> None:
    if not {"frames", "regions"} & reads.keys():
        raise ValueError(
            f"the {decoder} reads {_asked(reads)} alone and would see no object: let it read frames or regions, or use "
            "branches='scene'"
        )


def _asked(reads: Mapping[str, str]) -> str:
    return ", ".join(f"{part} (model.{setting})" for part, setting in reads.items())
