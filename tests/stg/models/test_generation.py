"""Captions from a store: whose class a model is told, and when (S21); what it reads of new clips (P19)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoders import State, TransformerDecoder, VideoMemory, mbr_search
from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig
from stg.config.search import SearchConfig
from stg.data.batches import BatchSource
from stg.features.manifest import FEATURE_PARTS
from stg.features.rebuild import features_read
from stg.models.branches import SceneBranch
from stg.models.build import build_captioner
from stg.models.captioner import Branch, Captioner
from stg.models.feature_kinds import FEATURES, FeatureWidths
from stg.models.generation import Caption, generate, video_memory
from stg.models.memory import MemoryBuilder
from stg.runs.bundle import CaptionerBundle
from stg.runs.model_file import model_header
from stg.runtime.errors import UserError
from stg.text.vocabulary import SPECIAL, Vocabulary
from tests.stg.best_captions import best_captions

WORDS = Vocabulary.build(["a blue square moves"], min_count=1, max_words=4)


class Store:
    """Hands out videos of random features, and keeps each batch."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> Any:
        from torch_geometric.data import Data

        counts = torch.full((len(videos),), 2)
        self.batches.append(Data(scene=torch.randn(2 * len(videos), 5), num_frames=counts, videos=list(videos)))
        return self.batches[-1]


class Fixed(Store):
    """Hands out the same features of a video every time."""

    def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> Any:
        made = super().flat_batch(videos, variant, time_flow)
        seeds = [torch.Generator().manual_seed(ord(video[0])) for video in videos]
        made.scene = torch.cat([torch.randn(2, 5, generator=seed) for seed in seeds])
        return made


class Reader(TransformerDecoder):
    """Says that it reads the class, and keeps what it was told."""

    told: Tensor | None = None

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"category"})

    def init_state(self, memory: VideoMemory) -> State:
        self.told = memory.category
        return super().init_state(memory)


def captioner(decoder: type[TransformerDecoder]) -> Captioner:
    torch.manual_seed(0)
    made = decoder(len(WORDS), channels=8, num_layers=1, num_encoder_layers=1, heads=2, hidden=8, max_length=6)
    parts = MemoryBuilder(category="category" in made.reads)
    scene = SceneBranch(5, None, 8)
    return Captioner(scene=Branch(scene, made, parts))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"category": {"a": 3, "c": 0}}, [3, -1, 0]),
        ({"category": {"a": 3, "c": 0}, "shuffled": {"a": "b", "b": "c", "c": "a"}}, [-1, 0, 3]),
        ({"category": None}, [-1, -1, -1]),
        ({}, [-1, -1, -1]),
    ],
)
def test_a_model_is_told_the_class_of_the_video_whose_features_it_sees(
    settings: dict[str, Any], expected: list[int]
) -> None:
    model = captioner(Reader)
    captions = best_captions(model, BatchSource(Store(), **settings), ["a", "b", "c"], WORDS)
    assert list(captions) == ["a", "b", "c"]
    assert isinstance(model.decoder, Reader)
    assert model.decoder.told is not None
    assert model.decoder.told.tolist() == expected
    assert model.decoder.told.dtype == torch.int64


def test_a_model_that_reads_no_class_is_told_none() -> None:
    store = Store()
    best_captions(captioner(TransformerDecoder), BatchSource(store, category={"a": 1}), ["a", "b"], WORDS)
    assert "category" not in store.batches[0]


def test_a_model_tells_what_is_to_be_made_of_new_clips(tmp_path: Path) -> None:
    widths = FeatureWidths(scene=5, motion=4, objects=6, grid=3)

    def reads(**settings: Any) -> list[str]:
        model, graph = ModelConfig(channels=8, heads=2, **settings), GraphConfig(layers=1)
        made = build_captioner(model, graph, widths=widths, vocabulary=len(WORDS), max_words=4)
        path = tmp_path / "model.safetensors"
        CaptionerBundle(made, WORDS, model, graph, widths, {}).save(path)
        header = model_header(path)
        assert ("objects" in header["reads"]) == made.needs_objects
        return sorted(features_read(header))

    assert reads() == ["motion", "scene"]
    assert reads(branches="concat") == ["motion", "objects", "scene"]
    raw = STaTSConfig(scene_streams=("regions",))
    assert reads(decoder="stats", stats=raw) == ["motion", "objects", "scene"]
    spatial = AttentionLSTMConfig(memory="spatial")
    assert "objects" in reads(decoder="attention_lstm", attention_lstm=spatial)
    assert reads(decoder="stats", stats=STaTSConfig(scene_streams=("grid",))) == ["grid", "motion", "scene"]


