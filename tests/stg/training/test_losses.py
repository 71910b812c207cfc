"""One step of training: a decoder's own losses, its own words, optimisers, annealing (S6, S11, S22, S24, P24, P29)."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders import RecurrentDecoder, State, Trace, VideoMemory
from graphs import STGEncoder
from stg.config.training import LossConfig, OptimConfig
from stg.data.batches import CaptionBatch
from stg.models.branches import SceneBranch
from stg.models.captioner import Branch, Captioner
from stg.training.distillation import language_loss
from stg.training.losses import captioning_losses
from stg.training.schedules import OPTIMISERS, teacher_forcing_rate, temperature_at

WORDS, WIDTH = 12, 8


class Chain(RecurrentDecoder):
    """The simplest recurrence; it has losses of its own, keeps the words that it read, and has a temperature."""

    temperature: Tensor

    def __init__(self, losses: Sequence[str] = ()) -> None:
        super().__init__(WORDS, WIDTH)
        self.embedding, self.cell = nn.Embedding(WORDS, WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.own, self.given = losses, torch.zeros(0)
        self.seen: list[Tensor] = []
        self.register_buffer("temperature", torch.tensor(1.0))

    def init_state(self, memory: VideoMemory) -> State:
        return {"hidden": memory.frames.masked_fill(~memory.frame_mask[..., None], 0.0).mean(1)}

    def read_words(self, words: Int[Tensor, "W L"]) -> Float[Tensor, "W L E"]:
        self.seen = list(words.unbind(1))
        return self.embedding(words)

    def read_word(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N E"], State]:
        self.seen.append(word)
        return self.embedding(word), state

    def recur(self, read: Float[Tensor, "N E"], state: State) -> tuple[Float[Tensor, "N C"], State, Trace]:
        hidden = torch.tanh(self.cell(torch.cat([read, state["hidden"]], -1)))
        return hidden, {"hidden": hidden}, {"hidden": hidden}

    def anneal(self, temperature: float) -> None:
        self.temperature.fill_(temperature)

    def losses(self, trace: Trace, state: State, real: Bool[Tensor, "W L"]) -> dict[str, Tensor]:
        return {name: trace["hidden"][real].square().mean() * (n + 1) for n, name in enumerate(self.own)}


def captioner(losses: Sequence[str] = ()) -> tuple[Captioner, Chain, Chain]:
    torch.manual_seed(0)
    scene, objects = Chain(losses), Chain(losses)
    model = Captioner(scene=Branch(SceneBranch(5, 4, WIDTH), scene), objects=Branch(STGEncoder(6, WIDTH, 1), objects))
    return model, scene, objects


def test_a_decoders_own_losses_are_weighed_and_reported_by_branch(caption_batch: CaptionBatch) -> None:
    model, _, _ = captioner(("rank", "category"))
    parts = captioning_losses(
        model, caption_batch, LossConfig(rank_weight=0.3, category_weight=0.05, distill_weight=2.0)
    )
    own = {f"{branch}_{name}" for branch in ("scene", "object") for name in ("rank", "category")}
    assert set(parts) == {"loss", "scene", "object", "distill"} | own
    expected = parts["scene"] + parts["object"] + 2.0 * parts["distill"]
    for branch in ("scene", "object"):
        expected = expected + 0.3 * parts[f"{branch}_rank"] + 0.05 * parts[f"{branch}_category"]
        torch.testing.assert_close(parts[f"{branch}_category"], 2 * parts[f"{branch}_rank"])
    torch.testing.assert_close(parts["loss"], expected)


def test_one_branch_alone_has_its_own_losses_too(caption_batch: CaptionBatch) -> None:
    torch.manual_seed(0)
    model = Captioner(scene=Branch(SceneBranch(5, 4, WIDTH), Chain(("rank",))))
    parts = captioning_losses(model, caption_batch, LossConfig(distill_weight=4.0, rank_weight=7.0))
    assert set(parts) == {"loss", "scene", "scene_rank"}
    torch.testing.assert_close(parts["loss"], parts["scene"] + 7 * parts["scene_rank"])
    assert set(captioning_losses(captioner()[0], caption_batch)) == {"loss", "scene", "object", "distill"}


def test_a_video_without_objects_counts_in_no_loss_of_the_object_decoder(caption_batch: CaptionBatch) -> None:
    model, _, _ = captioner(("rank",))
    rest = dataclasses.replace(
        caption_batch,
        **{name: getattr(caption_batch, name)[[0, 1, 3, 4]] for name in ("words", "targets", "real", "video")},
    )
    assert not model.encode(caption_batch.graphs).has_objects[1]
    assert caption_batch.video[2] == 1
    for name, same in {"object_rank": True, "scene_rank": False}.items():
        found, without = (captioning_losses(model, batch)[name] for batch in (caption_batch, rest))
        assert torch.allclose(found, without) == same
    kept = captioning_losses(model, caption_batch, LossConfig(keep_empty=True))["object_rank"]
    assert not torch.allclose(kept, captioning_losses(model, rest, LossConfig(keep_empty=True))["object_rank"])


def test_both_branches_read_one_prefix_and_the_targets_stay(caption_batch: CaptionBatch) -> None:
    model, scene, objects = captioner()
    before = dataclasses.replace(
        caption_batch, words=caption_batch.words.clone(), targets=caption_batch.targets.clone()
    )
    parts = captioning_losses(model, caption_batch, sampling_rate=0.7)
    read, read_too = torch.stack(scene.seen, 1), torch.stack(objects.seen, 1)
    assert torch.equal(read, read_too)
    assert not torch.equal(read, before.words)
    assert torch.equal(read[:, 0], before.words[:, 0])
    assert torch.equal(caption_batch.words, before.words)
    assert torch.equal(caption_batch.targets, before.targets)
    # The words of the annotation are still what is learned, after whatever was read.
    encoded = model.encode(caption_batch.graphs)
    assert encoded.scene is not None
    logits = scene(read, encoded.scene, caption_batch.video)[before.real]
    torch.testing.assert_close(parts["scene"], language_loss(logits, before.targets[before.real]))


def test_an_object_branch_alone_samples_too_and_argmax_draws_nothing(caption_batch: CaptionBatch) -> None:
    torch.manual_seed(0)
    decoder = Chain()
    model = Captioner(objects=Branch(STGEncoder(6, WIDTH, 1), decoder))
    losses = [
        captioning_losses(model, caption_batch, sampling_rate=1.0, sampling_pick="argmax")["loss"] for _ in range(2)
    ]
    assert torch.equal(*losses)
    assert not torch.equal(torch.stack(decoder.seen, 1), caption_batch.words)
    drawn = {captioning_losses(model, caption_batch, sampling_rate=1.0)["loss"].item() for _ in range(4)}
    assert len(drawn) > 1


@pytest.mark.parametrize(("epoch", "ratio"), [(0, 0.960), (10, 0.941), (20, 0.913), (50, 0.749)])
def test_the_share_of_given_words_is_the_papers(epoch: int, ratio: float) -> None:
    assert teacher_forcing_rate(24.0, epoch) == pytest.approx(ratio, abs=5e-4)


def test_the_share_of_given_words_falls_to_nothing_without_overflow() -> None:
    shares = [teacher_forcing_rate(0.01, epoch) for epoch in (0, 1, 100_000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0.0


def test_the_temperature_falls_geometrically() -> None:
    found = [temperature_at(epoch, 1.0, 0.01, 3) for epoch in range(3)]
    assert found == pytest.approx([1.0, 0.1, 0.01])
    assert temperature_at(0, 1.0, 0.01, 1) == 0.01


def test_the_temperature_reaches_every_decoder() -> None:
    model, scene, objects = captioner()
    model.anneal(0.25)
    assert (scene.temperature, objects.temperature) == (0.25, 0.25)
    branch = SceneBranch(5, 4, WIDTH)
    Captioner(scene=Branch(branch, scene)).anneal(3.0)
    assert scene.temperature == 3.0


def test_rmsprop_is_the_textbooks() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    expected, square = weight.detach().clone(), torch.zeros(2, dtype=torch.float64)
    optimiser = OPTIMISERS["rmsprop"]([weight], OptimConfig(algorithm="rmsprop", lr=0.1, weight_decay=0.2))
    for _ in range(3):
        optimiser.zero_grad()
        weight.pow(3).sum().backward()
        optimiser.step()
        gradient = 3 * expected**2 + 0.2 * expected
        square = 0.99 * square + 0.01 * gradient**2
        expected = expected - 0.1 * gradient / (square.sqrt() + 1e-8)
        torch.testing.assert_close(weight.detach(), expected)


def test_adam_has_the_settings_asked_for_and_one_call_for_all_weights() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimiser = OPTIMISERS["adam"]([weight], OptimConfig(lr=0.1, betas=(0.8, 0.9), weight_decay=0.3))
    group = optimiser.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"], group["fused"]) == (0.1, (0.8, 0.9), 0.3, True)


def test_l2_compares_the_frames_that_hold_objects(caption_batch: CaptionBatch) -> None:
    torch.manual_seed(0)
    model = Captioner(
        scene=Branch(SceneBranch(5, 4, WIDTH), Chain()), objects=Branch(STGEncoder(6, WIDTH, 1), Chain()), fusion="l2"
    )
    encoded = model.encode(caption_batch.graphs)
    assert encoded.scene is not None
    assert encoded.objects is not None
    # Two videos of three frames: the second has none in its middle; the video between them has no object at all.
    frames = [(0, 0), (0, 1), (0, 2), (2, 0), (2, 2)]
    apart = [(encoded.scene.frames[place] - encoded.objects.frames[place]).square().mean() for place in frames]
    found = captioning_losses(model, caption_batch)["l2"]
    torch.testing.assert_close(found, torch.stack(apart).mean())
