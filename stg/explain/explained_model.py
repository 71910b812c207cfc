"""A captioner with what explains its captions: its object branch and its image network."""

from dataclasses import dataclass

import torch

from decoders import Decoder, VideoMemory
from graphs import GraphData
from stg.explain.gradcam import scene_map
from stg.runs.bundle import CaptionerBundle
from stg.video.decoding import SampledFrames
from stg.vision.backbones import Backbone, LocatingBackbone, SceneMap


@dataclass(frozen=True)
class ExplainedModel:
    """A model whose captions are explained.

    Args:
        trained: the part that captions.
        whole: the same with its object branch, where that only taught the part that captions (Pan et al., 2020); None
            if there is no such branch, or it was not kept.
        backbone: the image network of its scene features, for Grad-CAM; None: it is not at hand.
    """

    trained: CaptionerBundle
    whole: CaptionerBundle | None = None
    backbone: Backbone | None = None

    @property
    def largest(self) -> CaptionerBundle:
        """The most of the model that there is."""
        return self.whole or self.trained

    @property
    def edges(self) -> dict[str, str]:
        """The edges that the model was trained with, as arguments of a store's ``batch``; those of Pan et al. for a
        model that knows no graph."""
        graph = self.largest.graph
        if self.largest.captioner.objects is None:
            return {"variant": "full", "time_flow": "literal"}
        return {"variant": graph.variant, "time_flow": graph.time_flow}

    def memory(self, batch: GraphData) -> VideoMemory:
        """What the captioning decoder reads of a flat batch."""
        return self.trained.captioner.memory(batch)

    def object_branch(self, batch: GraphData) -> tuple[Decoder, VideoMemory] | None:
        """Decoder and memory of an object branch that does not caption; None: no such branch, or no object."""
        captioner = self.largest.captioner
        if captioner.object_decoder is None or captioner.decoder is captioner.object_decoder or not len(batch.x):
            return None
        memory = captioner.encode(batch).objects
        return None if memory is None else (captioner.object_decoder, memory)

    def image_map(self, batch: GraphData, sample: SampledFrames | None) -> SceneMap | None:
        """Where in the frames the scene features of a video come from; None if frames or image network are not at hand.

        Raises:
            UserError: the frames are not those of the features.
        """
        if sample is None or not isinstance(self.backbone, LocatingBackbone):
            return None
        return scene_map(self.backbone, batch, sample)

    def with_class(self, batch: GraphData, category: int) -> GraphData:
        """The batch of one video with its class, if the decoder reads one."""
        if "category" not in self.trained.captioner.decoder.reads:
            return batch
        batch = batch.clone()
        batch.category = torch.full_like(batch.num_frames, category)
        return batch
