"""What a frozen model teaches, against slow float64 loops."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decoders import VideoMemory
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import LossConfig, TeacherConfig
from stg.data.batches import CaptionBatch, pad_words
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runtime.distributed import Ranks
from stg.training.distillation import mean_memory, relation_loss, taught_loss
from stg.training.losses import captioning_losses
from stg.training.schedules import teacher_weight
from stg.training.teacher import Teacher
from tests.stg.conftest import CAPTIONS, made_batch, made_video


def drawn(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    exps = [math.exp(value / temperature) for value in row]
    return [value / sum(exps) for value in exps]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kl", ["student_teacher", "teacher_student"])
@pytest.mark.parametrize("where", ["all", "better"])
def test_words_are_taught_where_they_should(where: Any, kl: Any, temperature: float) -> None:
    student, teacher = drawn(9, 7, seed=1), drawn(9, 7, seed=2)
    targets = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1])
    total, ahead = 0.0, 0
    for row, word in enumerate(targets.tolist()):
        mine, theirs = student[row].tolist(), teacher[row].tolist()
        better = softmax(theirs)[word] > softmax(mine)[word]
        ahead += better
        if where == "all" or better:
            p, q = softmax(mine, temperature), softmax(theirs, temperature)
            total += temperature**2 * (divergence(p, q) if kl == "student_teacher" else divergence(q, p))
    assert 0 < ahead < 9
    asked = {"where": where, "kl": kl, "temperature": temperature}
    found = taught_loss(student.requires_grad_(), teacher.requires_grad_(), targets, **asked)
    assert found.item() == pytest.approx(total / 9, abs=1e-12)
    assert taught_loss(student, teacher, targets, **asked, count=4).item() == pytest.approx(total / 4, abs=1e-12)
    found.backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_no_word_teaches_nothing() -> None:
    student = drawn(3, 5, seed=1).requires_grad_()
    found = taught_loss(student, student.detach() - 0.0, torch.tensor([0, 1, 2]), where="better")
    found.backward()
    assert found.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_relations_are_cosines_of_pairs() -> None:
    student, teacher = drawn(5, 3, seed=1), drawn(5, 4, seed=2)
    counted = torch.tensor([True, True, False, True, True])

    def cosine(one: Tensor, other: Tensor) -> float:
        dot = sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))
        return float(dot / math.hypot(*one.tolist()) / math.hypot(*other.tolist()))

    expected = []
    for i in range(5):
        for j in range(5):
            if i != j and counted[i] and counted[j]:
                gap = abs(cosine(student[i], student[j]) - cosine(teacher[i], teacher[j]))
                expected.append(gap * gap / 2 if gap < 1 else gap - 0.5)
    assert any(value > 0.5 for value in expected), "no pair in the linear part of the loss"
    loss, pairs = relation_loss(student, teacher, counted)
    assert loss.item() == pytest.approx(sum(expected) / 12, abs=1e-12)
    assert pairs == 12
    alone, none = relation_loss(student[:1], teacher[:1], counted[:1])
    assert (alone.item(), int(none)) == (0, 0)


def test_the_mean_of_a_memory_is_over_real_steps() -> None:
    frames = drawn(2, 3, 4, seed=1)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    frames[0, 1] = math.nan
    found = mean_memory(VideoMemory(frames, mask))
    torch.testing.assert_close(found[0], (frames[0, 0] + frames[0, 2]) / 2, rtol=0, atol=1e-14)
    assert not found[1].any()


def test_weights_by_epoch() -> None:
    def at(schedule: Any) -> list[float]:
        return [
            teacher_weight(TeacherConfig(weight=0.5, schedule=schedule), done, 4) for done in (0.0, 1.0, 2.5, 4.0, 5.0)
        ]

    assert at("constant") == [0.5] * 5
    assert at("decay") == [0.5, 0.375, 0.1875, 0, 0]
    assert at("rise") == [0, 0.125, 0.3125, 0.5, 0.5]


def captioner(branches: Any, seed: int, channels: int = 8, dropout: float = 0.0) -> Captioner:
    torch.manual_seed(seed)
    model = ModelConfig(
        branches=branches, channels=channels, heads=2, hidden=8, layers=1, dropout=dropout, standardise=False
    )
    widths = FeatureWidths(scene=5, motion=4, objects=6)
    return build_captioner(model, GraphConfig(layers=1), widths=widths, vocabulary=10, max_words=6).double()


@pytest.fixture
def batch(caption_batch: Any) -> Any:
    """Three videos, the second without objects, in double precision."""
    for name in ("x", "scene", "motion", "edge_weight"):
        caption_batch.graphs[name] = caption_batch.graphs[name].double()
    return caption_batch


@pytest.mark.parametrize("keep_empty", [False, True])
def test_a_teacher_of_objects_is_silent_on_videos_without(batch: Any, keep_empty: bool) -> None:
    student, objects = captioner("scene", 1), captioner("object", 2, channels=12, dropout=0.5).train()
    settings = LossConfig(keep_empty=keep_empty)
    teacher = Teacher(objects, settings=settings)
    teacher.weight = 0.5
    found = captioning_losses(student, batch, settings, teacher=teacher)
    rows = [0, 1, 2, 3, 4] if keep_empty else [0, 1, 3, 4]
    mine = student.decoder(batch.words, student.memory(batch.graphs), batch.video)
    theirs = objects.decoder(batch.words, objects.memory(batch.graphs), batch.video)
    total = [
        divergence(softmax(mine[row, at].tolist()), softmax(theirs[row, at].tolist()))
        for row in rows
        for at in range(int(batch.real[row].sum()))
    ]
    assert found["teacher"].item() == pytest.approx(sum(total) / len(total), abs=1e-10)
    assert found["loss"].item() == pytest.approx(found["scene"].item() + 0.5 * found["teacher"].item(), abs=1e-10)
    found["loss"].backward()
    assert all(weight.grad is None for weight in objects.parameters())
    assert any(weight.grad is not None for weight in student.parameters())


def test_features_are_regressed(batch: Any) -> None:
    student, objects = captioner("scene", 1), captioner("object", 2, channels=12)
    layer = nn.Linear(8, 12).double()
    found = captioning_losses(student, batch, teacher=Teacher(objects, what="features", regression=layer))
    mine = layer(mean_memory(student.memory(batch.graphs)))
    theirs = mean_memory(objects.memory(batch.graphs))
    # The second video has no objects.
    expected = sum((mine[row] - theirs[row]).square().mean().item() for row in (0, 2)) / 2
    assert found["teacher"].item() == pytest.approx(expected, abs=1e-10)
    found["teacher"].backward()
    assert layer.weight.grad is not None
    with pytest.raises(ValueError, match="needs one"):
        Teacher(objects, what="features")


def test_relations_of_two_videos(batch: Any) -> None:
    student, scene = captioner("scene", 1), captioner("scene", 2, channels=12)
    found = captioning_losses(student, batch, teacher=Teacher(scene, what="relations"))
    loss, pairs = relation_loss(
        mean_memory(student.memory(batch.graphs)), mean_memory(scene.memory(batch.graphs)), torch.ones(3).bool()
    )
    assert pairs == 6
    assert found["teacher"].item() == pytest.approx(loss.item(), abs=1e-12)


def test_a_teacher_reads_edges_of_its_own(batch: Any) -> None:
    student, objects = captioner("object", 1), captioner("object", 2)
    other = batch.graphs.clone()
    other.edge_weight = other.edge_weight * (torch.arange(len(other.edge_weight)) % 2)
    own = captioning_losses(student, replace(batch, teacher_graphs=other), teacher=Teacher(objects))
    same = captioning_losses(student, batch, teacher=Teacher(objects))
    assert own["object"].item() == same["object"].item()
    assert abs(own["teacher"].item() - same["teacher"].item()) > 1e-6


class Half(Ranks):
    """One of two processes: first it notes its counts, then it adds those of the other."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank, 2)
        self.mine, self.others = torch.zeros(0), None

    def all_reduce(self, values: Tensor) -> Tensor:
        self.mine = values
        return values if self.others is None else values + self.others


