"""The video-text embedding (VSE++; checklist V8): encoders, loss and ranks against slow loops, the saved file."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from decoders import mean_of_real
from graphs import GraphsInMemory, GraphStore, build_graph
from stg.config.model import GraphConfig
from stg.config.retrieval import EmbeddingConfig, MatchingConfig
from stg.models.feature_kinds import FeatureWidths
from stg.retrieval.embedding import (
    EMBEDDING_FILE,
    EmbeddingBundle,
    TextEncoder,
    VideoEncoder,
    VideoTextEmbedding,
    build_embedding,
    pad_texts,
)
from stg.retrieval.ranking import matching_loss, rank
from stg.runs.tensors import CheckpointError
from stg.runtime.errors import UserError
from stg.text.vocabulary import Vocabulary
from tests.stg.conftest import made_batch, rich_videos

WORDS = Vocabulary(("<pad>", "<bos>", "<eos>", "<unk>", "a", "cat", "dog", "runs"))
SMALL = EmbeddingConfig(channels=8, words=6, hidden=5, dropout=0.0)
WIDTHS = FeatureWidths(scene=5, motion=4, objects=6, grid=7, audio=8)


Encoder = Literal["mean", "graph", "mean+graph"]


def made(config: EmbeddingConfig = SMALL, seed: int = 0) -> VideoTextEmbedding:
    torch.manual_seed(seed)
    return build_embedding(config, GraphConfig(), widths=WIDTHS, vocabulary=len(WORDS)).eval()


def trained(config: EmbeddingConfig = SMALL, features: dict[str, Any] | None = None) -> EmbeddingBundle:
    return EmbeddingBundle(made(config), WORDS, config, GraphConfig(), WIDTHS, features or {"layer": "last"})


def unit(rows: int, seed: int) -> Tensor:
    vectors = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


def slow_loss(videos: Tensor, texts: Tensor, video: list[int], margin: float, hardest: bool) -> float:
    total = 0.0
    for w, v in enumerate(video):
        own = float(texts[w] @ videos[v])
        by_video = [max(0.0, margin - own + float(texts[w] @ videos[b])) for b in range(len(videos)) if b != v]
        by_text = [max(0.0, margin - own + float(texts[x] @ videos[v])) for x, u in enumerate(video) if u != v]
        total += sum(max(costs, default=0.0) if hardest else sum(costs) for costs in (by_video, by_text))
    return total / len(video)


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("video", [[0, 0, 1, 2, 2, 2], [2, 0, 1, 0, 3, 1], [1, 1, 1, 1, 1, 1]])
def test_the_loss_against_a_loop(hardest: bool, video: list[int]) -> None:
    videos, texts = unit(4, 0), unit(6, 1)
    loss = matching_loss(videos, texts, torch.tensor(video), margin=0.2, hardest=hardest)
    assert loss.item() == pytest.approx(slow_loss(videos, texts, video, 0.2, hardest), rel=1e-12)


def test_captions_of_one_video_are_no_negatives_of_each_other() -> None:
    # Both captions of video 0 are alike, and right on it: nothing is left to learn.
    videos = torch.eye(2, dtype=torch.float64)
    assert matching_loss(videos, videos[[0, 0, 1]], torch.tensor([0, 0, 1])).item() == 0.0
    assert matching_loss(videos[:1], videos[[1, 1]], torch.tensor([0, 0])).item() == 0.0


def slow_ranks(videos: Tensor, texts: Tensor, video: list[int]) -> tuple[list[int], list[int]]:
    scores = (texts @ videos.T).tolist()
    forward = [1 + sum(scores[w][b] >= scores[w][v] for b in range(len(videos)) if b != v) for w, v in enumerate(video)]
    backward = []
    for b in range(len(videos)):
        best = max(scores[w][b] for w, v in enumerate(video) if v == b)
        backward.append(1 + sum(scores[w][b] >= best for w, v in enumerate(video) if v != b))
    return forward, backward


@pytest.mark.parametrize("at_once", [1, 4, 1000])
def test_ranks_against_a_loop(at_once: int) -> None:
    video = [0, 0, 1, 2, 2, 3, 4, 4, 4]
    found = rank(unit(5, 2), unit(9, 3), torch.tensor(video), at_once=at_once)
    assert (found.text_to_video.tolist(), found.video_to_text.tolist()) == slow_ranks(unit(5, 2), unit(9, 3), video)


def test_recalls_by_hand() -> None:
    # Captions 0 and 2 find their videos, caption 1 (of video 0) lies on video 1, before video 1's own only by a tie.
    videos = torch.eye(2)
    found = rank(videos, videos[[0, 1, 1]], torch.tensor([0, 0, 1]))
    assert found.text_to_video.tolist() == [1, 2, 1]
    assert found.video_to_text.tolist() == [1, 2]
    values = found.values
    assert values["text_to_video_r1"] == pytest.approx(2 / 3)
    assert (values["video_to_text_r1"], values["video_to_text_r5"], values["video_to_text_median"]) == (0.5, 1.0, 1.5)
    assert found.recall_sum == pytest.approx(2 / 3 + 0.5 + 4)


def test_all_alike_is_no_find() -> None:
    alike = torch.ones(12, 3)
    assert rank(alike, alike, torch.arange(12)).recall_sum == 0.0


def test_texts_do_not_see_their_padding_or_each_other() -> None:
    encoder = TextEncoder(8, 6, 5, 7).double().eval()
    words, lengths = pad_texts([[1, 4, 5, 7, 6, 2], [1, 6, 2], [1, 2]])
    assert words.tolist() == [[4, 5, 7, 6], [6, 0, 0, 0], [0, 0, 0, 0]]
    assert lengths.tolist() == [4, 1, 0]
    words[1, 1:] = 5
    together = encoder(words, lengths)
    for row, length in enumerate([4, 1]):
        forward, _ = encoder.gru(encoder.embedding(words[row : row + 1, :length]))
        last = (forward[0, -1, :5] + forward[0, 0, 5:]) / 2
        torch.testing.assert_close(together[row], encoder.project(last))
    assert not together[2].any()


@pytest.mark.parametrize("video", ["mean", "graph", "mean+graph"])
def test_a_video_does_not_see_its_neighbours(video: Encoder) -> None:
    model = made(replace(SMALL, video=video)).double()
    batch = double(made_batch(rich_videos()))
    together = model.videos(batch)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3).double())
    for row, one in enumerate(rich_videos()):
        torch.testing.assert_close(model.videos(double(made_batch([one])))[0], together[row])


def double(batch: Data) -> Data:
    return batch.apply(lambda value: value.double() if value.is_floating_point() else value)


def test_the_graphs_mean_takes_frames_with_objects_alone() -> None:
    model = made(replace(SMALL, video="graph")).double()
    encoder = model.video
    assert isinstance(encoder, VideoEncoder)
    assert encoder.objects is not None
    assert encoder.project is not None
    batch = double(made_batch(rich_videos()))
    states = encoder.objects(batch.x, batch.frame, batch.edge_index, batch.edge_weight, batch.batch, batch.num_frames)
    first = states.frames[0, [0, 2, 3]].mean(0)  # frame 1 of the first video is empty
    torch.testing.assert_close(encoder(batch)[0], encoder.project(first))
    assert torch.equal(mean_of_real(states.frames, states.frame_mask, 1)[1], torch.zeros(8).double())


def test_the_sum_adds_both_ways() -> None:
    encoder = made(replace(SMALL, video="mean+graph")).video
    assert isinstance(encoder, VideoEncoder)
    batch = made_batch(rich_videos())
    whole = encoder(batch)
    clip, encoder.clip = encoder.clip, None
    graph = encoder(batch)
    encoder.clip, encoder.objects = clip, None
    torch.testing.assert_close(whole, encoder(batch) + graph)


def test_zero_vectors_stay_finite() -> None:
    class Nothing(torch.nn.Module):
        def forward(self, batch: Data) -> Tensor:
            return torch.zeros(3, 8, requires_grad=True)

    model = VideoTextEmbedding(Nothing(), TextEncoder(8, 6, 5, 8))
    videos = model.videos(made_batch(rich_videos()))
    texts = model.texts(*pad_texts([[1, 2], [1, 4, 2], [1, 5, 2]]))
    matching_loss(videos, texts, torch.arange(3)).backward()
    assert not videos.any()
    assert not texts[0].any()
    assert all(w.grad is not None and bool(w.grad.isfinite().all()) for w in model.text.parameters())


def stored() -> GraphsInMemory:
    return GraphsInMemory({f"v{number}": build_graph(video) for number, video in enumerate(rich_videos(), 1)})


@pytest.mark.parametrize("video", ["mean", "mean+graph"])
def test_similarity_is_the_cosine_of_each_candidate_in_order(video: Encoder) -> None:
    embedding = trained(replace(SMALL, video=video))
    candidates = {"v3": ["a cat runs", "", "a dog"], "v1": [], "v2": ["dog", "a zebra runs"]}
    found = embedding.similarity(stored(), candidates, "cpu")
    assert list(found) == ["v3", "v1", "v2"]
    assert found["v1"] == []
    assert found["v3"][1] == 0.0
    for name, texts in candidates.items():
        vector = embedding.embedding.videos(stored().batch([name], **embedding.edges))[0]
        for text, score in zip(texts, found[name], strict=True):
            own = embedding.embedding.texts(*pad_texts([WORDS.encode(text)]))[0]
            assert score == pytest.approx((own @ vector).item(), abs=1e-6)
    assert embedding.similarity(stored(), {"v1": []}) == {"v1": []}
    assert embedding.similarity(stored(), {}) == {}
    one_by_one = embedding.similarity(stored(), candidates, batch_videos=1)
    assert all(one_by_one[name] == pytest.approx(found[name], abs=1e-6) for name in candidates)


def test_a_saved_embedding_comes_back(tmp_path: Path) -> None:
    first = trained(replace(SMALL, video="mean+graph"))
    first.save(tmp_path)
    again = EmbeddingBundle.load(tmp_path)
    assert again.made_with == ()
    replace(first, made_with=[{"av": "17.1.0"}]).save(tmp_path)
    again = EmbeddingBundle.load(tmp_path)
    assert again.made_with == ({"av": "17.1.0"},)
    assert (again.vocabulary, again.model, again.graph, again.widths) == (WORDS, first.model, first.graph, WIDTHS)
    candidates = {"v1": ["a cat", "a dog runs"]}
    assert again.similarity(stored(), candidates) == first.similarity(stored(), candidates)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"there is no file .*{EMBEDDING_FILE}"):
        EmbeddingBundle.load(tmp_path)
    trained().save(tmp_path)
    path = tmp_path / EMBEDDING_FILE
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="is damaged"):
        EmbeddingBundle.load(tmp_path)
    replace(trained(), model=replace(SMALL, channels=9)).save(tmp_path)
    with pytest.raises(CheckpointError, match="settings and weights do not fit each other"):
        EmbeddingBundle.load(tmp_path)


def test_other_features_are_refused(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "store", "w", manifest={"layer": "first"}) as store:
        trained(features={"layer": "first"}).check(store)
        with pytest.raises(UserError, match="layer: trained on 'last', store has 'first'"):
            trained().check(store)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(ValueError, match=r"model\.video graph needs object features: extract with a --detector"):
        build_embedding(replace(SMALL, video="graph"), GraphConfig(), widths=FeatureWidths(5, 0, 0), vocabulary=8)
    with pytest.raises(ValueError, match="needs a clip vector, a graph encoder, or both; got neither"):
        VideoEncoder(None, None)
    with pytest.raises(ValueError, match=r"dropout must lie in 0\.\.1"):
        EmbeddingConfig(dropout=1.0)
    with pytest.raises(ValueError, match="epoch_captions must be greater than 0, or null for all; got 0"):
        MatchingConfig(epoch_captions=0)
