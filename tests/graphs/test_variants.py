"""Variants: each is the reference matrix with the right blocks."""

import pytest
import torch

from graphs.build import build_graph
from graphs.variants import DENSE_TYPE, TIME_FLOWS, VARIANTS, select_edges
from tests.graphs.graph_reference import dense, make_video, matrix


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_equals_its_matrix(variant: str, time_flow: str) -> None:
    video = make_video([2, 3, 0, 1, 2])
    data = build_graph(video)
    ptr = torch.tensor([0, video.num_objects])
    index, weight, kind = select_edges(variant, data.edge_index, data.edge_weight, data.edge_type, ptr, time_flow)
    assert torch.allclose(dense(index, weight, video.num_objects), matrix(video, variant, time_flow), atol=1e-12)
    assert index.size(1) == len(weight) == len(kind)


def test_types_follow_their_edges() -> None:
    video = make_video([2, 3, 1])
    data = build_graph(video)
    ptr = torch.tensor([0, 6])
    for flow, step in (("literal", {-1}), ("forward", {1}), ("both", {-1, 1})):
        (source, target), _, kind = select_edges("full", data.edge_index, data.edge_weight, data.edge_type, ptr, flow)
        moved = video.frame[target] - video.frame[source]
        assert set(moved[kind == 0].tolist()) == {0}
        assert set(moved[kind == 1].tolist()) == step
    assert set(select_edges("dense", data.edge_index, data.edge_weight, data.edge_type, ptr)[2].tolist()) == {
        DENSE_TYPE
    }


def test_dense_keeps_videos_apart_and_needs_no_edges() -> None:
    nothing = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    index, weight, _ = select_edges("dense", *nothing, torch.tensor([0, 2, 3]))
    assert dense(index, weight, 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_unknown_names() -> None:
    data = build_graph(make_video([2]))
    parts = data.edge_index, data.edge_weight, data.edge_type, torch.tensor([0, 2])
    with pytest.raises(ValueError, match="variant must be one of full, spatial, temporal, dense, none, got 'spacial'"):
        select_edges("spacial", *parts)
    with pytest.raises(ValueError, match="time_flow must be one of literal, forward, both, got 'backward'"):
        select_edges("full", *parts, "backward")
