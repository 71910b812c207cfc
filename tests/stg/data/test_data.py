"""Batches: order, grouping, padding, the shuffled control."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data

from decoders import TransformerDecoder
from graphs import FreeField, GraphsInMemory, GraphStore, STGEncoder, build_graph
from stg.data.batches import BatchSource, Item, TrainingSet, pad_words, shuffle_edges, shuffle_features
from stg.datasets.base import CaptionDataset
from stg.models.branches import SceneBranch
from stg.models.captioner import Branch, Captioner
from stg.models.memory import MemoryBuilder
from stg.models.statistics import Standardise, classes_read, fit_statistics
from stg.runtime.errors import UserError
from stg.text.vocabulary import BOS, EOS, PAD
from tests.graphs.graph_reference import make_video
from tests.graphs.made_graphs import made_graph


class Recorder(GraphStore):
    """Stands for a store: remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str, str]] = []

    def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> Any:
        from torch_geometric.data import Data

        self.asked.append((list(videos), variant, time_flow))
        return Data(num_frames=torch.ones(len(videos), dtype=torch.long))


def captions(videos: int = 7, each: int = 5) -> dict[str, list[list[int]]]:
    return {f"v{v}": [[BOS, *range(4, 4 + (v + c) % 3 + 1), EOS] for c in range(each)] for v in range(videos)}


def make(source: BatchSource | None = None, **settings: Any) -> TrainingSet:
    source = source or BatchSource(Recorder())
    return TrainingSet(source, captions(), **{"batch_videos": 3, "captions_per_video": 2, "seed": 1, **settings})


def pairs(batches: list[tuple[Item, ...]]) -> list[tuple[str, int]]:
    return [(item.video, number) for batch in batches for item in batch for number in item.captions]


def test_an_epoch_holds_every_pair_once() -> None:
    data = make()
    batches = data.epoch(0)
    every = [(video, n) for video, texts in captions().items() for n in range(len(texts))]
    assert sorted(pairs(batches)) == sorted(every)
    assert all(len(batch) == 3 for batch in batches[:-1])
    assert all(len(item.captions) <= 2 for batch in batches for item in batch)


def test_fewer_captions_an_epoch_are_drawn_anew_each_time() -> None:
    data = make(epoch_captions=2)
    drawn = [sorted(pairs(data.epoch(epoch))) for epoch in range(6)]
    assert all(len(found) == 14 for found in drawn)
    assert len({tuple(found) for found in drawn}) == 6


def test_some_videos_have_their_captions_more_often() -> None:
    often, *others = captions()
    data = make(epoch_captions=2, times={often: 3})
    found = [video for video, _ in pairs(data.epoch(0))]
    assert found.count(often) == 6
    assert {found.count(video) for video in others} == {2}
    # None comes again before all of the video have come.
    every = Counter(number for video, number in pairs(make(times={often: 3}).epoch(0)) if video == often)
    assert set(every.values()) == {3}
    assert len(every) == len(captions()[often])
    assert make(epoch_captions=2, times={}).epoch(1) == make(epoch_captions=2).epoch(1)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = [make().epoch(epoch) for epoch in range(3)]
    data = make()
    data.epoch(2)
    torch.manual_seed(5)
    assert [data.epoch(epoch) for epoch in range(3)] == first
    assert first[0] != first[1]
    assert make(seed=2).epoch(0) != first[0]


def longest(item: Item) -> int:
    return max(len(captions(12)[item.video][number]) for number in item.captions)


def bucketed(buckets: int, **settings: Any) -> TrainingSet:
    given = {"batch_videos": 3, "captions_per_video": 1, "seed": 1, **settings}
    if buckets > 1:
        given["length_buckets"] = buckets
    return TrainingSet(BatchSource(Recorder()), captions(12), **given)


def test_buckets_hold_every_pair_once_in_an_order_of_seed_and_epoch_alone() -> None:
    every = [(video, n) for video, texts in captions(12).items() for n in range(len(texts))]
    epochs = [bucketed(4).epoch(epoch) for epoch in range(3)]
    for batches in epochs:
        assert sorted(pairs(batches)) == sorted(every)
        assert max(map(len, batches)) == 3
    data = bucketed(4)
    data.epoch(2)
    assert [data.epoch(epoch) for epoch in range(3)] == epochs
    assert epochs[0] != epochs[1]
    assert bucketed(4, seed=2).epoch(0) != epochs[0]


