"""Which objects and edges the graph branch needed for a caption, by ``torch_geometric.explain``."""

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.explain import Explainer, Explanation, GNNExplainer
from torch_geometric.explain.algorithm import ExplainerAlgorithm
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.explain.config import MaskType, ModelMode

from graphs import GraphData
from stg.explain.explanation import Attribution, as_shares
from stg.explain.likelihood import input_gradients, word_log_probs
from stg.models.captioner import Captioner

LIMITS = (
    "The caption is given to the graph branch's own decoder, word by word; where the scene branch captions alone, as "
    "in the paper, the graph had no part in writing it and only taught that branch. Edges are taken as they are: that "
    "they were made from the objects does not count."
)


def importance(captioner: Captioner, batch: GraphData, words: Sequence[int]) -> tuple[Attribution, ...]:
    """Which objects and messages raised each word, and the caption, by gradient times input.

    Args:
        captioner: any whose object branch is there (a model file of Pan's model holds none; that of the whole model
            does), in any mode; it is left as it was.
        batch: flat batch of the one video, with the edges that the model was trained with.
        words: ids of the caption, without the first and the last special word.

    Returns:
        ``importance``, one row a word, and ``importance.caption``, one row: ``nodes`` ``[L N]``, ``frames`` (their sum
        in each frame) and, where the graph has edges and the model convolutions, ``edges`` ``[L E]`` in the order of
        ``batch.edge_index``; each sums to 1 in a row, and to 0 where nothing raised the word. Nothing where there is no
        object branch, no object or no word.

    Raises:
        ValueError: the batch is not of one video.
    """
    likelihood = _likelihood(captioner, batch, words)
    if likelihood is None:
        return ()
    with input_gradients(captioner):
        found = _explain(likelihood, GradientTimesInput())
    # Without convolutions there are no messages to attribute anything to.
    messages = "edge_mask" in found
    note = (
        "gradient times input, the input being how much an object differs from the mean object, and a message from "
        "none. It holds to first order and shows nothing of what lowered the likelihood. "
    )
    return (
        likelihood.attribution(
            "importance",
            "Objects and edges of each word",
            "Which objects, and which messages along edges, raised the probability of the word, given those before it, "
            f"in the graph branch: {note}{LIMITS}",
            found.node_rows[:-1],
            found.edge_rows[:-1] if messages else None,
        ),
        likelihood.attribution(
            "importance.caption",
            "Objects and edges of the caption",
            "Which objects, and which messages along edges, raised the likelihood of the caption as a whole in the "
            f"graph branch: {note}{LIMITS}",
            found.node_mask.T,
            found.edge_mask[None] if messages else None,
            whole=True,
        ),
    )


def explainer_importance(
    captioner: Captioner, batch: GraphData, words: Sequence[int], *, seed: int = 0, epochs: int = 60
) -> tuple[Attribution, ...]:
    """Which objects and edges suffice for the caption, by GNNExplainer (Ying et al., 2019) as PyG has it.

    Masks over objects and messages are learned that keep the log-probability of every word, while they are pressed to
    be small (by their mean, since a sum would press the harder the larger the graph) and to be 0 or 1.

    Args:
        captioner, batch, words: as in `importance`.
        seed: of the masks at first.
        epochs: steps of their training, each a pass forth and back over the graph.

    Returns:
        ``explainer``, one row, shaped as in `importance`; or nothing, as there.

    Raises:
        ValueError: the batch is not of one video.
    """
    likelihood = _likelihood(captioner, batch, words)
    if likelihood is None:
        return ()
    algorithm = GNNExplainer(epochs=epochs, lr=0.1, edge_reduction="mean", edge_size=1.0)
    device = likelihood.batch.x.device
    # The masks begin at random: fixed by the seed here, with the caller's generators left where they are.
    with input_gradients(captioner), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        found = _explain(likelihood, algorithm)
    return (
        likelihood.attribution(
            "explainer",
            "Objects and edges that suffice for the caption",
            "A small set of objects and edges from which the graph branch still gives every word of the caption nearly "
            f"its probability, found by GNNExplainer from seed {seed}; other such sets may do as well. {LIMITS}",
            found.node_mask.T,
            found.edge_mask[None] if "edge_mask" in found else None,
            whole=True,
        ),
    )


