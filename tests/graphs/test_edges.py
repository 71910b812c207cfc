"""Edges: Eq. 1-3 against the loops of the reference, by hand, and by invariants."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graphs import edges
from graphs.edges import dense_edges, spatial_edges, temporal_edges
from graphs.features import VideoFeatures
from tests.graphs.graph_reference import dense, make_video, matrix, videos

# Two boxes with IoU 1/2.
HALF = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])


def frames(*counts: int) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def spatial(video: VideoFeatures, **options: Any) -> Tensor:
    return dense(*spatial_edges(video.boxes, video.frame, **options), video.num_objects)


def temporal(video: VideoFeatures, **options: Any) -> Tensor:
    return dense(*temporal_edges(video.objects, video.frame, **options), video.num_objects)


def test_an_edge_runs_from_what_is_gathered_to_what_gathers() -> None:
    # Object 0 in frame 0 gathers from objects 1 and 2 in frame 1, more from 1, which looks like it.
    objects = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    edge_index, edge_weight = temporal_edges(objects, frames(1, 2))
    assert edge_index.tolist() == [[1, 2], [0, 0]]
    assert edge_weight.tolist() == pytest.approx([0.880797, 0.119203], abs=1e-6)
    g = matrix(VideoFeatures(torch.zeros(3, 4), objects, frames(1, 2), 2), "temporal")
    source, target = edge_index
    assert torch.allclose(g[target, source], edge_weight)
    assert g.count_nonzero() == 2


def test_rows_by_hand() -> None:
    _, weight = spatial_edges(HALF, frames(2))
    assert weight.tolist() == pytest.approx([0.622459, 0.377541, 0.377541, 0.622459], abs=1e-6)
    corner = torch.arange(5.0).unsqueeze(1) * 10
    apart = torch.cat([corner, corner, corner + 1, corner + 1], dim=1)
    g = dense(*spatial_edges(apart, frames(5)), 5)
    assert g.diagonal().tolist() == pytest.approx([0.404609] * 5, abs=1e-6)
    assert g[0, 4].item() == pytest.approx(0.148848, abs=1e-6)


def test_rows_of_three_boxes_sum_to_one_and_are_not_symmetric() -> None:
    boxes = torch.cat([HALF, torch.tensor([[5.0, 5.0, 6.0, 6.0]])]).double()
    g = dense(*spatial_edges(boxes, frames(3)), 3)
    assert torch.allclose(g.sum(1), torch.ones(3, dtype=torch.float64))
    e, half = 2.718281828, 1.648721271
    assert g[0].tolist() == pytest.approx([e / (e + half + 1), half / (e + half + 1), 1 / (e + half + 1)])
    assert g[2].tolist() == pytest.approx([1 / (e + 2), 1 / (e + 2), e / (e + 2)])
    assert not torch.allclose(g, g.T)


@pytest.mark.parametrize("counts", [[3, 0, 2, 4, 1], [1], [0, 0], [0, 2, 0, 3], [5, 5], [1, 1, 1]])
def test_ragged_frames_equal_the_reference(counts: list[int]) -> None:
    video = make_video(counts)
    assert torch.allclose(spatial(video), matrix(video, "spatial"), rtol=0, atol=1e-12)
    assert torch.allclose(temporal(video), matrix(video, "temporal"), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    video=videos(),
    tau=st.sampled_from([0.1, 1.0, 3.0]),
    top_k=st.sampled_from([None, 1, 2]),
    threshold=st.sampled_from([None, 0.0, 0.3]),
)
def test_any_video_equals_the_reference(
    video: VideoFeatures, tau: float, top_k: int | None, threshold: float | None
) -> None:
    space = spatial(video, tau=tau, top_k=top_k, iou_threshold=threshold)
    expected = matrix(video, "spatial", tau_space=tau, top_k=top_k, iou_threshold=threshold)
    assert torch.allclose(space, expected, rtol=0, atol=1e-12)
    assert torch.allclose(space.sum(1), torch.ones(len(space), dtype=torch.float64))
    # Cosines that are equal on paper may differ in the last bit: compare what the choice of the best keeps instead.
    time = temporal(video, tau=tau, top_k=top_k)
    expected = matrix(video, "temporal", tau_time=tau, top_k=top_k)
    assert torch.allclose(time.sort(1).values, expected.sort(1).values, rtol=0, atol=1e-12)
    if top_k is None:
        assert torch.allclose(time, expected, rtol=0, atol=1e-12)


def test_boxes_without_area() -> None:
    # Twice the same point, and a box around it: no overlap has an area, and each object still has its loop.
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2]], dtype=torch.float64)
    g = dense(*spatial_edges(boxes, frames(3)), 3)
    e = 2.718281828
    assert torch.allclose(g.diagonal(), torch.full((3,), e / (e + 2), dtype=torch.float64))
    assert g[0, 1].item() == pytest.approx(1 / (e + 2))


def test_a_zero_vector_is_equally_far_from_everything() -> None:
    objects = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 4.0], [-1.0, 0.0]])
    g = dense(*temporal_edges(objects, frames(1, 3)), 4)
    assert g[0, 1:].tolist() == pytest.approx([1 / 3] * 3)


def test_length_and_scale_do_not_matter() -> None:
    video = make_video([2, 3, 2])
    scale = torch.linspace(0.01, 1000, video.num_objects, dtype=torch.float64).unsqueeze(1)
    assert torch.allclose(
        temporal(video), dense(*temporal_edges(video.objects * scale, video.frame), video.num_objects)
    )
    # The square of such a length is 0 in float32, and that of the next one has lost half its digits.
    for short in (1e-25, 1e-21):
        _, weight = temporal_edges(torch.tensor([[short, 0.0], [1.0, 0.0], [-1.0, 0.0]]), frames(1, 2))
        assert weight.tolist() == pytest.approx([0.880797, 0.119203], abs=1e-6)
    # The area of these boxes does not fit into their float32.
    huge = spatial_edges((video.boxes * 1e25).float(), video.frame)
    assert torch.allclose(spatial(video), dense(*huge, video.num_objects), atol=1e-6)


def test_the_loop_is_kept_by_every_option() -> None:
    twins = HALF[[0, 0, 1]].double()
    assert dense(*spatial_edges(twins, frames(3), top_k=1), 3).tolist() == torch.eye(3).tolist()
    assert dense(*spatial_edges(twins, frames(3), iou_threshold=0.99), 3)[2].tolist() == [0, 0, 1]
    assert dense(*spatial_edges(HALF[[1, 1]] * 0, frames(2), iou_threshold=0.0), 2).tolist() == torch.eye(2).tolist()


def test_a_threshold_is_exclusive() -> None:
    assert spatial_edges(HALF, frames(2), iou_threshold=0.5)[0].size(1) == 2
    assert spatial_edges(HALF, frames(2), iou_threshold=0.49)[0].size(1) == 4


def test_videos_of_a_batch_do_not_touch() -> None:
    # The second video begins one frame after the first one ends, the last in the very frame in which another ends.
    shapes = ([2, 3], [0, 0, 2, 1], [0], [4, 2], [3], [2, 1])
    members = [make_video(counts, seed=seed) for seed, counts in enumerate(shapes)]
    sizes = torch.tensor([member.num_objects for member in members])
    frame = torch.cat([member.frame for member in members])
    batch = torch.arange(len(members)).repeat_interleave(sizes)
    space = spatial_edges(torch.cat([member.boxes for member in members]), frame, batch)
    time = temporal_edges(torch.cat([member.objects for member in members]), frame, batch)
    for found, variant in ((space, "spatial"), (time, "temporal")):
        expected = torch.block_diag(*(matrix(member, variant) for member in members))
        assert torch.allclose(dense(*found, len(frame)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "counts", [[2, 40, 1, 0, 3, 2], [40, 2, 2], [2, 2, 40, 17], [1, 40, 39, 1, 1, 1], [2, 3, 40, 3, 2, 1]]
)
def test_a_crowded_frame_among_small_ones(counts: list[int]) -> None:
    video = make_video(counts)
    assert torch.allclose(spatial(video), matrix(video, "spatial"), rtol=0, atol=1e-12)
    assert torch.allclose(temporal(video), matrix(video, "temporal"), rtol=0, atol=1e-12)
    index, _ = temporal_edges(video.objects, video.frame)
    assert bool((index[1].diff() >= 0).all())


def test_small_blocks_give_the_same_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video([3, 4, 0, 2, 20, 1, 2, 3, 3, 3, 3])
    expected = spatial(video), temporal(video)
    monkeypatch.setattr(edges, "_SCORES", 20)
    monkeypatch.setattr(edges, "_GATHER", 150)
    monkeypatch.setattr(edges, "_LARGEST_WINDOW", 0)
    assert torch.allclose(spatial(video), expected[0])
    assert torch.allclose(temporal(video), expected[1])


@pytest.mark.parametrize("counts", [[5] * 12, [1] * 40, [2, 5, 0, 3, 1, 4] * 9, [3, 40, 4, 4] * 5, [20, 17, 30, 1]])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_windows_over_nodes_give_the_edges_of_frames_cut_out(
    counts: list[int], dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(counts, dtype=dtype)
    index, weight = temporal_edges(video.objects, video.frame)
    monkeypatch.setattr(edges, "_LARGEST_WINDOW", 0)
    expected, wanted = temporal_edges(video.objects, video.frame)
    assert torch.equal(index, expected)
    assert torch.allclose(weight, wanted, rtol=0, atol=tolerance)
    assert not torch.equal(weight, torch.zeros_like(weight))


class Recorder(TorchDispatchMode):
    """Counts the operations and notes the largest tensor that one returns."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor) and value.untyped_storage().nbytes():
                self.largest = max(self.largest, value.numel())
        return result


