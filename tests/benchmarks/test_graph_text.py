"""The benchmark of graphs as text: its rules read what is written, name events, and need their order."""

import numpy as np
import pytest
import torch

from benchmarks.graph_text import scored, shuffled, table, true_graph
from benchmarks.graph_text_reader import name_event, read
from graphs import FlatBatch, to_text
from stg.datasets.world import World


def moving(*paths: list[tuple[float, float] | None], side: float = 10) -> FlatBatch:
    """A graph of 100 x 50 pixels from the centre of each object in each frame."""
    rows = [(t, k, at) for t in range(len(paths[0])) for k, path in enumerate(paths) if (at := path[t])]
    centre = torch.tensor([at for *_, at in rows])
    frame, track = (torch.tensor([row[place] for row in rows]) for place in (0, 1))
    boxes = torch.cat([centre - side / 2, centre + side / 2], 1)
    return FlatBatch(boxes=boxes, frame=frame, track=track, num_frames=len(paths[0]), size=torch.tensor([[50, 100]]))


def test_the_reader_finds_the_places_that_were_written() -> None:
    things = read(to_text(moving([(10, 20), (20, 20), None, (40, 20)], [(60, 30)] * 4), precision=3))
    # The one that is always there comes first; lengths are in widths, and the gap is filled on a straight line.
    assert things.centre[0].tolist() == pytest.approx(np.tile([0.6, 0.3], (4, 1)))
    assert things.centre[1].tolist() == pytest.approx(np.array([[0.1, 0.2], [0.2, 0.2], [0.3, 0.2], [0.4, 0.2]]))
    assert things.seen[1].tolist() == [True, True, False, True]
    assert things.side.tolist() == pytest.approx([0.1, 0.1])


def test_tracks_that_take_each_other_up_are_one_and_wrong_links_none() -> None:
    lost = [(10.0 + 8 * t, 20.0) if t < 4 else None for t in range(8)]
    found = [(10.0 + 8 * t, 20.0) if t > 4 else None for t in range(8)]
    things = read(to_text(moving(lost, found)))
    assert things.centre.shape == (1, 8 - 1, 2)
    wrong = [(80.0, 40.0), *[(20.0, 20.0)] * 3, (80.0, 40.0), *[(20.0, 20.0)] * 3]
    assert np.ptp(read(to_text(moving(wrong))).centre[..., 0]) == 0


def test_events_are_named_from_the_text_and_not_without_the_order_of_times() -> None:
    world = World(test=32)
    videos = [f"test-{number:05d}" for number in range(32)]
    truth = {video: world.event(video).verb for video in videos}
    made = {video: true_graph(world, video) for video in videos}
    found = scored({video: to_text(graph) for video, graph in made.items()}, truth)
    assert found["event"] > 0.9
    assert sum(int(share.split("/")[1]) for share in found["by_event"].values()) == 32
    assert not any(share.startswith("0/") for share in found["by_event"].values())
    control = scored({video: to_text(shuffled(graph, 0)) for video, graph in made.items()}, truth)
    assert control["event"] < 0.5
    assert f"| true boxes | {found['event']:.3f} | " in table({"rows": {"true boxes": found}})


def test_an_empty_text_has_no_event_of_motion() -> None:
    assert name_event(to_text(FlatBatch(boxes=torch.zeros(0, 4), frame=torch.zeros(0, dtype=torch.int64)))) == "spins"