def test_every_kind_of_feature_is_made_of_new_clips_and_others_are_told() -> None:
    assert {feature.kind for feature in FEATURES.values()} == FEATURE_PARTS.keys()
    header = {"reads": ["scene", "smell"], "model": {"branches": "scene"}, "widths": {"scene": 5, "motion": 0}}
    with pytest.raises(UserError, match="this model reads smell features, and this version knows scene, motion, "):
        features_read(header)


def test_a_model_of_an_old_version_reads_what_its_branches_do() -> None:
    header = {"model": {"branches": "full"}, "widths": {"scene": 5, "motion": 0}}
    assert features_read(header) == ["scene"]
    assert features_read({**header, "model": {"branches": "object"}}) == ["objects"]


def test_candidates_are_the_beams_best_first() -> None:
    model, videos = captioner(TransformerDecoder), ["a", "b", "c"]
    torch.manual_seed(1)
    store = Fixed()
    found = generate(model, BatchSource(store), videos, WORDS, search=SearchConfig(beam=4, n_best=3), batch_videos=2)
    single = best_captions(model, store, videos, WORDS, beam=4)
    assert list(found) == videos
    for video in videos:
        scores = [caption.score or 0.0 for caption in found[video]]
        assert len(found[video]) == 3
        assert scores == sorted(scores, reverse=True)
        assert found[video][0].text == single[video].text
        assert len({caption.text for caption in found[video]}) == 3
    by_mean = SearchConfig(beam=4, n_best=3, length_penalty=1.0)
    for caption in generate(model, BatchSource(store), ["a"], WORDS, search=by_mean)["a"]:
        assert caption.score == pytest.approx(caption.per_word, rel=1e-6)


def predicting() -> Captioner:
    """A model with a layer that predicts words, of weights that differ."""
    model = captioner(TransformerDecoder)
    model.predict_words(torch.full((len(WORDS),), 0.5), torch.ones(len(WORDS), dtype=torch.bool))
    torch.nn.init.normal_(model.words["scene"].weight)
    return model


def test_captions_are_ranked_by_the_words_that_are_predicted_too() -> None:
    model, videos = predicting(), ["a", "b", "c", "d"]
    plain = generate(model, BatchSource(Fixed()), videos, WORDS, search=SearchConfig(beam=4, n_best=4))
    search = SearchConfig(beam=4, n_best=2, word_weight=0.5, length_penalty=0.0)
    found = generate(model, BatchSource(Fixed()), videos, WORDS, search=search)
    changed = 0
    for video in videos:
        encoded = model.encode(Fixed().flat_batch([video]))
        logits = model.word_logits(encoded)["scene"][0].double().tolist()
        said = dict(zip(WORDS.words, (-math.log1p(math.exp(-logit)) for logit in logits), strict=True))
        own = {one.text: set(one.words) - set(SPECIAL) for one in plain[video]}
        value = {one.text: one.log_prob + 0.5 * sum(said[word] for word in own[one.text]) for one in plain[video]}
        best = sorted(value, key=lambda text: -value[text])[:2]
        assert [one.text for one in found[video]] == best
        assert [one.score for one in found[video]] == pytest.approx([value[text] for text in best], rel=1e-5)
        changed += best[0] != plain[video][0].text
    assert changed


def test_words_that_no_model_predicts_rank_no_captions() -> None:
    search = SearchConfig(beam=4, word_weight=0.5)
    with pytest.raises(ValueError, match=r"only where it was trained with --loss\.word_weight and its file holds"):
        generate(captioner(TransformerDecoder), BatchSource(Fixed()), ["a"], WORDS, search=search)