class CaptionOfGraph(nn.Module):
    """The log-probabilities of a caption's words as a function of the graph alone, which is what PyG explains.

    Objects are counted from the mean object of the training videos, where the captioner knows it, so that an object
    that is masked becomes that one. An object of zeros would be a strange one indeed.

    Args:
        captioner: with an object branch.
        batch: flat batch of the one video.
        words: ids of the caption, without the special words at its ends.
    """

    def __init__(self, captioner: Captioner, batch: GraphData, words: Sequence[int]) -> None:
        super().__init__()
        self.captioner, self.words = captioner, list(words)
        with torch.inference_mode(False):
            self.batch = batch.clone().to(next(captioner.parameters()).device)
            known = dict(captioner.standardise.items() if captioner.standardise is not None else ())
            mean = known["x"].mean if "x" in known else self.batch.x.new_zeros(self.batch.x.shape[1])
            assert isinstance(mean, Tensor)
            self.centre = mean.clone()

    @property
    def objects(self) -> Float[Tensor, "N D"]:
        """The objects of the graph, counted from the mean one: the ``x`` of `forward`."""
        return self.batch.x - self.centre

    @property
    def passes_messages(self) -> bool:
        """Whether there is any message to explain."""
        assert self.captioner.objects is not None
        return self.batch.edge_index.shape[1] > 0 and len(self.captioner.objects.convs) > 0

    def forward(self, x: Float[Tensor, "N D"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, " L1"]:
        batch = self.batch.clone()
        batch.x, batch.edge_index = x + self.centre, edge_index
        encoded, captioner = self.captioner.encode(batch), self.captioner
        if captioner.object_decoder is not None and encoded.objects is not None:
            return word_log_probs(captioner.object_decoder, encoded.objects, self.words)
        assert encoded.scene is not None  # joined branches have one decoder and one memory
        return word_log_probs(captioner.decoder, encoded.scene, self.words)

    def attribution(
        self,
        name: str,
        title: str,
        note: str,
        nodes: Float[Tensor, "L N"],
        edges: Float[Tensor, "L E"] | None,
        *,
        whole: bool = False,
    ) -> Attribution:
        """Rows of importances as shares."""
        node = as_shares(nodes.cpu().numpy())
        frames = node @ np.eye(int(self.batch.num_frames), dtype=node.dtype)[self.batch.frame.cpu().numpy()]
        edge = as_shares(edges.cpu().numpy()) if edges is not None else None
        return Attribution(name, title, note, frames=frames, nodes=node, edges=edge, whole=whole)


class GradientTimesInput(ExplainerAlgorithm):
    """Gradient times input over nodes and messages, from one forward pass: an algorithm for PyG's ``Explainer``.

    The input of an edge is the message along it, in all layers at once: its gradient is that of a mask of ones. What
    lowers an output counts 0. It explains all outputs of a regression, and of a classification into several classes the
    score of the target's class: as the model returns it, so that ``return_type="raw"`` counts what raises the class,
    and ``"log_probs"`` what raises it above the others. Takes ``node_mask_type="object"`` and ``edge_mask_type``
    ``"object"`` or None.

    Besides PyG's masks, which are of the sum of the ``K`` outputs, the explanation has ``node_rows [K N]`` and, where
    edges are masked, ``edge_rows [K E]``, of each output.
    """

    def supports(self) -> bool:
        nodes, edges = self.explainer_config.node_mask_type, self.explainer_config.edge_mask_type
        known = nodes == MaskType.object and edges in (MaskType.object, None)
        return known and self.model_config.mode in (ModelMode.regression, ModelMode.multiclass_classification)

    # PyG's hints, which its own algorithms share.
    def forward(
        self,
        model: nn.Module,
        x: Tensor,
        edge_index: Tensor,
        *,
        target: Tensor,
        index: Optional[Union[int, Tensor]] = None,  # noqa: UP007, UP045
        **kwargs: Any,
    ) -> Explanation:
        nodes = x.new_ones(len(x), 1, requires_grad=True)
        # A parameter: PyG puts a copy in the place of any other tensor once a layer has had a parameter for a mask.
        edges = nn.Parameter(x.new_ones(edge_index.shape[1]))
        masks = (nodes, edges) if self.explainer_config.edge_mask_type is not None else (nodes,)
        if len(masks) > 1:
            set_masks(model, edges, edge_index, apply_sigmoid=False)
        try:
            outputs = model(nodes * x, edge_index, **kwargs)
        finally:
            clear_masks(model)
        if self.model_config.mode == ModelMode.multiclass_classification:
            outputs = outputs.gather(1, target[:, None])
        outputs = (outputs if index is None else outputs[index]).flatten()
        rows = [torch.autograd.grad(one, masks, retain_graph=True) for one in outputs]
        by_node = torch.stack([row[0][:, 0] for row in rows])
        found = Explanation(node_mask=by_node.sum(0).clamp_min(0)[:, None], node_rows=by_node.clamp_min(0))
        if len(masks) > 1:
            by_edge = torch.stack([row[1] for row in rows])
            found.edge_mask, found.edge_rows = by_edge.sum(0).clamp_min(0), by_edge.clamp_min(0)
        return found


def _likelihood(captioner: Captioner, batch: GraphData, words: Sequence[int]) -> CaptionOfGraph | None:
    if len(batch.num_frames) != 1:
        raise ValueError(f"a caption belongs to one video, and the batch has {len(batch.num_frames)}")
    if captioner.objects is None or not words or "x" not in batch or not len(batch.x):
        return None
    return CaptionOfGraph(captioner, batch, words)


def _explain(likelihood: CaptionOfGraph, algorithm: ExplainerAlgorithm) -> Explanation:
    explainer = Explainer(
        likelihood,
        algorithm,
        explanation_type="model",
        node_mask_type="object",
        edge_mask_type="object" if likelihood.passes_messages else None,
        # Regression and raw, as the outputs are log-probabilities already: PyG would put a softmax over words.
        model_config={"mode": "regression", "task_level": "graph", "return_type": "raw"},
    )
    return explainer(likelihood.objects, likelihood.batch.edge_index)
