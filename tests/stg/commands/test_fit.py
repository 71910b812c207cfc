"""The training command on a tiny world: learning, resuming, refusing (faults D2-D4, D10, D14, D16; S11, S21, S24)."""

import dataclasses
import errno
import io
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from graphs import GraphStore
from stg.commands.fit import main
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig, STaTSConfig, TSConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.data.batches import TrainingSet, shuffle_features
from stg.datasets.open import OpenDataset, open_dataset
from stg.runs.bundle import CaptionerBundle
from stg.runtime.distributed import Ranks
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import _best, fit
from stg.training.schedules import step_size
from stg.training.state import Position
from stg.training.step import StepResult, train_step
from tests.stg.changed import with_changes
from tests.stg.failing_output import failing_output

ROOT = Path(__file__).resolve().parents[3]
WORLD = WorldConfig(train=8, val=3, test=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tiny world, made once."""
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def settings(store: Path, out: Path, **changes: Any) -> FitConfig:
    config = FitConfig(
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(lr=3e-3, batch_videos=3, epochs=2, captions_per_video=2, epoch_captions=4),
        run=RunConfig(out=str(out), samples=1, save_minutes=1000.0),
    )
    return with_changes(config, changes)


def run(config: FitConfig, stop: Callable[[], bool] = lambda: False, ranks: Ranks | None = None) -> str:
    """Train and return what was printed."""
    text = io.StringIO()
    fit(config, reporter=ConsoleReporter(Console(file=text, width=200), stop), ranks=ranks)
    return text.getvalue()


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def stop_after(steps: int, out: Path) -> Callable[[], bool]:
    return lambda: len(rows(out, "step")) >= steps


class FirstOfTwo(Ranks):
    """The first of two processes, the other of which has no part in any batch and does the same."""

    def __init__(self, other: bytes | None = None) -> None:
        super().__init__(0, 2)
        self.other = other

    def shard(self, items: Sequence[Any]) -> Sequence[Any]:
        return items

    def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def broadcast_module(self, model: torch.nn.Module) -> None:
        pass

    def gather(self, value: bytes) -> list[bytes]:
        return [value, value if self.other is None else self.other]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return CaptionerBundle.load(out / "whole.safetensors").captioner.state_dict()


def test_a_run_learns_and_leaves_what_is_needed(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shown = run(settings(store, out, optim={"epochs": 4}))
    steps = rows(out, "step")
    assert [row["step"] for row in steps] == list(range(1, 4 * 6 + 1))
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert len(rows(out, "validation")) == 4
    assert all("cider" in row and row["samples"] for row in rows(out, "validation"))
    assert json.loads((out / "state.json").read_text())["status"] == "finished"
    assert {path.name for path in out.iterdir()} >= {"config.yaml", "model.safetensors", "metrics.jsonl", "train.log"}
    assert f"Next: python -m stg.evaluate {out}" in shown
    assert str(Path.home()) not in (out / "config.yaml").read_text().replace(str(tmp_path), "")
    assert "is finished" in run(settings(store, out, optim={"epochs": 4}))


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("fit") / "whole"
    run(settings(store, out))
    return out


def test_stopping_and_going_on_changes_no_bit(store: Path, whole: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for step in (1, 4, 6, 7, 11):
        with pytest.raises(Preempted, match=f"stopped at step {step} with a checkpoint"):
            run(settings(store, parts), stop_after(step, parts))
        assert json.loads((parts / "state.json").read_text())["status"] == "preempted"
        torch.manual_seed(999)
    run(settings(store, parts))
    assert rows(parts, "step") == rows(whole, "step")
    assert rows(parts, "validation") == rows(whole, "validation")
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(parts).items())


def test_the_average_of_the_weights_captions_and_survives_a_stop(store: Path, whole: Path, tmp_path: Path) -> None:
    averaged = settings(store, tmp_path / "averaged", optim={"ema": 0.9})
    run(averaged)
    # What is learned is what it was; what is judged and kept is not.
    assert rows(tmp_path / "averaged", "step") == rows(whole, "step")
    assert rows(tmp_path / "averaged", "validation") != rows(whole, "validation")
    parts = settings(store, tmp_path / "parts", optim={"ema": 0.9})
    for step in (4, 7):
        with pytest.raises(Preempted, match=f"stopped at step {step} with a checkpoint"):
            run(parts, stop_after(step, tmp_path / "parts"))
        torch.manual_seed(999)
    run(parts)
    assert rows(tmp_path / "parts", "validation") == rows(tmp_path / "averaged", "validation")
    expected = weights(tmp_path / "averaged")
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "parts").items())


def test_the_exported_average_is_that_of_all_steps(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def watched(model: torch.nn.Module, *others: Any, **settings: Any) -> StepResult:
        def weights_now() -> dict[str, torch.Tensor]:
            return {name: value.detach().double() for name, value in model.named_parameters()}

        if not seen:
            seen.append(weights_now())
        result = train_step(model, *others, **settings)
        seen.append(weights_now())
        return result

    monkeypatch.setattr("stg.training.loop.train_step", watched)
    run(settings(store, tmp_path / "once", optim={"ema": 0.3, "epochs": 1}))
    exported = weights(tmp_path / "once")
    for name, average in seen[0].items():
        for number, after in enumerate(seen[1:], 1):
            decay = min(0.3, (1 + number) / (10 + number))
            average = decay * average + (1 - decay) * after[name]
        torch.testing.assert_close(exported[name].double(), average, atol=1e-6, rtol=0)


def test_what_a_run_begins_with_is_judged_as_it_is(store: Path, whole: Path, tmp_path: Path) -> None:
    run(settings(store, tmp_path / "more", optim={"ema": 0.9, "epochs": 1}, run={"start": str(whole)}))
    start, best = rows(tmp_path / "more", "start")[0], max(rows(whole, "validation"), key=lambda row: row["cider"])
    assert start["cider"] == best["cider"]
    # Stopped before the first step, it goes on as if nothing had been.
    parts = settings(store, tmp_path / "parts", optim={"ema": 0.9, "epochs": 1}, run={"start": str(whole)})
    with pytest.raises(Preempted, match="stopped at step 0 with a checkpoint"):
        run(parts, lambda: True)
    run(parts)
    expected = weights(tmp_path / "more")
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "parts").items())


def test_stopping_within_a_validation_changes_no_bit(store: Path, whole: Path, tmp_path: Path) -> None:
    parts, asked = tmp_path / "parts", itertools.count()
    # Asked after each of the six steps of an epoch, then by the validation.
    with pytest.raises(Preempted, match="stopped at step 6 with a checkpoint"):
        run(settings(store, parts), lambda: next(asked) == 6)
    assert rows(parts, "validation") == []
    run(settings(store, parts))
    assert rows(parts, "step") == rows(whole, "step")
    assert rows(parts, "validation") == rows(whole, "validation")


def test_stopping_while_the_world_is_made_keeps_what_is_made(tmp_path: Path) -> None:
    asked = itertools.count()
    with pytest.raises(Preempted, match="stopped with 2 of 14 graphs made: the same command resumes from there"):
        run(settings(tmp_path / "store", tmp_path / "run"), lambda: next(asked) == 2)
    assert not (tmp_path / "run").exists()
    with GraphStore(tmp_path / "store") as made:
        assert len(list(made.keys())) == 2


ANNEALED = {"decoder": "stats", "stats": STaTSConfig(ts=TSConfig(temperature=0.1, anneal_from=1.6))}
SAMPLED = {"algorithm": "rmsprop", "scheduled_sampling": 1.5}


@pytest.fixture(scope="module")
def annealed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of own words that nothing stopped."""
    out = tmp_path_factory.mktemp("annealed") / "whole"
    run(settings(store, out, model=ANNEALED, optim=SAMPLED))
    return out


def test_stopping_within_an_epoch_of_own_words_changes_no_bit(store: Path, annealed: Path, tmp_path: Path) -> None:
    whole, parts = annealed, tmp_path / "parts"
    for step in (3, 6, 8):
        with pytest.raises(Preempted, match=f"stopped at step {step}"):
            run(settings(store, parts, model=ANNEALED, optim=SAMPLED), stop_after(step, parts))
        torch.manual_seed(999)
    run(settings(store, parts, model=ANNEALED, optim=SAMPLED))
    assert rows(parts, "step") == rows(whole, "step")
    assert rows(parts, "validation") == rows(whole, "validation")
    assert all("scene_rank" in row and "object_rank" in row for row in rows(whole, "step"))
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(parts).items())