@pytest.mark.parametrize("what", ["logits", "features"])
def test_two_processes_teach_as_one(what: Any) -> None:
    def made(videos: list[Any], captions: list[list[int]], rows: list[int]) -> CaptionBatch:
        graphs = made_batch(videos)
        for name in ("x", "scene", "motion", "edge_weight"):
            graphs[name] = graphs[name].double()
        return CaptionBatch(graphs, *pad_words(captions), torch.tensor(rows))

    # Neither words nor videos that count are the same number in both halves: the third video has no objects.
    videos = [made_video(seed, counts) for seed, counts in enumerate(([2, 1, 3], [1, 0, 2], [0, 0, 0], [1, 1, 1]))]
    student, objects = captioner("scene", 1), captioner("object", 2, channels=12)
    layer = nn.Linear(8, 12).double() if what == "features" else None
    teacher = Teacher(objects, what=what, where="better" if what == "logits" else "all", regression=layer)
    whole = captioning_losses(student, made(videos, CAPTIONS, [0, 0, 1, 2, 3]), teacher=teacher)
    batches = made(videos[:2], CAPTIONS[:3], [0, 0, 1]), made(videos[2:], CAPTIONS[3:], [0, 1])
    halves = Half(0), Half(1)
    for half, batch in zip(halves, batches, strict=True):
        captioning_losses(student, batch, teacher=teacher, ranks=half)
    halves[0].others, halves[1].others = halves[1].mine, halves[0].mine
    parts = [
        captioning_losses(student, batch, teacher=teacher, ranks=half)
        for half, batch in zip(halves, batches, strict=True)
    ]
    for name in ("loss", "scene", "teacher"):
        assert sum(part[name].item() for part in parts) == pytest.approx(whole[name].item(), abs=1e-10)
    assert parts[0]["teacher"].item() != pytest.approx(parts[1]["teacher"].item())
