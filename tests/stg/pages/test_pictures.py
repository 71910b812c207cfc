"""Frames of a graph as pictures: the right ones, of the right clip, small; and the graph as plain values."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.data import Batch, Data

from graphs import EDGE_TYPES, VideoFeatures, build_graph, select_edges
from stg.datasets.world.dataset import World
from stg.features.extractor import size_of
from stg.pages.videos.pictures import blank, edges_of, frames_of, from_sample, jpeg, nodes_of, sample_of_world
from stg.pages.videos.views import Edge, Node, Picture
from stg.video.decoding import SampledFrames, VideoError, sample_video
from stg.video.numbered import numbered_frames
from tests.stg.make_clips import grey_frames, level, write_clip


def graph_of(sample: SampledFrames, **changes: Any) -> Data:
    """Two objects in the first frame, one in the last."""
    fields: dict[str, Any] = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [1, 2, 3, 4.5]]),
        "objects": torch.tensor([[1.0, 0], [0, 1], [1, 1]]),
        "frame": torch.tensor([0, 0, len(sample.frames) - 1]),
        "num_frames": len(sample.frames),
        "frame_number": torch.from_numpy(sample.frame_number.copy()),
        "total_frames": sample.total_frames,
        "fps": sample.fps,
        "size": size_of(sample),
        "video": sample.video,
    }
    return build_graph(VideoFeatures(**fields | changes))


def sample_of_clip(path: Path, graph: Data) -> SampledFrames:
    return numbered_frames(path, frames_of(graph, path.stem))


def pixels(picture: Picture) -> np.ndarray:
    assert picture.jpeg is not None
    return np.asarray(Image.open(io.BytesIO(picture.jpeg)))


def test_the_pictures_are_the_frames_of_the_graph(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v.mp4", grey_frames(60), options={"bf": "3", "g": "60"})
    for count in (1, 7, 90):
        sample = sample_video(path, count)
        pictures = from_sample(sample_of_clip(path, graph_of(sample)))
        assert [picture.number for picture in pictures] == sample.frame_number.tolist()
        assert [picture.seconds for picture in pictures] == pytest.approx(sample.frame_number / 25)
        for picture in pictures:
            assert abs(pixels(picture).mean() - level(picture.number)) <= 2
    again = sample_of_clip(path, graph_of(sample))
    assert np.array_equal(again.frames, sample.frames)
    assert (again.total_frames, again.fps, again.num_unique) == (60, sample.fps, sample.num_unique)


@pytest.mark.parametrize("lost", [10, 39])
def test_a_damaged_clip_gives_the_frames_by_their_original_numbers(tmp_path: Path, lost: int) -> None:
    path = write_clip(tmp_path / "intra.mov", grey_frames(40), codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 8] == b"\x89PNG\r\n\x1a\n"]
    data[starts[lost] : starts[lost] + 8] = b"notimage"
    path.write_bytes(data)
    sample = sample_video(path, 8)
    graph = graph_of(sample)
    for picture in from_sample(sample_of_clip(path, graph)):
        assert abs(pixels(picture).mean() - level(picture.number)) <= 2
    graph.frame_number[3] = lost
    with pytest.raises(VideoError, match=rf"'intra.mov': frame {lost} of its 40 frames cannot be read"):
        sample_of_clip(path, graph)


def test_another_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    graph = graph_of(sample_video(write_clip(tmp_path / "v.mp4", grey_frames(30)), 5))
    shorter = write_clip(tmp_path / "other" / "v.mp4", grey_frames(20))
    with pytest.raises(
        VideoError, match=r"'v.mp4' is not what the graph was made from: it has 20 frames instead of 30;"
    ):
        sample_of_clip(shorter, graph)
    both = write_clip(tmp_path / "other" / "v.mp4", grey_frames(31, (64, 32)))
    with pytest.raises(VideoError, match=r"has 31 frames instead of 30 and pictures of 32x64 instead of 64x48; point"):
        sample_of_clip(both, graph)
    with pytest.raises(VideoError, match=r"could not open 'gone.mp4'"):
        sample_of_clip(tmp_path / "gone.mp4", graph)
    graph.frame_number = None
    with pytest.raises(VideoError, match=r"the graph of 'v' does not say which frames it was made of"):
        sample_of_clip(tmp_path / "v.mp4", graph)


def test_a_graph_that_knows_little_takes_the_clip_at_its_word(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v.mp4", grey_frames(30))
    graph = graph_of(sample_video(path, 5), total_frames=None, fps=None, size=None)
    assert [picture.number for picture in from_sample(sample_of_clip(path, graph))] == [3, 9, 15, 21, 27]
    graph.frame_number[4] = 30
    with pytest.raises(VideoError, match=r"'v.mp4': frame 30 of its 30 frames cannot be read"):
        sample_of_clip(path, graph)


def test_pictures_of_the_world() -> None:
    world = World(train=3)
    video = "train-00001"
    sample = world.sample(video, 6)
    graph = graph_of(sample)
    assert np.array_equal(sample_of_world(world, video, graph).frames, sample.frames)
    assert sample_of_world(world, video, graph).num_unique == 6
    pictures = from_sample(sample_of_world(world, video, graph))
    assert pictures == from_sample(sample)
    assert [picture.seconds for picture in pictures] == pytest.approx(
        [5 / 12, 15 / 12, 25 / 12, 35 / 12, 45 / 12, 55 / 12]
    )
    for picture, frame in zip(pictures, sample.frames, strict=True):
        assert np.abs(pixels(picture).astype(int) - frame).mean() < 4
    with pytest.raises(
        VideoError, match=r"video 'train-00001' of this world is not what .*: it has 40 frames instead of 60"
    ):
        sample_of_world(World(train=3, frames=40), video, graph)


def test_pictures_are_small_and_keep_their_shape() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3)).astype(np.uint8)
    assert Image.open(io.BytesIO(jpeg(noise))).size == (320, 240)
    assert Image.open(io.BytesIO(jpeg(noise, 100))).size == (100, 75)
    assert Image.open(io.BytesIO(jpeg(noise[:50, :70]))).size == (70, 50)
    assert Image.open(io.BytesIO(jpeg(noise[:, :4]))).size == (4, 600)
    assert Image.open(io.BytesIO(jpeg(np.zeros((20_000, 40, 3), np.uint8)))).size == (2, 960)
    smooth = np.tile(np.linspace(0, 255, 800, dtype=np.uint8)[None, :, None], (600, 1, 3))
    assert len(jpeg(smooth)) < 5000


def test_blank_pictures_without_a_clip(tmp_path: Path) -> None:
    sample = SampledFrames("v", np.zeros((3, 8, 8, 3), np.uint8), np.array([1, 4, 7]), 9, 10.0)
    assert blank(graph_of(sample)) == tuple(Picture(n, None, n / 10) for n in (1, 4, 7))
    assert blank(graph_of(sample, fps=0.0)) == blank(graph_of(sample, fps=None)) == (Picture(1), Picture(4), Picture(7))
    assert blank(graph_of(sample, frame_number=None)) == (Picture(0), Picture(1), Picture(2))


def test_nodes_and_edges_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SampledFrames("v", np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 4]), 9, 10.0)
    graph = graph_of(sample, scores=torch.tensor([0.5, 0.75, 1.0]), label=torch.tensor([18, 0, 3]))
    assert nodes_of(graph) == (
        Node(0, (0.0, 0.0, 10.0, 10.0), 0.5, "dog"),
        Node(0, (5.0, 0.0, 15.0, 10.0), 0.75, ""),
        Node(1, (1.0, 2.0, 3.0, 4.5), 1.0, "car"),
    )
    assert [(node.score, node.name) for node in nodes_of(graph_of(sample))] == [(None, "")] * 3
    edges = edges_of(graph)
    assert [[edge.source, edge.target] for edge in edges] == graph.edge_index.T.tolist()
    assert [edge.weight for edge in edges] == graph.edge_weight.tolist()
    # Row i gathers: objects of its own frame, and those of the next one.
    assert {(edge.source, edge.target) for edge in edges if edge.kind == "temporal"} == {(2, 0), (2, 1)}
    assert {(0, 1), (1, 0)} <= {(edge.source, edge.target) for edge in edges if edge.kind == "spatial"}
    assert Edge(2, 0, "temporal", 1.0) in edges
    dense = select_edges(graph, "dense")
    graph.edge_index, graph.edge_weight, graph.edge_type = dense
    assert {edge.kind for edge in edges_of(graph)} == {"dense"}
    assert len(edges_of(graph)) == 9
    monkeypatch.setitem(EDGE_TYPES, "close", 2)
    graph.edge_type[3] = 2
    assert [edge.kind for edge in edges_of(graph)] == ["dense"] * 3 + ["close"] + ["dense"] * 5


def test_one_video_at_a_time() -> None:
    sample = SampledFrames("v", np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 4]), 9, 10.0)
    graph = graph_of(sample, label=torch.tensor([18, 0, 3]))
    alone = Batch.from_data_list([graph])
    assert nodes_of(alone) == nodes_of(graph)
    assert edges_of(alone) == edges_of(graph)
    assert blank(alone) == blank(graph)
    for take in (nodes_of, edges_of, blank):
        with pytest.raises(ValueError, match="one video is shown at a time; got a batch of 2"):
            take(Batch.from_data_list([graph, graph]))


def test_a_video_without_objects() -> None:
    sample = SampledFrames("v", np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 4]), 9, 10.0)
    nothing = torch.zeros(0, dtype=torch.int64)
    graph = graph_of(sample, boxes=torch.zeros(0, 4), objects=torch.zeros(0, 2), frame=nothing)
    assert nodes_of(graph) == edges_of(graph) == ()
    assert len(from_sample(sample)) == 2
