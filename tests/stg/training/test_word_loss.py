"""Memories that predict which words the captions of a video hold."""

import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import FitConfig, LossConfig, OptimConfig, RunConfig
from stg.data.batches import CaptionBatch
from stg.datasets.open import open_dataset
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.word_prediction import WordPredictor
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import Preempted, UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit
from stg.training.losses import captioning_losses
from stg.training.word_loss import predict_words, word_loss
from tests.stg.changed import with_changes

WORDS = 12
# Word 4 is in most videos, 5 in half of them, 6 twice in one caption.
CAPTIONS = {"a": [[1, 4, 5, 2], [1, 4, 6, 6, 2]], "b": [[1, 4, 3, 2]], "c": [[1, 4, 5, 7, 2]], "d": [[1, 8, 2]]}


def model_of(branches: str, **settings: Any) -> Captioner:
    torch.manual_seed(0)
    config = ModelConfig(branches=branches, channels=8, heads=2, hidden=8, layers=1, dropout=0.0, **settings)  # type: ignore[arg-type]
    widths = FeatureWidths(scene=5, motion=4, objects=6)
    return build_captioner(config, GraphConfig(layers=1), widths=widths, vocabulary=WORDS, max_words=8)


def asked(model: Captioner) -> Captioner:
    predict_words(model, CAPTIONS, WORDS)
    return model


def test_words_are_asked_for_that_distinguish_videos_and_begin_with_their_shares() -> None:
    model = asked(model_of("scene"))
    assert model.words is not None
    (predictor,) = model.words.values()
    # Neither special words, nor word 4 of three videos in four, nor those that no caption holds.
    assert predictor.counted.tolist() == [number in (5, 6, 7, 8) for number in range(WORDS)]
    shares = {5: 2, 6: 1, 7: 1, 8: 1}
    for word, held in shares.items():
        assert predictor.bias[word].sigmoid().item() == pytest.approx((held + 0.5) / 6)
    assert not predictor.weight.any()
    assert predictor.held.item() == pytest.approx((5 + 4 * 0.5) / 6)
    assert "words.scene.weight" in model.state_dict()


def test_captions_whose_words_all_videos_share_leave_nothing_to_ask_for() -> None:
    with pytest.raises(UserError, match=r"captions of more than 50% of the training videos hold each word there is"):
        predict_words(model_of("scene"), {"a": [[1, 4, 2]], "b": [[1, 4, 2]]}, WORDS)


def test_the_loss_is_the_cross_entropy_of_each_word_of_each_caption() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, WORDS, generator=draw, dtype=torch.float64, requires_grad=True)
    words = torch.tensor([[4, 5, 2, 0], [6, 6, 5, 2], [7, 2, 0, 0], [8, 9, 5, 2]])
    video, counted = torch.tensor([0, 0, 1, 2]), torch.arange(WORDS) >= 5
    videos = torch.tensor([True, False, True])
    usual = torch.tensor(1.7, dtype=torch.float64)
    loss, number = word_loss(logits, words, video, counted, videos, usual)
    wanted = 0.0
    for caption in (0, 1, 3):
        for word in range(5, WORDS):
            chance = 1 / (1 + math.exp(-logits[video[caption], word].item()))
            said = word in words[caption].tolist()
            wanted -= math.log(chance if said else 1 - chance)
    assert number.item() == 3
    assert loss.item() == pytest.approx(wanted / (3 * 1.7), rel=1e-12)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[1].any()
    assert not logits.grad[:, :5].any()
    nothing, number = word_loss(logits, words, video, counted, torch.zeros(3, dtype=torch.bool), usual)
    assert (nothing.item(), number.item()) == (0, 0)


