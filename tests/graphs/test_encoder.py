"""STGEncoder: Eq. 4-5 and the mean over frames, batched, permuted, explained."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, ExplainerAlgorithm, GNNExplainer
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.transforms import ToSparseTensor

from graphs import encoder
from graphs.build import build_graph, flat_graph
from graphs.conv import sparse_operator
from graphs.encoder import STGEncoder, VideoStates
from graphs.features import VideoFeatures
from graphs.transforms import SelectVariant
from graphs.variants import TIME_FLOWS, VARIANTS
from tests.graphs.graph_reference import encode, make_video, matrix, videos

RAGGED = ([2, 3, 0, 1], [0, 0], [4], [1, 1, 1, 0, 0, 2])


def model(width: int = 6, channels: int = 4, num_layers: int = 3) -> STGEncoder:
    torch.manual_seed(3)
    return STGEncoder(width, channels, num_layers).double()


def run(stg: STGEncoder, data: Data) -> VideoStates:
    batch = data.batch if "batch" in data else None
    return stg(data.x, data.frame, data.edge_index, data.edge_weight, batch, data.num_frames)


def reference(stg: STGEncoder, video: VideoFeatures, *names: str) -> tuple[Tensor, Tensor, Tensor]:
    weights = [conv.linear.weight.T for conv in stg.convs]
    return encode(video, matrix(video, *names), stg.project.weight.T, weights)


def assert_equals(states: VideoStates, nodes: Tensor, frames: Tensor, mask: Tensor) -> None:
    assert torch.allclose(states.nodes, nodes, rtol=0, atol=1e-10)
    assert torch.allclose(states.frames, frames, rtol=0, atol=1e-10)
    assert torch.equal(states.frame_mask, mask)


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_equals_the_reference(variant: str, time_flow: str) -> None:
    stg, video = model(), make_video([2, 3, 0, 1])
    states = run(stg, SelectVariant(variant, time_flow)(build_graph(video)))
    nodes, frames, mask = reference(stg, video, variant, time_flow)
    assert_equals(states, nodes, frames.unsqueeze(0), mask.unsqueeze(0))


@settings(max_examples=25, deadline=None)
@given(video=videos(), variant=st.sampled_from(list(VARIANTS)), time_flow=st.sampled_from(TIME_FLOWS))
def test_any_video_equals_the_reference(video: VideoFeatures, variant: str, time_flow: str) -> None:
    stg = model(width=3)
    states = run(stg, SelectVariant(variant, time_flow)(build_graph(video)))
    nodes, frames, mask = reference(stg, video, variant, time_flow)
    assert_equals(states, nodes, frames.unsqueeze(0), mask.unsqueeze(0))
    grads = torch.autograd.grad(states.frames.square().sum(), list(stg.parameters()))
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_a_batch_equals_its_members() -> None:
    stg = model()
    members = [build_graph(make_video(counts, seed=i)) for i, counts in enumerate(RAGGED)]
    states = run(stg, Batch.from_data_list(members))
    assert states.frames.shape == (4, 6, 4)
    first = 0
    for row, member in enumerate(members):
        alone, length, n = run(stg, member), member.num_frames, member.num_nodes
        assert torch.allclose(states.nodes[first : first + n], alone.nodes, rtol=0, atol=1e-12)
        assert torch.allclose(states.frames[row, :length], alone.frames[0], rtol=0, atol=1e-12)
        assert torch.equal(states.frame_mask[row, :length], alone.frame_mask[0])
        assert not states.frame_mask[row, length:].any()
        assert not states.frames[row, length:].any()
        first += n


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_graph_is_read_as_its_tensors_are() -> None:
    stg, video = model(), make_video([2, 3, 0, 1])
    data = build_graph(video)
    batch = Batch.from_data_list([data, build_graph(make_video([0, 2], seed=1))])
    for graph in (data, flat_graph(video), batch):
        assert_equals(stg(graph), *run(stg, graph))
    sparse = ToSparseTensor(attr="edge_weight")(data.clone())
    assert "edge_index" not in sparse
    assert_equals(stg(sparse), *run(stg, data))
    del data.edge_weight
    ones = torch.ones(data.edge_index.size(1), dtype=torch.float64)
    assert_equals(stg(data), *stg(data.x, data.frame, data.edge_index, ones, num_frames=4))


def test_a_graph_that_lacks_a_field() -> None:
    stg, data = model(), build_graph(make_video([2, 3]))
    with pytest.raises(ValueError, match="the graph comes alone: leave out frame, edge_index"):
        stg(data, edge_index=data.edge_index)
    with pytest.raises(ValueError, match="x needs frame, edge_index and num_frames along with it"):
        stg(data.x, data.frame, data.edge_index)
    for name in ("num_frames", "edge_index", "frame", "x"):
        del data[name]
        with pytest.raises(ValueError, match=f"the graph has no {name}, which every graph of build_graph"):
            stg(data)


def test_a_lazy_encoder_takes_its_width_from_the_first_graph() -> None:
    data = build_graph(make_video([2, 3], dtype=torch.float32))
    torch.manual_seed(3)
    lazy = STGEncoder(-1, 4)
    lazy(data)
    assert lazy.project.weight.shape == (4, 6)
    plain = STGEncoder(6, 4)
    plain.load_state_dict(lazy.state_dict())
    assert torch.equal(lazy(data).frames, plain(data).frames)
    with pytest.raises(ValueError, match="x has width 3, but the layer was built with in_channels=6"):
        plain(build_graph(make_video([2, 3], width=3, dtype=torch.float32)))


def test_frames_without_objects_are_masked_zeros() -> None:
    states = run(model(), build_graph(make_video([0, 2, 0])))
    assert states.frame_mask.tolist() == [[False, True, False]]
    assert not states.frames[0, [0, 2]].any()


def test_no_objects_and_no_videos() -> None:
    stg = model()
    states = run(stg, build_graph(make_video([0, 0, 0])))
    assert states.frames.shape == (1, 3, 4)
    assert not states.frame_mask.any()
    torch.autograd.grad(states.frames.sum(), list(stg.parameters()))
    nothing, edges = torch.zeros(0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64)
    x, weight = torch.zeros(0, 6, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    states = stg(x, nothing, edges, weight, nothing, nothing)
    assert states.frames.shape == (0, 0, 4)
    assert states.nodes.shape == (0, 4)


def permuted(video: VideoFeatures, order: Tensor) -> VideoFeatures:
    return VideoFeatures(video.boxes[order], video.objects[order], video.frame[order], video.num_frames)


def test_the_order_of_objects_in_a_frame_does_not_matter() -> None:
    stg, video = model(), make_video([3, 4, 0, 2])
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5, 8, 7])
    before, after = run(stg, build_graph(video)), run(stg, build_graph(permuted(video, order)))
    assert torch.allclose(after.nodes, before.nodes[order], rtol=0, atol=1e-12)
    assert torch.allclose(after.frames, before.frames, rtol=0, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    stg, data = model(width=3, channels=2, num_layers=2), build_graph(make_video([2, 0, 1, 2], width=3))
    x = data.x.clone().requires_grad_()

    def frames(x: Tensor) -> Tensor:
        return stg(x, data.frame, data.edge_index, data.edge_weight, None, 4).frames

    assert torch.autograd.gradcheck(frames, (x,))


def test_both_paths_agree() -> None:
    stg, data = model(), build_graph(make_video([2, 3, 0, 4]))
    x, weight = data.x.clone().requires_grad_(), data.edge_weight.clone().requires_grad_()
    targets = [x, *stg.parameters()]
    fast = stg(x, data.frame, data.edge_index, data.edge_weight, None, 4)
    plain = stg(x, data.frame, data.edge_index, weight, None, 4)
    operator = stg(x, data.frame, sparse_operator(data.edge_index, data.edge_weight, 9), None, None, 4)
    expected = torch.autograd.grad(plain.frames.square().sum(), [*targets, weight])
    assert bool(expected[-1].any())
    for states in (fast, operator):
        assert torch.allclose(states.frames, plain.frames, rtol=0, atol=1e-10)
        for have, want in zip(torch.autograd.grad(states.frames.square().sum(), targets), expected, strict=False):
            assert torch.allclose(have, want, rtol=0, atol=1e-10)


def test_layers_share_one_operator_and_gather_no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    stg, built = model(), []

    def count(*parts: Any) -> Any:
        built.append(sparse_operator(*parts))
        return built[-1]

    def refuse(**parts: Tensor) -> Tensor:
        raise AssertionError("the plain path ran")

    monkeypatch.setattr(encoder, "sparse_operator", count)
    for conv in stg.convs:
        monkeypatch.setattr(conv, "message", refuse)
    run(stg, build_graph(make_video([2, 3])))
    assert len(built) == 1


def test_edges_without_weights_weigh_one() -> None:
    stg, data = model(), build_graph(make_video([2, 3]))
    ones = torch.ones_like(data.edge_weight)
    found = stg(data.x, data.frame, data.edge_index, None, None, 2)
    assert torch.equal(found.nodes, stg(data.x, data.frame, data.edge_index, ones, None, 2).nodes)


def test_the_precision_of_the_parameters_decides() -> None:
    stg, data = model(), build_graph(make_video([2, 3]))
    rounded = data.edge_weight.float()
    found = stg(data.x, data.frame, data.edge_index, rounded, None, 2)
    assert found.frames.dtype == torch.float64
    assert torch.equal(found.nodes, stg(data.x, data.frame, data.edge_index, rounded.double(), None, 2).nodes)
    float32 = stg.float()(data.x.float(), data.frame, data.edge_index, data.edge_weight, None, 2)
    assert float32.frames.dtype == torch.float32


def test_autocast_stays_close() -> None:
    stg, data = model(channels=16).float(), build_graph(make_video([2, 3, 0, 1], dtype=torch.float32))
    exact = run(stg, data)
    with torch.autocast("cpu", torch.bfloat16):
        states = run(stg, data)
    assert torch.allclose(states.frames.float(), exact.frames, atol=0.05)
    torch.autograd.grad(states.frames.float().sum(), list(stg.parameters()))


def test_parameters() -> None:
    stg = STGEncoder(5, 4, num_layers=2)
    shapes = {name: tuple(p.shape) for name, p in stg.named_parameters()}
    assert shapes == {"project.weight": (4, 5), "convs.0.linear.weight": (4, 4), "convs.1.linear.weight": (4, 4)}
    before = [p.clone() for p in stg.parameters()]
    stg.reset_parameters()
    assert not any(torch.equal(p, old) for p, old in zip(stg.parameters(), before, strict=True))
    torch.manual_seed(4)
    stg.reset_parameters()
    torch.manual_seed(4)
    fresh = STGEncoder(5, 4, num_layers=2)
    assert all(torch.equal(p, new) for p, new in zip(stg.parameters(), fresh.parameters(), strict=True))


def test_nodes_that_do_not_fit() -> None:
    stg, data = model(), build_graph(make_video([2, 3]))
    parts = data.x, data.frame, data.edge_index, data.edge_weight
    with pytest.raises(ValueError, match=r"node 2 lies in frame 1 of video 0, but num_frames is \[1\]"):
        stg(*parts, None, 1)
    batch = torch.tensor([0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=r"node 2 lies in frame 1 of video 1, but num_frames is \[2\]: .*batch=None"):
        stg(*parts, batch, 2)
    with pytest.raises(ValueError, match=r"node 2 lies in frame 1 of video 1, but num_frames is \[5, 1\]"):
        stg(*parts, batch, torch.tensor([5, 1]))
    with pytest.raises(ValueError, match="nodes must be ordered by video, then by frame"):
        stg(data.x, data.frame.flip(0), *parts[2:], None, 2)


class FrameScores(torch.nn.Module):
    """A model around the encoder, of the form that PyG explains: node features and edges first."""

    def __init__(self, stg: STGEncoder) -> None:
        super().__init__()
        self.stg = stg

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor, frame: Tensor, num_frames: int) -> Tensor:
        return self.stg(x, frame, edge_index, edge_weight, None, num_frames).frames[0, :1]


def test_edge_masks_take_effect() -> None:
    scores, data = FrameScores(model().float()), build_graph(make_video([1, 1, 1, 1], dtype=torch.float32))
    parts = data.x, data.edge_index, data.edge_weight, data.frame, 4
    free = scores(*parts)
    hidden = torch.zeros(data.edge_index.size(1))
    set_masks(scores, hidden, data.edge_index, apply_sigmoid=False)
    masked = scores(*parts)
    clear_masks(scores)
    assert torch.allclose(masked, torch.relu(scores.stg.project(data.x[:1])))
    assert not torch.allclose(masked, free)
    assert torch.allclose(scores(*parts), free)


def explain(algorithm: ExplainerAlgorithm) -> tuple[Data, Any]:
    torch.manual_seed(0)
    scores, data = FrameScores(model().float()), build_graph(make_video([1, 2, 1, 1, 1], dtype=torch.float32))
    explainer = Explainer(
        scores,
        algorithm,
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "graph"},
    )
    more = {"edge_weight": data.edge_weight, "frame": data.frame, "num_frames": 5}
    return data, explainer(data.x, data.edge_index, **more)


def test_an_explainer_finds_the_edges_that_count() -> None:
    data, explanation = explain(GNNExplainer(epochs=20))
    # Three layers deep, frame 0 sees frames 1 to 3; the edges into frames 3 and 4 come too late.
    reached = data.frame[data.edge_index[1]] <= 2
    assert bool((explanation.edge_mask[reached] > 0).all())
    assert not explanation.edge_mask[~reached].any()


def test_captum_explains_too() -> None:
    pytest.importorskip("captum")
    from torch_geometric.explain import CaptumExplainer

    _, explanation = explain(CaptumExplainer("IntegratedGradients"))
    assert explanation.edge_mask.any()


@pytest.mark.gpu
def test_the_device_equals_the_cpu() -> None:
    stg, batch = model(), Batch.from_data_list([build_graph(make_video(counts)) for counts in RAGGED])
    expected = run(stg, batch)
    states = run(stg.cuda(), batch.cuda())
    assert torch.allclose(states.frames.cpu(), expected.frames, atol=1e-10)
    assert torch.equal(states.frame_mask.cpu(), expected.frame_mask)


def test_unknown_names_of_the_package() -> None:
    import graphs

    with pytest.raises(AttributeError, match="module 'graphs' has no attribute 'GraphShop'"):
        _ = graphs.GraphShop
