"""From a caption to its explanation: attention of its words, and what raised their likelihood."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from decoders import Decoder, VideoMemory
from graphs import GraphData
from stg.explain.attention import Attentions, attentions
from stg.explain.attention_projection import attributions_of
from stg.explain.deletion import DeletionTest
from stg.explain.explained_model import ExplainedModel
from stg.explain.explainers import USUAL, Explainer, find_explainer
from stg.explain.explanation import Attribution, Deletion, Explanation
from stg.explain.gradcam import WORDS_TITLE
from stg.explain.likelihood import word_log_probs
from stg.models.generation import Caption
from stg.text.vocabulary import Vocabulary
from stg.vision.backbones import SceneMap

OBJECT, OF_OBJECTS = "object.", "Object branch: "
"""What names and titles of attributions begin with that are of an object branch that only taught the captioning one."""

UNKNOWN = -1
"""The class of a video whose class is not known."""


class DeletionTests:
    """The deletion tests of a model over many videos: of its captions, its pictures, and its object branch.

    `explain` adds what it finds of each video.
    """

    def __init__(self) -> None:
        self.captions, self.places, self.objects = DeletionTest(), DeletionTest(), DeletionTest()
        self.titles: dict[str, str] = {}

    def results(self) -> tuple[Deletion, ...]:
        """What was found so far, by the titles of the attributions."""
        captions = (replace(found, title=self.titles[found.title]) for found in self.captions.results())
        places = (replace(found, title=WORDS_TITLE) for found in self.places.results())
        objects = (replace(found, title=OF_OBJECTS + self.titles[found.title]) for found in self.objects.results())
        return (*captions, *places, *objects)


def explain(
    model: ExplainedModel,
    batch: GraphData,
    caption: Caption,
    *,
    image_map: SceneMap | None = None,
    category: int = UNKNOWN,
    explainers: Sequence[str | Explainer] = USUAL,
    tests: DeletionTests | None = None,
) -> Explanation:
    """What each word of a caption attended to, and what raised its likelihood.

    Args:
        batch: flat batch of the one video, with the edges that the model was trained with.
        caption: of the video, by the model.
        image_map: the image network's map of the frames (`ExplainedModel.image_map`); None: it is not at hand, and
            there is no Grad-CAM.
        category: class of the video, for models that read it; -1 if it is not known.
        explainers: names from `EXPLAINERS`, or explainers; attention is always there.
        tests: take part in these.
    """
    decoder, batch = model.trained.captioner.decoder, model.with_class(batch, category)
    written = caption.words or tuple(caption.text.split())
    words = word_ids(model.trained.vocabulary, written)

    # Attention of the branch that captions, and of an object branch that taught it, given the same words.
    with torch.inference_mode():
        memory, object_branch = model.memory(batch), model.object_branch(batch)
        probabilities = word_log_probs(decoder, memory, words).exp().tolist()
        found = _attended(decoder, words, memory, None if tests is None else tests.captions)
        attended, objects = attributions_of(found, memory, graph=batch), tuple[Attribution, ...]()
        if object_branch is not None:
            teacher, read = object_branch
            other = _attended(teacher, words, read, None if tests is None else tests.objects)
            objects = attributions_of(other, read, graph=batch)
    if tests is not None:
        tests.titles |= {one.name: one.title for one in (*attended, *objects)}
        if image_map is not None:
            tests.places.add_gradcam(model.trained.captioner, batch, words, image_map)

    # Gradients need the graph of a forward pass of their own, outside of inference mode.
    made = [find_explainer(one)() if isinstance(one, str) else one for one in explainers]
    causes = [found for one in made for found in one(model, batch, words, image_map)]
    return Explanation(
        words=written,
        probabilities=tuple(probabilities[: len(words)]),
        attributions=tuple(sorted([*attended, *map(_of_objects, objects), *causes], key=_is_of_frames)),
        gate=None if found.gate is None else found.gate.cpu().numpy(),
        units=found.units,
    )


def word_ids(vocabulary: Vocabulary, words: Sequence[str]) -> list[int]:
    """The numbers of the words of a caption that was written with the vocabulary."""
    number = {word: place for place, word in enumerate(vocabulary.words)}
    return [number[word] for word in words]


def _attended(decoder: Decoder, words: Sequence[int], memory: VideoMemory, test: DeletionTest | None) -> Attentions:
    found = attentions(decoder, words, memory)
    if test is not None:
        test.add(decoder, words, memory, found.maps)
    return found


def _is_of_frames(attribution: Attribution) -> bool:
    """Whether an attribution is of frames alone: often even, it comes last, and by its kind, so for every video."""
    return attribution.frames is not None and attribution.nodes is None and attribution.places is None


def _of_objects(attribution: Attribution) -> Attribution:
    note = "The object branch, given the same words: it taught the branch that captions and has no part in captioning. "
    return replace(
        attribution, name=OBJECT + attribution.name, title=OF_OBJECTS + attribution.title, note=note + attribution.note
    )
