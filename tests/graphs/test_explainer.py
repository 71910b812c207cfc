"""``torch_geometric.explain.Explainer`` on a classifier of whole videos: encoder, mean over objects, linear layer."""

import torch
from torch import Tensor
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import global_mean_pool

from graphs import STGEncoder


class Classifier(torch.nn.Module):
    """Reads channel 0 alone, and passes every channel on as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = STGEncoder(in_channels=3, channels=3, num_layers=1)
        self.head = torch.nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            for weight in self.encoder.parameters():
                weight.copy_(torch.eye(3))
            self.head.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor, frame: Tensor, batch: Tensor, num_frames: Tensor
    ) -> Tensor:
        nodes, _, _ = self.encoder(x, frame, edge_index, edge_weight, batch, num_frames)
        return self.head(global_mean_pool(nodes, batch))


def test_the_edges_and_features_that_count_are_found() -> None:
    torch.manual_seed(0)
    # Two objects in each of three frames; the first alone has anything in channel 0.
    x = torch.tensor([[1.0, 0.5, 0.0], *[[0.0, 1.0, 0.5]] * 5])
    edge_index = torch.tensor([[0, 1, 0, 0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 2, 3, 4, 5, 4]])
    explainer = Explainer(
        Classifier().eval(),
        GNNExplainer(epochs=20),
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config={"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"},
    )
    found = explainer(
        x,
        edge_index,
        edge_weight=torch.full((9,), 0.5),
        frame=torch.tensor([0, 0, 1, 1, 2, 2]),
        batch=torch.zeros(6, dtype=torch.int64),
        num_frames=torch.tensor([3]),
    )
    # One convolution: what the first object sends counts, and nothing else does.
    assert torch.equal(found.edge_mask > 0, edge_index[0] == 0)
    assert (found.node_mask > 0).nonzero().tolist() == [[0, 0]]