def test_words_choose_among_as_many_captions_as_the_beam_has() -> None:
    search = SearchConfig(beam=9, word_weight=0.5, max_length=1)
    with pytest.raises(ValueError, match=r"chooses among as many captions as search\.beam: n_best=9, but only"):
        generate(predicting(), BatchSource(Fixed()), ["a"], WORDS, search=search)


def test_words_are_predicted_only_where_they_rank() -> None:
    model = predicting()
    assert video_memory(model, BatchSource(Fixed()), ["a"]).words is None
    assert video_memory(model, BatchSource(Fixed()), ["a"], words=True).words is not None


def test_the_model_that_captions_predicts_the_same_words() -> None:
    model, batch = predicting(), Fixed().flat_batch(["a", "b"])
    memory, alone = model.memory(batch, words=True), model.for_captioning().memory(batch, words=True)
    assert memory.words is not None
    assert alone.words is not None
    assert torch.equal(memory.words, alone.words)
    assert (memory.words.shape, memory.words.max() < 0) == ((2, len(WORDS)), True)
    assert model.memory(batch).words is None


def test_a_search_keeps_to_its_longest_and_shortest() -> None:
    model = captioner(TransformerDecoder)
    short = generate(model, BatchSource(Fixed()), ["a"], WORDS, search=SearchConfig(max_length=2, n_best=2))["a"]
    long = generate(model, BatchSource(Fixed()), ["a"], WORDS, search=SearchConfig(min_length=3, n_best=2))["a"]
    assert all(caption.length <= 2 for caption in short)
    assert all(len(caption.text.split()) >= 3 for caption in long)
    with pytest.raises(ValueError, match="max_length=9 words, but the decoder reads at most 6"):
        generate(model, BatchSource(Fixed()), ["a"], WORDS, search=SearchConfig(max_length=9))


SEARCHES: list[dict[str, Any]] = [
    {"method": "greedy"},
    {"beam": 4, "n_best": 4},
    {"method": "diverse", "beam": 4, "groups": 2, "n_best": 4},
    {"method": "sample", "n_best": 9, "temperature": 3.0},
    {"method": "mbr", "samples": 9, "n_best": 2, "temperature": 3.0},
]


@pytest.mark.parametrize("settings", SEARCHES)
def test_the_rules_hold_in_every_search(settings: dict[str, Any]) -> None:
    model = captioner(TransformerDecoder)

    def texts(**rules: Any) -> list[list[str]]:
        found = generate(model, BatchSource(Fixed()), list("abcd"), WORDS, search=SearchConfig(**settings, **rules))
        assert all(len(captions) == settings.get("n_best", 1) for captions in found.values())
        return [caption.text.split() for captions in found.values() for caption in captions]

    assert any(len(set(words)) < len(words) for words in texts())
    assert all(len(set(words)) == len(words) for words in texts(no_repeat_ngram=1))
    with torch.no_grad():  # a model that likes to end in "a"
        model.decoder.output.bias[WORDS.words.index("a")] += 9
    assert any(words[-1:] == ["a"] for words in texts())
    assert not any(words[-1:] == ["a"] for words in texts(forbidden_endings=True))


def test_the_caption_of_least_risk_is_chosen_among_as_many_as_are_drawn() -> None:
    model, search = captioner(TransformerDecoder).eval(), SearchConfig("mbr", samples=30, n_best=2, seed=3)
    memory = model.memory(BatchSource(Fixed()).batch(list("abc")))
    drawn = mbr_search(
        model.decoder, memory, 30, WORDS.max_words + 1, n_best=2, generator=torch.Generator().manual_seed(3)
    )
    found = generate(model, BatchSource(Fixed()), list("abc"), WORDS, search=search)
    assert [[caption.score for caption in captions] for captions in found.values()] == drawn.scores.tolist()


def test_draws_come_likeliest_first_and_again_with_their_seed() -> None:
    model, videos = captioner(TransformerDecoder), list("abc")

    def draw(seed: int) -> dict[str, list[Caption]]:
        search = SearchConfig("sample", n_best=6, seed=seed)
        return generate(model, BatchSource(Fixed()), videos, WORDS, search=search)

    assert draw(1) == draw(1) != draw(2)
    for captions in draw(1).values():
        likely = [caption.log_prob for caption in captions]
        assert likely == sorted(likely, reverse=True)
        assert len(set(likely)) > 1
