"""From settings to a model: the one place that maps names to classes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

import graphs
from decoders import Decoder
from stg.config.model import GraphConfig, ModelConfig
from stg.models.branches import SceneBranch, SceneViews
from stg.models.captioner import JOINED, Branch, Captioner, Fusion, GraphEncoder
from stg.models.decoders import DECODERS, BranchName
from stg.models.feature_kinds import FEATURES, FeatureWidths
from stg.models.memory import ClipVector, MemoryBuilder
from stg.models.readout import JoinTokens, Readout
from stg.models.statistics import Standardise
from stg.text.vocabulary import BOS, EOS, PAD, UNK

FUSIONS: Mapping[str, Fusion] = {
    "full": "distill",
    "scene": "distill",
    "object": "distill",
    "concat": "concat",
    "l2": "l2",
    "joint": "joint",
}


MADE_OF = {"motion": "motion", "regions": "x", "grid": "grid"}
"""By part of a memory: the feature of a batch without which it cannot be made."""

Reads = Mapping[str, str]
"""Parts of a memory that a decoder reads -> the setting (below ``model.``) that asks for each."""


def build_captioner(
    model: ModelConfig, graph: GraphConfig, *, widths: FeatureWidths, vocabulary: int, max_words: int
) -> Captioner:
    """A fresh captioner with its branches and decoders.

    Raises:
        ValueError: the features lack what the branches or their decoders need, or the settings do not go together.
    """
    # All checks come first: a network that is drawn and then refused would cost seconds.
    reads = _checked_reads(model, widths)
    shared = {
        "vocabulary": vocabulary,
        "channels": model.channels,
        "dropout": model.dropout,
        "max_length": max_words + 2,
        "pad": PAD,
        "bos": BOS,
        "eos": EOS,
    }
    # Fresh weights are drawn in this order, on which those of a seed depend: encoders, decoders, join, memories.
    scene: SceneBranch | SceneViews | None = None
    if model.branches != "object" and "motion" in reads["scene"]:
        scene = SceneViews(widths.scene, widths.motion, model.channels)
    elif model.branches != "object":
        scene = SceneBranch(widths.scene, widths.motion or None, model.channels)
    objects = _graph_encoder(model, graph, widths) if model.branches != "scene" else None
    decoders = {branch: _decoder(model, branch, shared) for branch in reads}
    join = _join(model)
    memories = {branch: _memory(branch, frozenset(parts), widths, model) for branch, parts in reads.items()}
    readout = _readout(model, graph) if objects is not None else None

    # Only what is read is standardised: statistics of other features would be taken for nothing.
    read = {"x"} if objects is not None else set()
    read = read.union(scene.requires if scene is not None else (), *(made.requires for made in memories.values()))
    standardise = nn.ModuleDict(
        {name: Standardise(getattr(widths, kind)) for name, (kind, *_) in FEATURES.items() if name in read}
    )
    return Captioner(
        scene=Branch(scene, decoders["scene"], memories["scene"]) if scene is not None else None,
        objects=Branch(objects, decoders.get("object"), memories.get("object"), readout)
        if objects is not None
        else None,
        fusion=FUSIONS[model.branches],
        join=join,
        standardise=standardise if model.standardise else None,
    )


def _checked_reads(model: ModelConfig, widths: FeatureWidths) -> dict[BranchName, Reads]:
    """What the decoder of each branch reads, in the order in which decoders are made; joined branches share the first.

    Raises:
        ValueError: the features lack it, or the settings do not go together.
    """
    wants_scene, wants_objects = model.branches != "object", model.branches != "scene"
    # Branches first: without its features a branch cannot be, whatever its decoder is set to.
    for wanted, kind, other in ((wants_scene, "scene", "object"), (wants_objects, "object", "scene")):
        if wanted and not (widths.scene if kind == "scene" else widths.objects):
            raise ValueError(
                f"branches={model.branches!r} needs {kind} features and the store has none: use branches={other!r}"
            )
    if model.views != "one" and not wants_scene:
        raise ValueError(f"views={model.views!r} is for the scene branch, and branches={model.branches!r} has none")
    # Joined branches have one decoder, filed under the scene.
    wanted_decoders: dict[BranchName, bool] = {
        "scene": wants_scene,
        "object": wants_objects and FUSIONS[model.branches] not in JOINED,
    }
    spec = DECODERS[model.decoder]
    reads: dict[BranchName, Reads] = {
        branch: spec.reads(model, branch) for branch, wanted in wanted_decoders.items() if wanted
    }
    for branch, parts in reads.items():
        _check_features(branch, parts, widths)
    # A graph whose decoder reads no object would be computed, and change no caption, in silence.
    if "object" in reads:
        _check_sees_objects("decoder of the object branch", reads["object"])
        if model.readout != "frames" and "regions" in reads["object"]:
            raise ValueError(
                f"model.readout {model.readout} is read as frames, and the decoder of the object branch reads "
                f"{_listed(reads['object'])}: let it read frames alone, or leave the readout at frames"
            )
    elif wants_objects:
        _check_sees_objects("joined decoder", reads["scene"])
    # A decoder of a plugin that does not know the gate would read the scene alone, in silence.
    if model.join == "gate" and "objects" not in reads["scene"]:
        raise ValueError(
            f"model.join gate needs a decoder that attends to the memory's objects; {model.decoder} reads "
            f"{_listed(reads['scene'])}: use join sequence, or decoder transformer"
        )
    # The L2 ablation compares frames, so both decoders must read them for the loss to matter.
    if model.branches == "l2" and "frames" not in reads["scene"]:
        raise ValueError(
            f"branches='l2' pulls on the frames of the scene branch, whose decoder reads {_listed(reads['scene'])} "
            "alone: let it read frames, or use branches='full'"
        )
    return reads


def _decoder(model: ModelConfig, branch: BranchName, shared: dict[str, Any]) -> Decoder:
    made = DECODERS[model.decoder].build(model, branch, shared)
    # The unknown word is learned, as the captions hold it, and never written.
    made.suppressed = (UNK,)
    return made


def _graph_encoder(model: ModelConfig, graph: GraphConfig, widths: FeatureWidths) -> GraphEncoder:
    encoder = _plain_graph_encoder(model, graph, widths)
    return graphs.LearnedTemperature(encoder) if graph.learned_temperature else encoder


def _plain_graph_encoder(
    model: ModelConfig, graph: GraphConfig, widths: FeatureWidths
) -> "graphs.STGEncoder | graphs.RelationalEncoder":
    if graph.conv == "stg":
        return graphs.STGEncoder(widths.objects, model.channels, graph.layers)
    return graphs.RelationalEncoder(
        widths.objects,
        model.channels,
        graph.layers,
        conv=graph.conv,
        box=None if graph.box == "none" else graph.box,
        classes=graph.classes,
        score=graph.score,
        motion=graph.motion,
        appearance=graph.appearance,
        geometry=graph.geometry,
        types=(*graphs.EDGE_TYPES, "dense"),
        heads=model.heads,
    )


def _readout(model: ModelConfig, graph: GraphConfig) -> Readout | None:
    if graph.track_layers and model.readout != "tracks":
        raise ValueError(
            f"graph.track_layers={graph.track_layers} are over tracks, and model.readout is {model.readout}: set it "
            "to tracks"
        )
    if model.readout == "frames":
        return None
    relations = [
        graphs.TrackRelations(model.channels, geometry=graph.track_geometry) for _ in range(graph.track_layers)
    ]
    return Readout(model.readout, model.channels, relations, queries=model.queries, heads=model.heads)


def _join(model: ModelConfig) -> nn.Linear | JoinTokens | None:
    if model.branches == "joint":
        return JoinTokens(model.channels) if model.join == "sequence" else None
    if model.branches == "concat" and model.concat_axis == "channel":
        # Without a bias, as the projections of Eq. 5 and 6.
        return nn.Linear(2 * model.channels, model.channels, bias=False)
    return None


def _memory(branch: BranchName, reads: frozenset[str], widths: FeatureWidths, model: ModelConfig) -> MemoryBuilder:
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


def _check_features(branch: BranchName, reads: Reads, widths: FeatureWidths) -> None:
    for part, setting in reads.items():
        made_of = FEATURES[MADE_OF[part]] if part in MADE_OF else None
        if made_of is not None and not getattr(widths, made_of.kind):
            raise ValueError(
                f"the decoder of the {branch} branch reads {part} (model.{setting}) and the store has no "
                f"{made_of.called} features: extract with {made_of.options}, or choose another setting (the built-in "
                "world has scene and object features only)"
            )


def _check_sees_objects(decoder: str, reads: Reads) -> None:
    if not {"frames", "regions"} & reads.keys():
        raise ValueError(
            f"the {decoder} reads {_listed(reads)} alone and would see no object: let it read frames or regions, or "
            "use branches='scene'"
        )


def _listed(reads: Reads) -> str:
    return ", ".join(f"{part} (model.{setting})" for part, setting in reads.items())
