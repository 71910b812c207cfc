"""Where the words of a caption looked: every attribution of one video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch_geometric.data import Data

from decoders import Decoder, VideoMemory
from stg.explain.attention import Attentions, attentions
from stg.explain.attention_maps import lay_out
from stg.explain.deletion import DeletionTest
from stg.explain.explanation import Candidate, Deletion, Look, Told
from stg.explain.gradcam import GRADCAM_OF_WORDS, frame_saliency, gradcam, scene_map
from stg.explain.graph_attribution import explainer_importance, importance
from stg.explain.likelihood import word_log_probs
from stg.models.generation import Caption
from stg.runs.bundle import CaptionerBundle
from stg.text.vocabulary import Vocabulary
from stg.video.decoding import SampledFrames
from stg.vision.backbones import Backbone, LocatingBackbone, SceneMap

OBJECT, OF_OBJECTS = "object.", "Object branch: "
"""What names and titles of looks begin with that are of an object branch that only taught the one that captions."""


EVEN = 1.5
"""Attention that gives no frame more than so many times its share tells little, and is not what a page shows first."""


UNKNOWN = -1
"""The class of a video whose class is not known."""


MODEL = "the model"
"""What a model is called that is shown alone."""


@dataclass(frozen=True)
class Narrator:
    """A model whose captions a page shows.

    Args:
        name: what the page calls it.
        trained: the part that captions.
        whole: the same with its object branch, where that only taught the part that captions (Pan et al., 2020); None
            where there is no such branch, or it was not kept.
        backbone: the image network of its scene features, for Grad-CAM; None: it is not at hand.
    """

    name: str
    trained: CaptionerBundle
    whole: CaptionerBundle | None = None
    backbone: Backbone | None = None

    @property
    def shown(self) -> CaptionerBundle:
        """The most of the model that there is."""
        return self.whole or self.trained

    @property
    def edges(self) -> dict[str, str]:
        """The edges that the model was trained with, as a store wants to be asked for them; all of Pan et al. for a
        model that knows no graph."""
        graph = self.shown.graph
        if self.shown.captioner.objects is None:
            return {"variant": "full", "time_flow": "literal"}
        return {"variant": graph.variant, "time_flow": graph.time_flow}

    def memory(self, batch: Data) -> VideoMemory:
        """What the captioning decoder reads of a flat batch."""
        return self.trained.captioner.memory(batch)

    def taught(self, batch: Data) -> tuple[Decoder, VideoMemory] | None:
        """Decoder and memory of an object branch beside the one that captions; None: no such branch, or no object."""
        captioner = self.shown.captioner
        if captioner.object_decoder is None or captioner.decoder is captioner.object_decoder or not len(batch.x):
            return None
        memory = captioner.encode(batch).objects
        return None if memory is None else (captioner.object_decoder, memory)


class DeletionTests:
    """The deletion tests of a model over the videos of a page: of its captions, its pictures, and what taught it.

    `tell` adds what it finds of each video.
    """

    def __init__(self) -> None:
        self.captions, self.places, self.objects = DeletionTest(), DeletionTest(), DeletionTest()
        self.titles: dict[str, str] = {}

    def results(self) -> tuple[Deletion, ...]:
        """What was found so far, by the titles of the looks."""
        captions = (replace(found, look=self.titles[found.look]) for found in self.captions.results())
        places = (replace(found, look=GRADCAM_OF_WORDS) for found in self.places.results())
        objects = (replace(found, look=OF_OBJECTS + self.titles[found.look]) for found in self.objects.results())
        return (*captions, *places, *objects)


def word_ids(vocabulary: Vocabulary, text: str) -> list[int]:
    """The numbers of the words of a caption that was written with the vocabulary."""
    number = {word: place for place, word in enumerate(vocabulary.words)}
    return [number[word] for word in text.split()]


def tell(
    narrator: Narrator,
    batch: Data,
    captions: Sequence[Caption],
    *,
    seen: SceneMap | None = None,
    scores: Mapping[str, float] | None = None,
    category: int = UNKNOWN,
    explainer: int = 0,
    tests: DeletionTests | None = None,
) -> Told:
    """What a model said of a video, and where each word looked.

    Args:
        batch: flat batch of the one video, with the edges that the model was trained with.
        captions: what the search found, best first; all looks are of the first.
        seen: the image network's map of the frames (`scene_map_of`); None: there is none, and no Grad-CAM.
        scores: of the caption, by metric.
        category: class of the video, for models that read it; -1 where it is not known.
        explainer: steps of GNNExplainer; 0: none.
        tests: take part in these.
    """
    decoder, best = narrator.trained.captioner.decoder, captions[0]
    batch = _with_class(narrator, batch, category)
    ids = word_ids(narrator.trained.vocabulary, best.text)
    with torch.inference_mode():
        memory, taught = narrator.memory(batch), narrator.taught(batch)
        likelihood = word_log_probs(decoder, memory, ids).exp().tolist()
        found = _attended(decoder, ids, memory, None if tests is None else tests.captions)
        looks, objects = lay_out(found, memory, graph=batch), tuple[Look, ...]()
        if taught is not None:
            teacher, read = taught
            asked = _attended(teacher, ids, read, None if tests is None else tests.objects)
            objects = lay_out(asked, read, graph=batch)
    if tests is not None:
        tests.titles |= {look.name: look.title for look in (*looks, *objects)}
        if seen is not None:
            tests.places.add_gradcam(narrator.trained.captioner, batch, ids, seen)
    causes = _causes(narrator, batch, ids, seen, explainer)
    return Told(
        model=narrator.name,
        words=tuple(best.text.split()),
        probabilities=tuple(likelihood[: len(ids)]),
        confidence=best.confidence,
        candidates=tuple(Candidate(one.text, one.log_prob, one.confidence, one.score) for one in captions),
        looks=tuple(sorted([*looks, *map(_of_objects, objects), *causes], key=_tells_little)),
        gate=None if found.gate is None else found.gate.cpu().numpy(),
        units=found.units,
        scores=dict(scores or {}),
    )


def _attended(decoder: Decoder, ids: Sequence[int], memory: VideoMemory, test: DeletionTest | None) -> Attentions:
    found = attentions(decoder, ids, memory)
    if test is not None:
        test.add(decoder, ids, memory, found.ways)
    return found


def scene_map_of(narrator: Narrator, batch: Data, sample: SampledFrames | None) -> SceneMap | None:
    """Where in the frames the scene features of a video come from; None where frames or image network are not at hand.

    Raises:
        UserError: the frames are not those of the features.
    """

    if sample is None or not isinstance(narrator.backbone, LocatingBackbone):
        return None
    return scene_map(narrator.backbone, batch, sample)


def _causes(
    narrator: Narrator, batch: Data, ids: Sequence[int], seen: SceneMap | None, explainer: int
) -> tuple[Look, ...]:
    """What raised the words' likelihood: places in the frames, objects and edges of the graph."""
    captioner = narrator.shown.captioner
    if seen is not None:
        pictures = gradcam(narrator.trained.captioner, batch, ids, seen)
    else:
        pictures = frame_saliency(narrator.trained.captioner, batch, ids)
    suffices = explainer_importance(captioner, batch, ids, epochs=explainer) if explainer else ()
    return (*pictures, *importance(captioner, batch, ids), *suffices)


def _with_class(narrator: Narrator, batch: Data, category: int) -> Data:
    if "category" not in narrator.trained.captioner.decoder.reads:
        return batch
    batch = batch.clone()
    batch.category = torch.full_like(batch.num_frames, category)
    return batch


def _tells_little(look: Look) -> bool:
    """Whether a look is of frames alone and finds them all about alike."""
    if look.frames is None or look.nodes is not None or look.places is not None:
        return False
    return bool((look.frames <= EVEN * look.frames.mean(1, keepdims=True)).all())


def _of_objects(look: Look) -> Look:
    note = "The object branch, given the same words: it taught the branch that captions and has no part in captioning. "
    return replace(look, name=OBJECT + look.name, title=OF_OBJECTS + look.title, note=note + look.note)