def test_a_bucket_holds_captions_of_like_length_from_its_window() -> None:
    plain, batches = bucketed(1).epoch(0), bucketed(4).epoch(0)
    windows = [sorted((item for batch in plain[at : at + 4] for item in batch), key=longest) for at in range(0, 20, 4)]
    expected = [tuple(window[at : at + 3]) for window in windows for at in range(0, 12, 3)]
    assert sorted(map(repr, batches)) == sorted(map(repr, expected))
    assert batches != expected, "short captions must not always come first"
    assert padding(batches) < padding(plain) / 2


def padding(batches: list[tuple[Item, ...]]) -> int:
    return sum(sum(max(map(longest, batch)) - longest(item) for item in batch) for batch in batches)


def test_each_video_of_a_batch_is_read_once_for_all_its_captions() -> None:
    data = make(BatchSource(Recorder(), "spatial", "both"))
    batch = data.load([Item("v1", (0, 1)), Item("v2", (3,)), Item("v1", (4,))])
    store: Any = data.source.graphs
    assert store.asked == [(["v1", "v2"], "spatial", "both")]
    assert batch.video.tolist() == [0, 0, 1, 0]
    assert len(batch.words) == 4


def test_words_are_shifted_by_one_and_padded_to_the_longest_of_the_batch() -> None:
    words, targets, real = pad_words([[BOS, 7, 8, EOS], [BOS, 9, EOS]])
    assert words.tolist() == [[BOS, 7, 8], [BOS, 9, PAD]]
    assert targets.tolist() == [[7, 8, EOS], [9, EOS, PAD]]
    assert real.tolist() == [[True, True, True], [True, True, False]]


def test_the_control_reads_other_videos_features() -> None:
    videos = [f"v{v}" for v in range(7)]
    source = shuffle_features(videos, seed=3)
    assert sorted(source) == sorted(source.values()) == videos
    assert all(video != other for video, other in source.items())
    assert shuffle_features(videos, seed=3) == source
    assert shuffle_features(videos, seed=4) != source
    assert shuffle_features(["only"], seed=0) == {"only": "only"}
    data = make(BatchSource(Recorder(), shuffled=source))
    data.load([Item("v1", (0,))])
    store: Any = data.source.graphs
    assert store.asked[0][0] == [source["v1"]]


def test_the_control_of_edges_changes_their_sources_alone_and_alike_in_every_batch() -> None:
    made = [build_graph(make_video(counts, seed=seed)) for seed, counts in enumerate([[3, 3], [4, 2, 4], [0, 1]])]
    batch = Batch.from_data_list(made)
    before, weight = batch.edge_index.clone(), batch.edge_weight.clone()
    shuffle_edges(batch)
    source, target = batch.edge_index
    assert torch.equal(target, before[1])
    assert torch.equal(batch.edge_weight, weight)
    assert torch.equal(batch.batch[source], batch.batch[target])
    moved = {(old, new) for old, new in zip(before[0].tolist(), source.tolist(), strict=True)}
    assert len(moved) == len({old for old, _ in moved}) == len({new for _, new in moved})
    assert sum(old != new for old, new in moved) > len(moved) / 2
    other = Batch.from_data_list(made[1:2])
    shuffle_edges(other)
    assert torch.equal(other.edge_index, batch.edge_index[:, batch.batch[target] == 1] - 6)


def test_a_source_shuffles_edges_where_it_is_asked_to(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "s.lmdb", "a", features_dtype="float32") as store:
        store.put("made-0", build_graph(make_video([3, 3])))
        plain, control = (BatchSource(store, shuffled_edges=how).batch(["made-0"]) for how in (False, True))
    assert torch.equal(plain.edge_index[1], control.edge_index[1])
    assert not torch.equal(plain.edge_index[0], control.edge_index[0])


