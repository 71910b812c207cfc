"""Frames filled up with objects that are all zero: the literal reading of zero-padding."""

import math

import pytest
import torch

from graphs import VideoFeatures, build_graph, draw_paper_edges, pad_frames


def two_boxes() -> VideoFeatures:
    """Two boxes of IoU 0.5 in the first of two frames, none in the second."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 5]], dtype=torch.float64)
    objects = torch.tensor([[1.0, 0], [1.0, 1]], dtype=torch.float64)
    track = torch.tensor([4, 5])
    return VideoFeatures(boxes=boxes, objects=objects, frame=torch.tensor([0, 0]), num_frames=2, track=track)


def matrix(graph: object, kind: int) -> torch.Tensor:
    """Row i: what object i gathers."""
    weights = torch.zeros(10, 10, dtype=torch.float64)
    for (source, target), weight, type_ in zip(
        graph.edge_index.T.tolist(), graph.edge_weight.tolist(), graph.edge_type.tolist(), strict=True
    ):
        weights[target, source] += weight if type_ == kind else 0.0
    return weights


def test_pads_take_part_as_the_equations_have_it() -> None:
    graph = build_graph(two_boxes())
    pad_frames(graph, 5)
    draw_paper_edges(graph)
    assert graph.frame.tolist() == [0] * 5 + [1] * 5
    assert graph.track.tolist() == [4, 5] + [-1] * 8
    # exp(1), exp(1/2) and three times exp(0), normalised.
    total = math.e + math.exp(0.5) + 3
    expected = [math.e / total, math.exp(0.5) / total, *[1 / total] * 3]
    assert matrix(graph, 0)[0, :5].tolist() == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx([0.369, 0.224, 0.136, 0.136, 0.136], abs=5e-4)
    # The cosine with a vector of zeros counts as 0: five pads share each row alike.
    assert matrix(graph, 1)[:5, 5:].flatten().tolist() == pytest.approx([0.2] * 25, abs=1e-12)


def test_pads_stand_behind_the_objects_of_their_own_frame() -> None:
    # Frames of one, no, three and two objects; each is named by its width and its features.
    frame = torch.tensor([0, 2, 2, 2, 3, 3])
    boxes = torch.tensor([[0.0, 0, n, 10] for n in range(1, 7)], dtype=torch.float64)
    objects = torch.arange(1.0, 7, dtype=torch.float64)[:, None] * torch.tensor([1.0, -2], dtype=torch.float64)
    scores, track = torch.arange(1, 7, dtype=torch.float64) / 10, torch.arange(6)
    features = VideoFeatures(boxes=boxes, objects=objects, frame=frame, num_frames=4, scores=scores, track=track)
    graph = build_graph(features)
    pad_frames(graph, 2)
    draw_paper_edges(graph)
    assert graph.frame.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert graph.track.tolist() == [0, -1, -1, -1, 1, 2, 3, 4, 5]
    assert graph.boxes[:, 2].tolist() == [1, 0, 0, 0, 2, 3, 4, 5, 6]
    assert graph.x[:, 0].tolist() == [1, 0, 0, 0, 2, 3, 4, 5, 6]
    assert graph.scores.tolist() == pytest.approx([0.1, 0, 0, 0, 0.2, 0.3, 0.4, 0.5, 0.6])
    # The same edges as where somebody wrote the zeros into the features.
    by_hand = VideoFeatures(boxes=graph.boxes, objects=graph.x, frame=graph.frame, num_frames=4)
    for kind in (0, 1):
        assert torch.equal(matrix(graph, kind), matrix(build_graph(by_hand), kind))


def test_full_frames_and_no_objects() -> None:
    graph = build_graph(two_boxes())
    pad_frames(graph, 1)
    assert graph.x.tolist() == [[1, 0], [1, 1], [0, 0]]
    assert "edge_index" not in graph
    empty = VideoFeatures(torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), num_frames=2)
    graph = build_graph(empty)
    pad_frames(graph, 2)
    draw_paper_edges(graph)
    assert graph.x.shape == (4, 3)
    assert bool(torch.isfinite(graph.edge_weight).all())
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        pad_frames(graph, 0)
