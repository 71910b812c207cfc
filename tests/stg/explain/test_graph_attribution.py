"""Importance of objects and edges: graphs in which it is known, finite differences, and seeds."""

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from decoders import Decoder, State, VideoMemory
from graphs import STGEncoder
from stg.explain.explanation import Attribution
from stg.explain.graph_attribution import CaptionOfGraph, explainer_importance, importance
from stg.explain.likelihood import input_gradients
from stg.models.captioner import Branch, Captioner
from stg.models.statistics import Standardise
from tests.stg.explain.test_gradcam import WORDS, build, video_of

CHANNELS, VOCABULARY = 4, 8
FIRST, SECOND = 5, 6
TELLS_FIRST, TELLS_SECOND = 3, 4
"""Objects of frame 1; what they say comes to object 0, in frame 0, by an edge."""


class FirstFrame(Decoder):
    """Looks at the first frame alone: its channel c makes word c + 4 likelier, whatever has been read."""

    def __init__(self) -> None:
        super().__init__(VOCABULARY, CHANNELS)
        with torch.no_grad():
            self.output.weight.copy_(torch.eye(VOCABULARY)[:, 4:])
            self.output.bias.zero_()

    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L C"]:
        return memory.frames[:, :1].expand(-1, words.shape[1], -1)

    def init_state(self, memory: VideoMemory) -> State:
        raise NotImplementedError

    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N C"], State]:
        raise NotImplementedError


def relay() -> tuple[Captioner, Data]:
    """Objects 3 and 4 tell a word each, and object 0 hears both; objects 1, 2 and 5 and their edges tell nothing.

    The mean object, of ones, is what an object without a say looks like.
    """
    encoder = STGEncoder(CHANNELS, CHANNELS, num_layers=1)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.copy_(torch.eye(CHANNELS))
    mean = Standardise(CHANNELS)
    mean.mean.fill_(1.0)
    captioner = Captioner(objects=Branch(encoder, FirstFrame()), standardise=torch.nn.ModuleDict({"x": mean}))
    x = torch.ones(6, CHANNELS)
    x[TELLS_FIRST, FIRST - 4] += 3.0
    x[TELLS_SECOND, SECOND - 4] += 3.0
    # Large, but never heard by frame 0; its weight is that of the others.
    x[5, FIRST - 4] += 9.0
    edges = [(2, 0), (TELLS_FIRST, 0), (5, 3), (TELLS_SECOND, 0), (0, 5), (1, 4)]
    batch = Data(
        x=x,
        frame=torch.tensor([0, 0, 0, 1, 1, 1]),
        batch=torch.zeros(6, dtype=torch.int64),
        edge_index=torch.tensor(edges).T,
        edge_weight=torch.ones(len(edges)),
        num_frames=torch.tensor([2]),
    )
    return captioner, batch


def parts(one: Attribution) -> tuple[np.ndarray, np.ndarray]:
    assert one.nodes is not None
    assert one.edges is not None
    return one.nodes, one.edges


def test_the_object_that_tells_a_word_and_its_edge_rank_first() -> None:
    captioner, batch = relay()
    words, whole = importance(captioner, batch, [FIRST, SECOND])
    assert (words.whole, whole.whole) == (False, True)
    nodes, edges = parts(words)
    np.testing.assert_allclose(nodes, np.eye(6)[[TELLS_FIRST, TELLS_SECOND]], atol=1e-6)
    np.testing.assert_allclose(edges, np.eye(6)[[1, 3]], atol=1e-6)
    np.testing.assert_allclose(words.frames, [[0, 1], [0, 1]], atol=1e-6)
    nodes, edges = parts(whole)
    assert set(nodes[0].argsort()[-2:]) == {TELLS_FIRST, TELLS_SECOND}
    assert set(edges[0].argsort()[-2:]) == {1, 3}
    assert nodes[0].sum() == pytest.approx(1)
    assert edges[0].sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_explainer_keeps_what_tells_the_words(seed: int) -> None:
    captioner, batch = relay()
    (one,) = explainer_importance(captioner, batch, [FIRST, SECOND], seed=seed)
    assert one.whole
    nodes, edges = parts(one)
    assert set(nodes[0].argsort()[-2:]) == {TELLS_FIRST, TELLS_SECOND}
    assert set(edges[0].argsort()[-2:]) == {1, 3}
    assert one.edges is not None
    assert one.edges[0, [1, 3]].min() > 1.2 * np.delete(one.edges[0], [1, 3]).max()


def test_a_seed_gives_one_explanation_and_leaves_the_numbers_of_others_alone() -> None:
    captioner, batch = relay()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, again, other = (explainer_importance(captioner, batch, [FIRST], seed=seed, epochs=5)[0] for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(one.edges, again.edges)
    assert not np.array_equal(parts(one)[1], parts(other)[1])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"branches": "object"},
        {"branches": "concat"},
        {"branches": "concat", "concat_axis": "time"},
        {"branches": "object", "decoder": "attention_lstm"},
        {"decoder": "stats"},
        {"standardise": False},
    ],
    ids=str,
)
def test_gradients_are_those_of_masking_an_object_or_a_message(settings: dict[str, object]) -> None:
    """Each share is that of a slow difference: a little of one object, or of one edge's messages, taken away."""
    captioner = build(5, **settings).double()
    batch = video_of(torch.randn(4, 5).double())
    words, whole = importance(captioner.train(), batch, WORDS)
    assert captioner.training
    assert captioner.objects is not None
    captioner.eval()
    likelihood = CaptionOfGraph(captioner, batch, WORDS)
    step = 1e-5

    def rise(node: int | None, edge: int | None) -> Tensor:
        values = []
        for sign in (step, -step):
            x, mask = likelihood.objects.clone(), torch.ones(batch.edge_index.shape[1]).double()
            if node is not None:
                x[node] *= 1 + sign
            if edge is not None:
                mask[edge] += sign
            values.append(_masked(likelihood, x, mask))
        return (values[0] - values[1]) / (2 * step)

    for one, pick in ((words, lambda one: one[:-1]), (whole, lambda one: one.sum()[None])):
        nodes, edges = parts(one)
        slow = torch.stack([pick(rise(node, None)) for node in range(len(batch.x))], 1)
        np.testing.assert_allclose(nodes, _shares(slow), rtol=1e-4, atol=1e-7)
        slow = torch.stack([pick(rise(None, edge)) for edge in range(edges.shape[1])], 1)
        np.testing.assert_allclose(edges, _shares(slow), rtol=1e-4, atol=1e-7)


