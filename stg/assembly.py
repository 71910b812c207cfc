"""From settings to a model: the one place that maps names to classes."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch_geometric.data import Data

from decoders import Decoder, TransformerDecoder
from graphs import STGEncoder
from stg.config import GraphConfig, ModelConfig
from stg.model import Captioner, Fusion, SceneBranch, Standardise
from stg.text import BOS, EOS, PAD, UNK

DECODERS = {"transformer": TransformerDecoder}
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

    @classmethod
    def of(cls, graph: Data) -> "Widths":
        """The widths of one video's graph (or of a batch)."""
        scene = graph.scene.shape[-1] if "scene" in graph else 0
        motion = graph.motion.shape[-1] if "motion" in graph else 0
        return cls(scene, motion, graph.x.shape[-1])


def build_captioner(
    model: ModelConfig, graph: GraphConfig, *, widths: Widths, vocabulary: int, max_words: int
) -> Captioner:
    """A fresh captioner with its branches and decoders.

    Raises:
        ValueError: the features lack what the branches need.
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

    def decoder() -> Decoder:
        made = DECODERS[model.decoder](
            vocabulary,
            channels=model.channels,
            num_layers=model.layers,
            num_encoder_layers=model.layers,
            heads=model.heads,
            hidden=model.hidden,
            dropout=model.dropout,
            max_length=max_words + 2,
            pad=PAD,
            bos=BOS,
            eos=EOS,
        )
        # The unknown word is learned, as the captions hold it, and never written.
        made.barred = (UNK,)
        return made

    joined = model.branches == "concat" and model.concat_axis == "channel"
    read = {"x": widths.objects} if wants_objects else {}
    read |= {"scene": widths.scene, "motion": widths.motion} if wants_scene else {}
    standardise = nn.ModuleDict({name: Standardise(width) for name, width in read.items() if width})
    return Captioner(
        scene=SceneBranch(widths.scene, widths.motion or None, model.channels) if wants_scene else None,
        objects=STGEncoder(widths.objects, model.channels, graph.layers) if wants_objects else None,
        scene_decoder=decoder() if wants_scene else None,
        object_decoder=decoder() if wants_objects and model.branches != "concat" else None,
        fusion=FUSIONS[model.branches],
        join=nn.Linear(2 * model.channels, model.channels, bias=False) if joined else None,
        standardise=standardise if model.standardise else None,
    )
