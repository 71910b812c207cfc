"""Explainers by name: what raised the likelihood of a caption."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from graphs import GraphData
from stg.config.plugins import near
from stg.explain.explained_model import ExplainedModel
from stg.explain.explanation import Attribution
from stg.explain.gradcam import frame_saliency, gradcam
from stg.runtime.errors import UserError
from stg.vision.backbones import SceneMap


@runtime_checkable
class Explainer(Protocol):
    """Attributes the words of a caption to parts of its video."""

    def __call__(
        self, model: ExplainedModel, batch: GraphData, words: Sequence[int], image_map: SceneMap | None
    ) -> tuple[Attribution, ...]:
        """Attributions of a caption; none if the model does not read what this explains.

        Args:
            batch: flat batch of the one video, with the edges that the model was trained with.
            words: ids of the caption, without the first and the last special word.
            image_map: the image network's map of the frames; None: it is not at hand.
        """
        ...


def _scene() -> Explainer:
    def explain(
        model: ExplainedModel, batch: GraphData, words: Sequence[int], image_map: SceneMap | None
    ) -> tuple[Attribution, ...]:
        captioner = model.trained.captioner
        # Without the pictures, what their places would add up to in each frame.
        if image_map is None:
            return frame_saliency(captioner, batch, words)
        return gradcam(captioner, batch, words, image_map)

    return explain


def _graph() -> Explainer:
    def explain(
        model: ExplainedModel, batch: GraphData, words: Sequence[int], image_map: SceneMap | None
    ) -> tuple[Attribution, ...]:
        if model.largest.captioner.objects is None:
            return ()
        # Here and not above: the explainers of PyG come with all of it, which a model without graph never imports.
        from stg.explain.graph_attribution import importance

        return importance(model.largest.captioner, batch, words)

    return explain


def _gnn_explainer(epochs: int = 60) -> Explainer:
    def explain(
        model: ExplainedModel, batch: GraphData, words: Sequence[int], image_map: SceneMap | None
    ) -> tuple[Attribution, ...]:
        if model.largest.captioner.objects is None:
            return ()
        from stg.explain.graph_attribution import explainer_importance

        return explainer_importance(model.largest.captioner, batch, words, epochs=epochs)

    return explain


EXPLAINERS: dict[str, Callable[..., Explainer]] = {"scene": _scene, "graph": _graph, "gnn_explainer": _gnn_explainer}
"""Name -> factory of an explainer. An explainer of one's own is one more entry."""

USUAL = ("scene", "graph")
"""Those that cost little: gradients alone."""


def find_explainer(name: str) -> Callable[..., Explainer]:
    """What makes the explainer of this name.

    Raises:
        UserError: unknown; the known ones are listed.
    """
    if name not in EXPLAINERS:
        raise UserError(f"no explainer {name!r}: choose from {', '.join(EXPLAINERS)}{near(name, EXPLAINERS)}")
    return EXPLAINERS[name]