def _shares(slopes: Tensor) -> np.ndarray:
    rises = slopes.clamp_min(0).numpy()
    total = rises.sum(1, keepdims=True)
    # Below this there is nothing but rounding: all of them lower the word.
    return np.where(total > 1e-9, rises / total.clip(1e-9), 0)


def _masked(likelihood: CaptionOfGraph, x: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities with the messages of each edge multiplied, in all layers, without PyG's masks."""
    objects = likelihood.captioner.objects
    assert objects is not None
    patched = []
    for conv in objects.convs:
        plain = type(conv).message
        conv.explain = True  # the edge-by-edge path, whose messages can be replaced
        conv.explain_message = lambda message, *rest, **named: message * mask[:, None]
        conv.message = lambda conv=conv, plain=plain, **parts: plain(conv, **parts)
        patched.append(conv)
    try:
        with torch.no_grad():
            return likelihood(x, likelihood.batch.edge_index)
    finally:
        for conv in patched:
            del conv.explain_message, conv.message
            conv.explain = None


def test_the_captioner_is_left_as_it_was() -> None:
    captioner = build(5)
    batch = video_of(torch.randn(4, 5))
    captioner.eval()
    with torch.inference_mode():
        before = captioner.encode(batch).objects
        for found in (
            importance(captioner, batch, WORDS),
            explainer_importance(captioner, batch, WORDS, epochs=2),
        ):
            assert found
        after = captioner.encode(batch).objects
    assert before is not None
    assert after is not None
    assert torch.equal(before.frames, after.frames)
    assert all(weight.requires_grad and weight.grad is None for weight in captioner.parameters())
    assert captioner.objects is not None
    assert all(conv.explain is None and conv._edge_mask is None for conv in captioner.objects.convs)


def test_one_explanation_does_not_change_the_next() -> None:
    captioner, batch = relay()
    before = importance(captioner, batch, [FIRST, SECOND])
    explainer_importance(captioner, batch, [FIRST, SECOND], epochs=2)
    for one, again in zip(before, importance(captioner, batch, [FIRST, SECOND]), strict=True):
        np.testing.assert_array_equal(one.nodes, again.nodes)
        np.testing.assert_array_equal(one.edges, again.edges)


def test_graphs_without_edges_or_layers_show_objects_alone() -> None:
    captioner, batch = relay()
    bare = batch.clone()
    bare.edge_index, bare.edge_weight = batch.edge_index[:, :0], batch.edge_weight[:0]
    bare.frame = torch.zeros(6, dtype=torch.int64)
    for found in (importance(captioner, bare, [FIRST, SECOND]), explainer_importance(captioner, bare, [FIRST])):
        for one in found:
            assert one.edges is None
            assert one.nodes is not None
            assert np.isfinite(one.nodes).all()
    words = importance(captioner, bare, [FIRST, SECOND])[0]
    assert parts_of(words) == [5, TELLS_SECOND]
    assert captioner.objects is not None
    captioner.objects.convs = torch.nn.ModuleList()
    for found in (importance(captioner, batch, [FIRST]), explainer_importance(captioner, batch, [FIRST])):
        assert found[0].edges is None


def parts_of(one: Attribution) -> list[int]:
    assert one.nodes is not None
    return one.nodes.argmax(1).tolist()


def test_nothing_is_shown_where_there_is_nothing_to_show() -> None:
    captioner, batch = relay()
    empty = batch.clone()
    empty.x, empty.frame, empty.batch = batch.x[:0], batch.frame[:0], batch.batch[:0]
    empty.edge_index, empty.edge_weight = batch.edge_index[:, :0], batch.edge_weight[:0]
    for explain in (importance, explainer_importance):
        assert explain(captioner, empty, [FIRST]) == ()
        assert explain(captioner, batch, []) == ()
        assert explain(build(5, branches="scene"), video_of(torch.randn(4, 5)), WORDS) == ()
        assert explain(build(5).for_captioning(), video_of(torch.randn(4, 5)), WORDS) == ()
        two = batch.clone()
        two.num_frames = torch.tensor([1, 1])
        with pytest.raises(ValueError, match="belongs to one video, and the batch has 2"):
            explain(captioner, two, [FIRST])


def test_the_words_of_the_page_say_that_the_scene_branch_wrote_the_caption() -> None:
    captioner, batch = relay()
    with input_gradients(captioner):
        found = (*importance(captioner, batch, [FIRST]), *explainer_importance(captioner, batch, [FIRST]))
    assert [one.name for one in found] == ["importance", "importance.caption", "explainer"]
    for one in found:
        assert "where the scene branch captions alone" in one.note