def test_parts_of_a_batch_add_up_also_where_one_holds_no_word_that_is_asked_for() -> None:
    logits = torch.randn(2, WORDS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    words, video = torch.tensor([[5, 6, 2], [7, 2, 0], [4, 2, 0]]), torch.tensor([0, 0, 1])
    counted, usual = torch.arange(WORDS) >= 5, torch.tensor(1.5, dtype=torch.float64)
    whole, number = word_loss(logits, words, video, counted, torch.ones(2, dtype=torch.bool), usual)
    parts = [word_loss(logits, words, video, counted, torch.arange(2) == one, usual) for one in range(2)]
    torch.testing.assert_close(sum(loss * count for loss, count in parts) / number, whole)
    assert parts[1][0] > 0


def test_joined_memories_are_read_whole_and_the_objects_by_themselves(caption_batch: CaptionBatch) -> None:
    model = asked(model_of("joint", readout="nodes"))
    encoded = model.encode(caption_batch.graphs)
    assert model.words is not None
    (predictor,) = model.words.values()
    torch.nn.init.normal_(predictor.weight)
    assert torch.equal(model.word_logits(encoded)["scene"], predictor(encoded.scene, encoded.objects))
    assert not torch.equal(model.word_logits(encoded)["scene"], predictor(encoded.scene, encoded.scene))


def test_the_memory_is_read_by_its_mean_and_its_largest_and_no_padding() -> None:
    from decoders import VideoMemory

    draw = torch.Generator().manual_seed(1)
    frames, mask = torch.randn(2, 3, 4, generator=draw), torch.tensor([[True, True, False], [False] * 3])
    frames[~mask] = torch.nan
    predictor = WordPredictor(4, torch.full([5], 0.3), torch.ones(5, dtype=torch.bool))
    torch.nn.init.normal_(predictor.weight)
    found = predictor(VideoMemory(frames, mask))
    real = frames[0, :2]
    wanted = predictor.weight @ torch.cat([real.mean(0), real.amax(0)]) + predictor.bias
    torch.testing.assert_close(found[0], wanted)
    torch.testing.assert_close(found[1], predictor.bias)
    found.sum().backward()
    assert predictor.weight.grad is not None
    assert bool(predictor.weight.grad.isfinite().all())


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"branches": "scene"}, {"scene_words"}),
        ({"branches": "object", "readout": "nodes"}, {"object_words"}),
        ({"branches": "full"}, {"scene_words", "object_words"}),
        ({"branches": "joint", "readout": "nodes"}, {"scene_words"}),
        ({"branches": "concat"}, {"scene_words"}),
    ],
)
def test_each_memory_learns_the_words(settings: dict[str, Any], names: set[str], caption_batch: CaptionBatch) -> None:
    plain = model_of(**settings)
    model = asked(model_of(**settings))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    without = captioning_losses(plain, caption_batch, LossConfig())
    parts = captioning_losses(model, caption_batch, LossConfig(word_weight=3.0))
    assert set(parts) - set(without) == names
    expected = without["loss"] + 3.0 * torch.stack([parts[name] for name in names]).sum()
    torch.testing.assert_close(parts["loss"], expected)
    # From a weight other than 0 on, what encodes the video learns: the graph and its readout where there is one.
    assert model.words is not None
    for predictor in model.words.values():
        torch.nn.init.normal_(predictor.weight)
    model.zero_grad()
    parts = captioning_losses(model, caption_batch, LossConfig(word_weight=1.0))
    sum((parts[name] for name in names), torch.zeros(())).backward()
    reached = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    encoders = {"scene": {"scene"}, "object": {"objects", "readout"}, "full": {"scene", "objects"}}
    both = {"scene", "objects", "join"} | ({"readout"} if "readout" in settings else set())
    assert reached == {"words"} | encoders.get(settings["branches"], both)


def test_videos_without_objects_are_asked_for_no_words_of_objects(caption_batch: CaptionBatch) -> None:
    model = asked(model_of("full"))
    rows = torch.tensor([0, 1, 3, 4])
    rest = dataclasses.replace(
        caption_batch, **{name: getattr(caption_batch, name)[rows] for name in ("words", "targets", "real", "video")}
    )
    settings = LossConfig(word_weight=1.0)
    for name, same in {"object_words": True, "scene_words": False}.items():
        found, without = (captioning_losses(model, batch, settings)[name] for batch in (caption_batch, rest))
        assert torch.allclose(found, without) == same
    kept = captioning_losses(model, caption_batch, LossConfig(word_weight=1.0, keep_empty=True))["object_words"]
    assert not torch.allclose(kept, captioning_losses(model, rest, settings)["object_words"])


WORLD = WorldConfig(train=8, val=3, test=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def trained(store: Path, out: Path, stop: Callable[[], bool] = lambda: False, **changes: Any) -> Path:
    config = FitConfig(
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        model=ModelConfig(branches="joint", readout="nodes", channels=8, heads=2, hidden=8, layers=1),
        loss=LossConfig(word_weight=0.5),
        optim=OptimConfig(batch_videos=4, epochs=1, epoch_captions=2),
        run=RunConfig(out=str(out), samples=0),
    )
    fit(with_changes(config, changes), reporter=ConsoleReporter(Console(file=io.StringIO()), stop))
    return out


def weights(path: Path) -> dict[str, Tensor]:
    return CaptionerBundle.load(path).captioner.state_dict()


def test_the_model_that_captions_keeps_the_layer_and_runs_begin_and_resume_with_it(store: Path, tmp_path: Path) -> None:
    out = trained(store, tmp_path / "run")
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(row["scene_words"] > 0 for row in steps if row["kind"] == "step")
    # The joint model captions as a whole: there is nothing that only training needs.
    bundle = CaptionerBundle.load(out / "model.safetensors")
    assert bundle.model.branches == "joint"
    assert {"words.scene.weight", "words.scene.bias"} <= weights(out / "model.safetensors").keys()
    # A whole model of a version that wrote one is not taken for the best.
    assert not (out / "whole.safetensors").exists()
    stale = [tmp_path / "parts" / f"whole.{kind}" for kind in ("safetensors", "sha256")]
    with pytest.raises(Preempted):
        trained(store, tmp_path / "parts", lambda: True)
    for path in stale:
        path.write_text("of before")
    trained(store, tmp_path / "parts")
    assert not any(path.exists() for path in stale)
    whole = weights(out / "model.safetensors")
    for name, value in weights(tmp_path / "parts" / "model.safetensors").items():
        assert torch.equal(value, whole[name]), name
    # No step is better than the start at such a step size: the weights are those that it began with.
    begun = trained(store, tmp_path / "begun", run={"start": str(out)}, optim={"lr": 1e-12})
    torch.testing.assert_close(weights(begun / "model.safetensors")["words.scene.weight"], whole["words.scene.weight"])
    plain = trained(store, tmp_path / "plain", run={"start": str(out)}, loss={"word_weight": 0.0}, optim={"lr": 1e-12})
    assert not any(name.startswith("words.") for name in weights(plain / "model.safetensors"))
    again = trained(store, tmp_path / "again", run={"start": str(plain)}, optim={"lr": 1e-12})
    assert float(weights(again / "model.safetensors")["words.scene.weight"].abs().max()) < 1e-9