def record(video: VideoFeatures) -> Recorder:
    with Recorder() as recorder:
        spatial_edges(video.boxes, video.frame)
        temporal_edges(video.objects, video.frame)
    return recorder


def test_no_loop_over_frames() -> None:
    assert record(make_video([3, 1, 4, 0, 2] * 4)).calls == record(make_video([3, 1, 4, 0, 2] * 40)).calls


def test_memory_follows_the_edges_not_the_largest_frame() -> None:
    crowd = make_video([2] * 50 + [200] + [2] * 50)
    # 256 slots, two coordinates: four times what the 200 x 200 pairs need, where common padding needs a hundred times.
    assert record(crowd).largest <= 2 * 256 * 256


def test_half_precision_features_give_float32_weights() -> None:
    video = make_video([3, 2], dtype=torch.float32)
    _, weight = temporal_edges(video.objects.half(), video.frame)
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, temporal_edges(video.objects, video.frame)[1], atol=1e-3)


def test_graphs_carry_no_gradient_and_leave_their_inputs_alone() -> None:
    video = make_video([3, 2, 4])
    objects, boxes = video.objects.clone().requires_grad_(), video.boxes.clone().requires_grad_()
    for _, weight in (temporal_edges(objects, video.frame), spatial_edges(boxes, video.frame)):
        assert not weight.requires_grad
    assert torch.equal(objects, video.objects)
    assert torch.equal(boxes, video.boxes)


def test_dense_edges_stay_inside_each_video() -> None:
    index, weight = dense_edges(torch.tensor([0, 2, 2, 3]))
    assert sorted(zip(*index.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
    assert weight.tolist() == [1.0] * 5
    assert dense_edges(torch.tensor([0]))[0].shape == (2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.0}, "tau must be above 0, got 0.0"),
        ({"tau": float("nan")}, "tau must be above 0, got nan"),
        ({"top_k": 0}, "top_k must be at least 1, or None for all pairs, got 0"),
        ({"iou_threshold": 1.0}, r"iou_threshold must lie in \[0, 1\), got 1.0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spatial_edges(HALF, frames(2), **options)


def test_nodes_out_of_order() -> None:
    with pytest.raises(ValueError, match="nodes must be ordered by video, then by frame"):
        spatial_edges(HALF, torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="nodes must be ordered by video, then by frame"):
        temporal_edges(HALF, torch.tensor([0, 0]), torch.tensor([1, 0]))


def test_vectors_too_long_to_square() -> None:
    with pytest.raises(ValueError, match="row 1 is not: scale the features down"):
        temporal_edges(torch.tensor([[1.0], [1e30]]), frames(1, 1))