def test_a_batch_has_the_class_of_the_video_whose_features_it_has() -> None:
    items = [Item("v1", (0, 1)), Item("v6", (3,)), Item("v2", (0,))]
    category = {"v1": 4, "v2": 0}
    found = make(BatchSource(Recorder(), category=category)).load(items).graphs.category
    assert found.dtype == torch.int64
    assert found.tolist() == [4, -1, 0]
    source = {f"v{v}": f"v{(v + 1) % 7}" for v in range(7)}
    shuffled = BatchSource(Recorder(), category=category, shuffled=source)
    assert make(shuffled).load(items).graphs.category.tolist() == [0, -1, -1]
    assert make(BatchSource(Recorder(), category={})).load(items).graphs.category.tolist() == [-1, -1, -1]
    assert "category" not in make().load(items).graphs


class Reader(TransformerDecoder):
    """Says that it reads the class."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"category"})


def test_classes_are_read_where_a_decoder_reads_them_and_refused_where_they_do_not_fit() -> None:
    def model(scene: type[TransformerDecoder], objects: type[TransformerDecoder]) -> Captioner:
        made = [kind(9, channels=8, heads=2, hidden=8) for kind in (scene, objects)]
        parts = [MemoryBuilder(category=True) for _ in made]
        return Captioner(
            scene=Branch(SceneBranch(5, None, 8), made[0], parts[0]),
            objects=Branch(STGEncoder(6, 8, 1), made[1], parts[1]),
        )

    category = {"a": 0, "b": 6}
    data = CaptionDataset("MSR-VTT", {"a": ["x"], "b": ["y"]}, {"train": ["a", "b"]}, category=category)
    plain = model(TransformerDecoder, TransformerDecoder)
    assert classes_read(plain, category, 0, data.name) is None
    for reader in (model(Reader, TransformerDecoder), model(TransformerDecoder, Reader)):
        assert classes_read(reader, category, 7, data.name) == category
        with pytest.raises(UserError, match="categories is 6 and MSR-VTT has a class number 6: set it to 7 or more"):
            classes_read(reader, category, 6, data.name)
        with pytest.raises(UserError, match="categories is 20 and MSR-VTT has no classes: set it to 0"):
            classes_read(reader, {}, 20, data.name)


def test_videos_without_captions_are_left_out_and_none_at_all_is_refused() -> None:
    source = BatchSource(Recorder())
    assert list(TrainingSet(source, {"a": [], "b": [[BOS, 4, EOS]]}).captions) == ["b"]
    with pytest.raises(ValueError, match="training split has no video with a caption"):
        TrainingSet(source, {"a": []})


def test_statistics_of_sound_are_those_of_what_is_heard() -> None:
    class Sounds(GraphStore):
        def __init__(self) -> None: ...

        def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> Data:
            audio = torch.tensor([[1.0, 4.0], [100.0, 100.0], [3.0, 8.0]])
            return Data(audio=audio, audio_mask=torch.tensor([True, False, True]), scene=torch.tensor([[2.0], [6.0]]))

    standardise = torch.nn.ModuleDict({"audio": Standardise(2), "scene": Standardise(1)})
    decoder = TransformerDecoder(9, channels=8, heads=2, hidden=8)
    scene = SceneBranch(1, None, 8)
    model = Captioner(scene=Branch(scene, decoder), standardise=standardise)
    fit_statistics(model, Sounds(), ["a"])
    means = {name: buffer.tolist() for name, buffer in standardise.named_buffers() if name.endswith("mean")}
    assert means == {"audio.mean": [2.0, 6.0], "scene.mean": [4.0]}


def test_a_free_field_is_not_taken_for_the_class_of_a_video() -> None:
    data = made_graph([1, 2])
    data.category, data.y = torch.tensor([[0.5]]), torch.tensor([3])
    stored = GraphsInMemory({"v": data}, free={"category": FreeField("graph")})
    assert "category" in stored.flat_batch(["v"])
    assert "category" not in BatchSource(stored).batch(["v"])
    assert BatchSource(stored, category={"v": 2}).batch(["v"]).category.tolist() == [2]
    assert BatchSource(stored).batch(["v"]).y.tolist() == [3]
