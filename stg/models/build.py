"""From settings to a model: the one place that maps names to classes."""

from collections.abc import Mapping

from torch import nn

from decoders import Decoder
from graphs import STGEncoder
from stg.config.model import GraphConfig, ModelConfig
from stg.models.branches import SceneBranch, SceneViews
from stg.models.captioner import Captioner, Fusion
from stg.models.decoders import DECODERS, Branch
from stg.models.feature_kinds import FEATURES, FeatureWidths
from stg.models.memory import ClipVector, MemoryBuilder
from stg.models.statistics import Standardise
from stg.text.vocabulary import BOS, EOS, PAD, UNK

FUSIONS: Mapping[str, Fusion] = {
    "full": "distill",
    "scene": "distill",
    "object": "distill",
    "concat": "concat",
    "l2": "l2",
}


MADE_OF = {"motion": "motion", "regions": "x", "grid": "grid"}
"""By part of a memory: the feature of a batch without which it cannot be made."""


def build_captioner(
    model: ModelConfig, graph: GraphConfig, *, widths: FeatureWidths, vocabulary: int, max_words: int
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
        made.suppressed = (UNK,)
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


def _parts(branch: Branch, reads: frozenset[str], widths: FeatureWidths, model: ModelConfig) -> MemoryBuilder:
    channels = model.channels
    regions: nn.Module | None = None
    if "regions" in reads:
        # The graph has projected its nodes already (Eq. 5); raw objects are projected likewise, without a bias.
        regions = nn.Identity() if branch == "object" else nn.Linear(widths.objects, channels, bias=False)
    return MemoryBuilder(
        regions=regions,
        grid=nn.Linear(widths.grid, channels) if "grid" in reads else None,
        clip=ClipVector(widths.scene, widths.motion, widths.audio, channels) if "clip" in reads else None,
        category="category" in reads,
        max_steps=model.stats.max_steps,
    )


def _check_features(branch: Branch, reads: Mapping[str, str], widths: FeatureWidths) -> None:
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
