"""The event classifier called with a batch, with the fields of a graph, and by PyG's explainers."""

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm import ExplainerAlgorithm

from stg.evaluation.event_classifier import EventClassifier
from stg.explain import GradientTimesInput
from stg.pages import draw_edges
from tests.graphs.made_graphs import made_graph


def model(**settings: object) -> EventClassifier:
    torch.manual_seed(0)
    given = {"scene": None, "objects": 6, "classes": 2, "channels": 16, "layers": 1, **settings}
    return EventClassifier(**given).eval()


def fields(graph: Data) -> dict[str, object]:
    """What an explainer passes on to the model."""
    return {name: graph[name] for name in ("edge_weight", "frame", "batch", "num_frames") if name in graph}


def explained(classifier: EventClassifier, graph: Data, algorithm: ExplainerAlgorithm) -> Data:
    explainer = Explainer(
        classifier,
        algorithm,
        explanation_type="model",
        node_mask_type="object",
        edge_mask_type="object",
        model_config={"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"},
    )
    return explainer(graph.x, graph.edge_index, **fields(graph))


def giving() -> EventClassifier:
    """Says event 1 by what objects with something in channel 0 send: it alone becomes channel 5, which is read."""
    classifier = model()
    with torch.no_grad():
        for weight in (*classifier.graph.parameters(), classifier.output.weight, classifier.output.bias):
            weight.zero_()
        classifier.graph.project.weight[:6, :6] = torch.eye(6)
        classifier.graph.convs[0].linear.weight[5, 0] = 1.0
        classifier.output.weight[:, 5] = torch.tensor([-1.0, 1.0])
        for layer in classifier.frames.layers:
            for weight in (layer.self_attn.out_proj.weight, layer.linear2.weight):
                weight.zero_()
    return classifier


@pytest.mark.parametrize("algorithm", [GradientTimesInput(), GNNExplainer(epochs=20)])
def test_an_explainer_finds_the_one_edge_that_counts(algorithm: ExplainerAlgorithm) -> None:
    torch.manual_seed(0)
    graph = Data(
        x=torch.tensor([[0.0, 1, 0, 0, 0, 0], *[[0.0, 0, 1, 1, 0, 0]] * 5]),
        edge_index=torch.tensor([[0, 1, 2, 4, 2, 3, 5], [1, 0, 3, 1, 5, 2, 4]]),
        edge_weight=torch.ones(7),
        frame=torch.tensor([0, 0, 1, 1, 2, 2]),
        num_frames=3,
    )
    graph.x[4, 0] = 9.0
    found = explained(giving(), graph, algorithm)
    assert found.target.tolist() == [1]
    # One entry an edge; that from object 4, in the fourth place, is the planted one.
    assert (found.edge_mask > 0).tolist() == [False] * 3 + [True] + [False] * 3
    assert found.validate()
    boxes = torch.tensor([10.0, 10.0, 50.0, 50.0]).repeat(6, 1)
    drawn = draw_edges(boxes, found.frame, found.edge_index, found.edge_mask, size=(60, 80))
    none = draw_edges(boxes, found.frame, found.edge_index, torch.zeros(7), size=(60, 80))
    assert drawn.tobytes() != none.tobytes()


def test_the_fields_of_a_graph_do_as_the_graph_itself() -> None:
    for graph in (made_graph([2, 0, 3]), Batch.from_data_list([made_graph([2, 1], 1), made_graph([1, 3, 1], 2)])):
        graph.edge_weight = graph.edge_weight.abs()
        classifier = model()
        scores = classifier(graph.x, graph.edge_index, **fields(graph))
        torch.testing.assert_close(scores, classifier(graph))
        without = classifier(graph.x, graph.edge_index, **{**fields(graph), "edge_weight": None})
        assert not torch.allclose(scores, without)
        assert scores.shape == (graph.num_graphs if "batch" in graph else 1, 2)


def test_gradients_are_of_the_class_in_question_and_of_each_video() -> None:
    graph = Batch.from_data_list([made_graph([2, 1], 1), made_graph([1, 3, 1], 2)])
    graph.edge_weight = graph.edge_weight.abs()
    classifier = model(classes=3)
    found = explained(classifier, graph, GradientTimesInput())
    chosen = classifier(graph).argmax(1)
    assert found.target.tolist() == chosen.tolist()
    # The objects of the other video have no part in what a video is said to show.
    assert found.node_rows.shape == (2, 8)
    assert not found.node_rows[0, 3:].any()
    assert found.node_rows[0, :3].any()
    assert not found.node_rows[1, :3].any()
    ones = torch.ones(8, 1, requires_grad=True)
    scores = classifier(ones * graph.x, graph.edge_index, **fields(graph))
    for video, row in enumerate(found.node_rows):
        (expected,) = torch.autograd.grad(scores[video, chosen[video]], ones, retain_graph=True)
        torch.testing.assert_close(row, expected[:, 0].clamp_min(0))


def test_a_scene_branch_has_no_edges_and_leaves_the_batch_as_it_was() -> None:
    graph = made_graph([2, 1], 1)
    before = graph.scene.clone()
    classifier = model(scene=4)
    classifier.standardise.fit([graph.scene])
    torch.testing.assert_close(classifier(graph), classifier(graph))
    assert torch.equal(graph.scene, before)
    with pytest.raises(ValueError, match="the scene branch reads no graph, so that there are no edges to explain"):
        classifier(graph.x, graph.edge_index, **fields(graph))
