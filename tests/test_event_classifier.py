"""Another task through the library alone: which event happens, with ``graphs`` and plain PyTorch Geometric."""

import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import global_mean_pool

from graphs import STGEncoder, build_graph
from stg.datasets.world.dataset import World
from stg.features.extractor import Extractor

EVENTS = ("falls", "rises", "rolls left", "rolls right")


def graphs_of(world: World, split: str) -> list[Data]:
    """The videos of a split as labelled graphs."""
    extract = Extractor(world.detector(), world.backbone())
    found = []
    for video in world.dataset().splits[split]:
        graph = build_graph(extract(world.sample(video)))
        graph.y = torch.tensor([EVENTS.index(world.event(video).verb)])
        found.append(graph)
    return found


class Classifier(torch.nn.Module):
    """Node states, averaged over each half of the video, into one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = STGEncoder(in_channels=256, channels=48, num_layers=2)
        self.head = torch.nn.Linear(96, len(EVENTS))

    def forward(self, batch: Data) -> torch.Tensor:
        nodes, frames, _ = self.encoder(
            batch.x, batch.frame, batch.edge_index, batch.edge_weight, batch.batch, batch.num_frames
        )
        middle = frames.size(1) // 2
        change = frames[:, middle:].mean(1) - frames[:, :middle].mean(1)
        return self.head(torch.cat([global_mean_pool(nodes, batch.batch), change], 1))


def accuracy(train: list[Data], test: list[Data]) -> float:
    torch.manual_seed(0)
    model = Classifier()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(12):
        for batch in DataLoader(train, batch_size=24, shuffle=True):
            loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    batch = next(iter(DataLoader(test, batch_size=len(test))))
    return float((model.eval()(batch).argmax(1) == batch.y).float().mean())


def test_a_classifier_learns_which_event_happens_and_its_control_does_not() -> None:
    world = World(train=96, val=0, test=40, events=EVENTS)
    train, test = graphs_of(world, "train"), graphs_of(world, "test")
    learned = accuracy(train, test)
    labels = [graph.y for graph in train]
    for graph, label in zip(train, labels[1:] + labels[:1], strict=True):
        graph.y = label
    assert learned > 0.6
    # One label in four is right by chance; the neighbour's label says nothing about a video.
    assert accuracy(train, test) < 0.45
