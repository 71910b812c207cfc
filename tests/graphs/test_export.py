"""STGEncoder outside plain PyTorch: torch.export, torch.compile, autocast."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch.export import Dim, export
from torch_geometric.data import Batch

from graphs.build import build_graph
from graphs.encoder import STGEncoder
from tests.graphs.graph_reference import make_video


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    """Without the checks of annotations, which compare sizes that are to stay open."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def batch(*videos: list[int]) -> Batch:
    made = [make_video(counts, seed=seed, dtype=torch.float32) for seed, counts in enumerate(videos)]
    return Batch.from_data_list([build_graph(video) for video in made])


def parts(data: Batch) -> tuple[torch.Tensor, ...]:
    return data.x, data.frame, data.edge_index, data.edge_weight, data.batch, data.num_frames


def encoder() -> STGEncoder:
    torch.manual_seed(3)
    return STGEncoder(6, 4, num_layers=2).eval()


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9),
    reason="torch 2.8 cannot export a division by the number of objects in each frame",
)
def test_an_exported_encoder_takes_any_frames_nodes_edges_and_videos() -> None:
    stg, nodes, edges, videos = encoder(), Dim("nodes"), Dim("edges"), Dim("videos")
    shapes = ({0: nodes}, {0: nodes}, {1: edges}, {0: edges}, {0: nodes}, {0: videos})
    exported = export(stg, parts(batch([2, 3, 0, 1], [1, 2])), dynamic_shapes=shapes).module()
    for other in (batch([0, 2, 1], [4]), batch([1, 1], [2] * 7, [0, 0]), batch([3, 3])):
        found, expected = exported(*parts(other)), stg(other)
        assert torch.allclose(found.nodes, expected.nodes, atol=1e-6)
        assert torch.allclose(found.frames, expected.frames, atol=1e-6)
        assert torch.equal(found.frame_mask, expected.frame_mask)


@pytest.mark.filterwarnings("ignore")  # what dynamo warns of depends on what it traced before
def test_a_compiled_encoder_equals_the_eager_one() -> None:
    stg = encoder()
    # Not as one graph: nodes are checked and laid out as a sparse matrix by their values, which breaks it in two.
    compiled = torch.compile(stg, backend="eager", dynamic=True)
    for data in (batch([2, 3, 0, 1], [1, 2]), batch([3, 3], [1])):
        found, expected = compiled(data), stg(data)
        assert torch.allclose(found.frames, expected.frames, atol=1e-6)
        assert torch.equal(found.frame_mask, expected.frame_mask)
        have = torch.autograd.grad(found.frames.square().sum(), stg.project.weight)[0]
        want = torch.autograd.grad(expected.frames.square().sum(), stg.project.weight)[0]
        assert torch.allclose(have, want, atol=1e-5)