def watch_losses(monkeypatch: pytest.MonkeyPatch, look: Callable[..., Any]) -> list[Any]:
    """What ``look(model, batch, settings)`` says in each step."""
    import stg.training.objective

    losses, seen = stg.training.objective.captioning_losses, []

    def watched(model: Any, batch: Any, *settings: Any, **given: Any) -> Any:
        seen.append(look(model, batch, given))
        return losses(model, batch, *settings, **given)

    monkeypatch.setattr(stg.training.objective, "captioning_losses", watched)
    return seen


def test_own_words_and_temperature_change_with_the_epoch(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(model: Any, batch: Any, given: dict[str, Any]) -> tuple[Any, ...]:
        return (
            given["sampling_rate"],
            given["sampling_pick"],
            model.scene_decoder.temperature.item(),
            model.object_decoder.temperature.item(),
        )

    seen = watch_losses(monkeypatch, look)
    optim = {**SAMPLED, "own_word": "argmax", "epochs": 3}
    with pytest.raises(Preempted):  # the temperature is that of the epoch in the midst of it, too
        run(settings(store, tmp_path / "run", model=ANNEALED, optim=optim), stop_after(8, tmp_path / "run"))
    run(settings(store, tmp_path / "run", model=ANNEALED, optim=optim))
    assert len(seen) == 18
    shares = [1 - 1.5 / (1.5 + 2.718281828**power) for power in (0, 1 / 1.5, 2 / 1.5)]
    for number, (rate, pick, *temperatures) in enumerate(seen):
        assert rate == pytest.approx(shares[number // 6])
        assert pick == "argmax"
        assert temperatures == pytest.approx([(1.6, 0.4, 0.1)[number // 6]] * 2)


def test_words_are_given_and_the_temperature_stays_unless_asked_otherwise(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(model: Any, batch: Any, given: dict[str, Any]) -> tuple[float, float]:
        return given["sampling_rate"], model.scene_decoder.temperature.item()

    seen = watch_losses(monkeypatch, look)
    model = {"decoder": "stats", "branches": "scene", "stats": STaTSConfig(ts=TSConfig(temperature=0.3))}
    run(settings(store, tmp_path / "run", model=model))
    assert {share for share, _ in seen} == {0.0}
    assert [temperature for _, temperature in seen] == pytest.approx([0.3] * len(seen))


def test_own_words_of_a_transformer_are_refused(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = settings(store, out, data={"store": str(tmp_path / "store")}, optim={"scheduled_sampling": 24.0})
    with pytest.raises(UserError, match=r"optim.scheduled_sampling needs .*; model.decoder is 'transformer'"):
        run(config)
    assert not list(tmp_path.iterdir())


CLASSES = {f"{split}-{n:05d}": n % 3 for split in ("train", "val", "test") for n in range(7)}


def with_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the world classes; the eighth training video has none."""

    def opened(*args: Any, **kwargs: Any) -> OpenDataset:
        found = open_dataset(*args, **kwargs)
        return OpenDataset(dataclasses.replace(found.dataset, category=CLASSES), found.store)

    for user in ("stg.training.setup", "stg.evaluation.loaded_run"):
        monkeypatch.setattr(f"{user}.open_dataset", opened)


@pytest.mark.parametrize("control", ["none", "shuffle"])
def test_a_batch_has_the_classes_where_the_model_reads_them(
    control: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_classes(monkeypatch)

    def look(model: Any, batch: Any, given: dict[str, Any]) -> tuple[list[str], list[int]]:
        return list(dict.fromkeys(item.video for item in batch.items)), batch.graphs.category.tolist()

    seen = watch_losses(monkeypatch, look)
    model = {"decoder": "stats", "branches": "scene", "stats": STaTSConfig(categories=3, category_use="both")}
    config = settings(store, tmp_path / "run", model=model, optim={"epochs": 1}, run={"control": control})
    run(config)
    videos = [f"train-{n:05d}" for n in range(8)]
    source = shuffle_features(videos, 0) if control == "shuffle" else {video: video for video in videos}
    assert {video for batch, _ in seen for video in batch} == set(videos)
    for batch, classes in seen:
        assert classes == [CLASSES.get(source[video], -1) for video in batch]
    assert all("scene_category" in row for row in rows(tmp_path / "run", "step"))


def test_a_model_that_reads_no_class_is_given_none(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_classes(monkeypatch)
    seen = watch_losses(monkeypatch, lambda model, batch, given: "category" in batch.graphs)
    run(settings(store, tmp_path / "run", optim={"epochs": 1}))
    assert set(seen) == {False}


def test_classes_that_do_not_fit_are_refused_without_a_trace(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(categories: int) -> FitConfig:
        return settings(store, out, model={"decoder": "stats", "stats": STaTSConfig(categories=categories)})

    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"model.stats.categories is 20 and moving objects has no classes"):
        run(config(20))
    with_classes(monkeypatch)
    with pytest.raises(UserError, match=r"model.stats.categories is 2 and moving objects has a class number 2"):
        run(config(2))
    assert not out.exists()


def test_a_crash_repeats_the_steps_since_the_last_checkpoint(
    store: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tmp_path / "parts"
    load, calls = TrainingSet.load, iter(range(100))

    def crash(self: TrainingSet, items: Any) -> Any:
        if next(calls) == 9:
            raise RuntimeError("power cut")
        return load(self, items)

    monkeypatch.setattr(TrainingSet, "load", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        run(settings(store, parts))
    monkeypatch.undo()
    assert json.loads((parts / "state.json").read_text())["status"] == "failed"
    assert "power cut" in (parts / "train.log").read_text()
    assert len(rows(parts, "step")) == 9
    assert "resuming at step 6" in run(settings(store, parts))
    assert rows(parts, "step") == rows(whole, "step")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_processes_that_do_not_see_the_same_run_folder_are_refused(store: Path, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run")
    with pytest.raises(Preempted):
        run(config, stop_after(2, tmp_path / "run"), FirstOfTwo())
    before = tree(tmp_path / "run")
    with pytest.raises(UserError, match="is not the same for all processes: it must lie where all of them see it"):
        run(config, ranks=FirstOfTwo(other=b"0 123"))
    assert tree(tmp_path / "run") == before
    assert "resuming at step 2" in run(config, ranks=FirstOfTwo())


def test_a_run_that_is_refused_leaves_no_trace(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match="no word occurs 10000 times"):
        run(settings(store, out, data={"min_count": 10_000}))
    assert not out.exists()


def test_a_finished_run_stays_as_it_was_when_another_is_refused(store: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "run", tmp_path / "other"
    run(settings(store, out, optim={"epochs": 1}))
    assert "train.log" in tree(out)
    assert "train: " in (out / "train.log").read_text() or "8 training videos" in (out / "train.log").read_text()
    before = tree(out)
    with (
        GraphStore(store) as first,
        GraphStore(other, "w", manifest=first.manifest | {"edges": {"top_k": 1}}) as second,
    ):
        second.put_records(first.records())
    again = settings(other, out, optim={"epochs": 2}, run={"override": True})
    with pytest.raises(
        UserError, match=r"were made otherwise than those that .* was started with: give the store of then"
    ):
        run(again)
    assert tree(out) == before


def test_a_loss_that_is_not_finite_is_never_applied(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stg.training.objective

    losses, calls = stg.training.objective.captioning_losses, iter(range(100))

    def broken(*args: Any, **kwargs: Any) -> Any:
        found = losses(*args, **kwargs)
        return {name: value * float("nan") for name, value in found.items()} if next(calls) >= 4 else found

    monkeypatch.setattr(stg.training.objective, "captioning_losses", broken)
    out = tmp_path / "run"
    with pytest.raises(StgError, match=r"not finite 3 times in a row \(step 7\)"):
        run(settings(store, out, run={"save_minutes": 0.0}))
    assert [row["step"] for row in rows(out, "step")] == [1, 2, 3, 4]
    assert [row["step"] for row in rows(out, "broken")] == [5, 6, 7]
    assert all(video.startswith("train-") for row in rows(out, "broken") for video in row["videos"])
    monkeypatch.undo()
    run(settings(store, out, run={"save_minutes": 0.0}))
    assert all(value.isfinite().all() for value in weights(out).values())


@pytest.mark.parametrize(
    ("ranks", "step", "kept"),
    [
        (None, 0, "checkpoint saved"),
        (FirstOfTwo(), 0, "no checkpoint yet"),
        (FirstOfTwo(), 2, "the last checkpoint holds"),
    ],
)
def test_out_of_memory_names_the_batch_and_what_is_kept(
    ranks: Ranks | None, step: int, kept: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stg.training.objective

    losses, calls = stg.training.objective.captioning_losses, iter(range(100))

    def greedy(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == step:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses(*args, **kwargs)

    monkeypatch.setattr(stg.training.objective, "captioning_losses", greedy)
    out = tmp_path / "run"
    config = settings(store, out, run={"save_minutes": 0.0})
    with pytest.raises(StgError, match=rf"memory at step {step} with \d+ captions of 3 videos \({kept}\): lower"):
        run(config, ranks=ranks)
    assert (out / "checkpoints").exists() == (kept != "no checkpoint yet")
    assert len(rows(out, "step")) == step if step else not (out / "metrics.jsonl").exists()


def test_a_run_goes_on_longer_where_it_is_told_to(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(settings(store, out, optim={"epochs": 1}))
    run(settings(store, out, run={"override": True}))
    assert len(rows(out, "validation")) == 2


def test_a_run_is_not_resumed_with_other_captions(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    run(settings(store, out, optim={"epochs": 1}))

    def resumed(*added: str) -> str:
        """With the captions of two videos exchanged, and further ones."""

        def changed(*given: Any, **more: Any) -> OpenDataset:
            opened = open_dataset(*given, **more)
            captions = dict(opened.dataset.captions)
            one, two = opened.dataset.splits["train"][:2]
            captions[one], captions[two] = captions[two], [*captions[one], *added]
            return dataclasses.replace(opened, dataset=dataclasses.replace(opened.dataset, captions=captions))

        monkeypatch.setattr("stg.training.setup.open_dataset", changed)
        with pytest.raises(UserError) as told:
            run(settings(store, out, run={"override": True}))
        return str(told.value)

    # The same words may stand in other captions.
    assert "the captions, or the videos that have any, have changed since" in resumed()
    assert "(other vocabulary): use another --run.out" in resumed("an unheard of word")


def test_the_control_trains_on_other_videos_features(store: Path, whole: Path, tmp_path: Path) -> None:
    run(settings(store, tmp_path / "control", optim={"epochs": 1}, run={"control": "shuffle"}))
    first, second = rows(whole, "step")[0], rows(tmp_path / "control", "step")[0]
    assert first["loss"] != second["loss"]


@pytest.mark.parametrize("branches", ["scene", "object", "concat", "l2"])
def test_every_ablation_trains_and_exports(branches: str, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(settings(store, out, model={"branches": branches}, optim={"epochs": 1}))
    assert CaptionerBundle.load(out / "model.safetensors").vocabulary.words[:2] == ("<pad>", "<bos>")


def test_tiny_splits_and_large_batches_run(store: Path, tmp_path: Path) -> None:
    run(settings(store, tmp_path / "run", world={"train": 1, "val": 1}, optim={"batch_videos": 64, "epochs": 1}))
    assert "cider" not in rows(tmp_path / "run", "validation")[0]


def test_wrong_input_is_told_in_one_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        ("--data.dataset", "msvd"): "needs --data.root",
        ("--data.dataset", "msvd", "--data.root", str(tmp_path)): "youtube_mapping.txt",
        ("--run.device", "cuda:77"): "device 'cuda:77' is not to be had here",
        ("--optim.epochs", "0"): "epochs must be greater than 0; got 0",
        ("--data.min_count", "1000000", "--data.store", str(store), "--world.train", "8", "--world.val", "3",
         "--world.test", "3"): "no word occurs 1000000 times",
    }  # fmt: skip
    for number, (argv, words) in enumerate(cases.items()):
        assert run_command(FitConfig, main, "", [*argv, "--run.out", str(tmp_path / f"r{number}")]) == 2, argv
        shown = capsys.readouterr().err
        assert words in shown
        assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(("videos", "score"), [(1, "BLEU-4"), (2, "CIDEr")])
def test_the_last_line_names_the_score_that_the_model_was_chosen_by(videos: int, score: str) -> None:
    """A single video has no CIDEr."""
    assert _best(Position(best=0.25, best_epoch=1), ["v"] * videos) == f"best validation {score} 0.250 (epoch 2)"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_output_that_fails_ends_no_training(
    number: int, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader that has left, a full disk, a closed terminal."""
    config = settings(store, tmp_path / "run", optim={"epochs": 1})
    with failing_output(monkeypatch, number):
        assert run_command(FitConfig, lambda _: main(config), "", []) == 0
    assert json.loads((tmp_path / "run" / "state.json").read_text())["status"] == "finished"
    assert "best validation CIDEr" in (tmp_path / "run" / "train.log").read_text()
    assert capsys.readouterr().err == ""


def test_training_goes_on_without_standard_output(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(store, tmp_path / "run", optim={"epochs": 1})
    monkeypatch.setattr("sys.stdout", None)  # as Python has it where it was closed
    monkeypatch.setenv("TERM", "dumb")
    assert run_command(FitConfig, lambda _: main(config), "", []) == 0
    assert json.loads((tmp_path / "run" / "state.json").read_text())["status"] == "finished"


def test_the_step_size_follows_its_schedule(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    def recorded(model: Any, batch: Any, optimiser: torch.optim.Optimizer, *given: Any, **more: Any) -> StepResult:
        found.append(optimiser.param_groups[0]["lr"])
        return train_step(model, batch, optimiser, *given, **more)

    monkeypatch.setattr("stg.training.loop.train_step", recorded)
    config = settings(store, tmp_path / "run", optim={"schedule": "cosine", "warmup": 1.0, "clip_norm": 5.0})
    run(config)
    per_epoch = len(found) // 2
    assert found == pytest.approx([step_size(config.optim, step / per_epoch) for step in range(len(found))], rel=1e-9)
    assert len(set(found)) == len(found)


def test_a_model_that_reads_tracks_trains_is_kept_and_captions(store: Path, tmp_path: Path) -> None:
    changes = {
        "model": {"branches": "joint", "readout": "tracks"},
        "graph": {"conv": "typed", "layers": 1, "box": "linear", "geometry": True, "track_layers": 1},
    }
    out = tmp_path / "run"
    with pytest.raises(Preempted):
        run(settings(store, out, **changes), stop=stop_after(3, out))
    run(settings(store, out, **changes))
    run(settings(store, tmp_path / "whole", **changes))
    found = [CaptionerBundle.load(path / "model.safetensors") for path in (out, tmp_path / "whole")]
    for name, weight in found[0].captioner.state_dict().items():
        assert torch.equal(weight, found[1].captioner.state_dict()[name]), name
    assert found[0].captioner.reads == {"scene", "objects"}
    relations = found[0].captioner.readout.relations[0]  # type: ignore[union-attr, index]
    assert bool((relations.output.weight != 0).any())  # type: ignore[union-attr, operator]


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_signal_saves_and_exits_75_and_the_same_command_goes_on(
    store: Path, tmp_path: Path, python: list[str]
) -> None:
    out = tmp_path / "run"
    options = {
        "data.store": store, "data.min_count": 1, "world.train": 8, "world.val": 3, "world.test": 3,
        "model.channels": 16, "model.heads": 2, "model.hidden": 16, "optim.epochs": 500, "optim.patience": 500,
        "run.out": out, "run.threads": 1,
    }  # fmt: skip
    argv = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [*python, "-m", "stg.fit", *argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (out / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert "the same command resumes from there" in errors
    assert json.loads((out / "state.json").read_text())["status"] == "preempted"
    assert list((out / "checkpoints").glob("step-*.safetensors"))
