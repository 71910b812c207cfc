"""Learning from a frozen run on a tiny world: what is refused, resuming, several processes, schedules of the weight."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graphs import GraphStore
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig, TeacherConfig
from stg.datasets.open import open_dataset
from stg.runs.bundle import CaptionerBundle
from stg.runs.folder import RunFolder
from stg.runs.tensors import load_tensors
from stg.runtime.distributed import Ranks
from stg.runtime.errors import Preempted, UserError
from stg.runtime.reporter import Reporter
from stg.training.loop import fit
from stg.training.teacher import Teacher
from stg.training.teacher_run import best_validation
from tests.stg.changed import with_changes

WORLD = WorldConfig(train=8, val=3, test=3)
JOINT = {
    "model": {"branches": "joint", "readout": "tracks", "channels": 24},
    "graph": {"conv": "typed", "variant": "spatial", "layers": 1, "track_layers": 1, "box": "linear"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def settings(store: Path, out: Path, **changes: Any) -> FitConfig:
    config = FitConfig(
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        graph=GraphConfig(),
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1, branches="scene"),
        optim=OptimConfig(lr=3e-3, batch_videos=4, epochs=2, captions_per_video=2, epoch_captions=2),
        run=RunConfig(out=str(out), samples=0, save_minutes=1000.0),
    )
    return with_changes(config, changes)


class Stopping(Reporter):
    """``lines``: what was said; asks for a stop when ``stop`` says so."""

    def __init__(self, stop: Callable[[], bool] = lambda: False) -> None:
        self.lines, self.should_stop = [], stop  # type: ignore[method-assign]

    def say(self, line: str) -> None:
        self.lines.append(line)


def run(config: FitConfig, stop: Callable[[], bool] = lambda: False, ranks: Ranks | None = None) -> str:
    """Train and return what was said."""
    reporter = Stopping(stop)
    fit(config, reporter=reporter, ranks=ranks)
    return "\n".join(reporter.lines)


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return CaptionerBundle.load(out / "model.safetensors").captioner.state_dict()


def scored(run: Path, cider: float) -> Path:
    """Let a run have recorded this score."""
    (run / "metrics.jsonl").write_text(json.dumps({"kind": "validation", "step": 1, "epoch": 0, "cider": cider}) + "\n")
    return run


@pytest.fixture(scope="module")
def joint(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that reads scene, objects and tracks, wider than its students, with another graph than they name."""
    out = tmp_path_factory.mktemp("joint") / "joint"
    run(settings(store, out, **JOINT))
    return out


@pytest.fixture(scope="module")
def scene(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student without a teacher."""
    out = tmp_path_factory.mktemp("scene") / "scene"
    run(settings(store, out))
    return out


def test_weight_0_changes_nothing_and_weight_1_teaches(store: Path, joint: Path, scene: Path, tmp_path: Path) -> None:
    run(settings(store, tmp_path / "zero", run={"teacher": str(joint)}, teacher={"weight": 0.0}))
    expected = weights(scene)
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "zero").items())
    shown = run(settings(store, tmp_path / "one", run={"teacher": str(joint)}))
    assert f"teacher {joint} (sha256 " in shown
    assert "what the teacher adds" in shown or "may have taught it nothing" in shown
    found = weights(tmp_path / "one")
    assert found.keys() == expected.keys()  # a scene model, as without a teacher
    assert not all(torch.equal(value, expected[name]) for name, value in found.items())
    zero, one = rows(tmp_path / "zero", "step"), rows(tmp_path / "one", "step")
    assert all(row["loss"] == pytest.approx(row["scene"]) and row["teacher"] > 0 for row in zero)
    assert all(row["loss"] == pytest.approx(row["scene"] + row["teacher"]) for row in one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"min_count": 2}}, r"the teacher \S+ has other words \(\d+, cut at 30 a caption\) than this run"),
        (
            {"data": {"max_words": 5}},
            r"cut at 30 a caption\) than this run \(\d+, cut at 5\): .* data.max_words for both",
        ),
        ({"world": {"seed": 1}}, r"trained on other videos than this run \(world.seed: 0 there, 1 here\)"),
        ({"run": {"control": "shuffle"}}, r"run.control none, and this run has shuffle"),
        ({"run": {"out": ""}}, r"joint cannot teach itself: choose another --run.out"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, store: Path, joint: Path, tmp_path: Path
) -> None:
    config = settings(store, tmp_path / "run", **changes)
    out = str(tmp_path / "run") if config.run.out else str(joint)
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, out=out, teacher=str(joint)))
    with pytest.raises(UserError, match=message):
        run(config)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_features_or_of_nothing_is_refused(store: Path, joint: Path, tmp_path: Path) -> None:
    # The same graphs without their tracks, which this teacher reads.
    other = tmp_path / "other"
    with GraphStore(store) as old:
        manifest = {name: value for name, value in old.manifest.items() if name != "tracks"}
        with GraphStore(other, "w", manifest=manifest) as new:
            for video in old:
                new.put(video, old.get(video))
    with pytest.raises(UserError, match=rf"features in {other} do not fit this teacher {joint}: tracks: trained on"):
        run(settings(other, tmp_path / "run", run={"teacher": str(joint)}))
    with pytest.raises(UserError, match=r"nowhere holds no trained model"):
        run(settings(store, tmp_path / "run", run={"teacher": str(tmp_path / "nowhere")}))
    assert not (tmp_path / "run").exists()


def test_options_of_a_teacher_need_one() -> None:
    for teacher in ({"weight": 0.5}, {"baseline": "runs/scene"}):
        with pytest.raises(ValueError, match=r"options below teacher. are .* name it by run.teacher"):
            FitConfig(teacher=TeacherConfig(**teacher))
    with pytest.raises(ValueError, match=r"teacher.where better compares words, .* features"):
        TeacherConfig(what="features", where="better")
    with pytest.raises(ValueError, match=r"relations compares the videos of a step: .* 2 or more"):
        FitConfig(
            run=RunConfig(teacher="t"), teacher=TeacherConfig(what="relations"), optim=OptimConfig(batch_videos=1)
        )


@pytest.mark.parametrize("option", ["teacher.baseline", "run.start"])
def test_a_teacher_must_beat_the_baseline(option: str, store: Path, joint: Path, scene: Path, tmp_path: Path) -> None:
    teacher, student = scored(shutil.copytree(joint, tmp_path / "t"), 1.25), shutil.copytree(scene, tmp_path / "s")
    section, name = option.split(".")

    def asked(cider: float) -> FitConfig:
        scored(student, cider)
        changes: dict[str, dict[str, Any]] = {"run": {"teacher": str(teacher)}, "optim": {"epochs": 1}}
        changes.setdefault(section, {})[name] = str(student)
        return settings(store, tmp_path / "run", **changes)

    for cider in (1.25, 1.5):
        words = (
            rf"teacher \S+/t reaches CIDEr 1.250 on validation, and \S+/s \(--{option}\) {cider:.3f}: a teacher must"
        )
        with pytest.raises(UserError, match=words):
            run(asked(cider))
    assert not (tmp_path / "run").exists()
    shown = run(asked(1.0))
    assert "best validation CIDEr 1.250" in shown
    best = max(row["cider"] for kind in ("start", "validation") for row in rows(tmp_path / "run", kind))
    assert f"validation CIDEr: teacher 1.250, student {best:.3f}, {student} 1.000" in shown


def test_without_a_baseline_the_end_says_who_is_better(store: Path, joint: Path, tmp_path: Path) -> None:
    for cider, words in ((0.0, "may have taught it nothing"), (9.0, "what the teacher adds, a run without it shows")):
        teacher = scored(shutil.copytree(joint, tmp_path / f"t{cider}"), cider)
        shown = run(settings(store, tmp_path / f"{cider}", run={"teacher": str(teacher)}, optim={"epochs": 1}))
        assert f"validation CIDEr: teacher {cider:.3f}, student " in shown
        assert words in shown


@pytest.mark.parametrize("what", ["logits", "features"])
def test_a_taught_run_resumes_and_its_teacher_may_move_but_not_change(
    what: Any, store: Path, joint: Path, scene: Path, tmp_path: Path
) -> None:
    teacher = shutil.copytree(joint, tmp_path / "teacher")
    lesson = {"what": what, "schedule": "decay"}
    run(settings(store, tmp_path / "whole", run={"teacher": str(teacher)}, teacher=lesson))
    out = tmp_path / "run"
    config = settings(store, out, run={"teacher": str(teacher)}, teacher=lesson)
    with pytest.raises(Preempted):
        run(config, stop=lambda: (out / "metrics.jsonl").exists() and len(rows(out, "step")) >= 3)
    moved = teacher.rename(tmp_path / "moved")
    changed = shutil.copytree(joint, tmp_path / "changed")
    for name in ("model.safetensors", "model.sha256"):
        shutil.copy(scene / name, changed / name)
    with pytest.raises(UserError, match=rf"the teacher {changed} is another than the one that {out} was started with"):
        run(settings(store, out, run={"teacher": str(changed)}, teacher=lesson))
    with pytest.raises(UserError, match=r"run.teacher: was .*moved|run.teacher: was .*teacher"):
        run(settings(store, out))
    assert "resuming at step" in run(settings(store, out, run={"teacher": str(moved)}, teacher=lesson))
    expected = weights(tmp_path / "whole")
    assert all(torch.equal(value, expected[name]) for name, value in weights(out).items())
    steps = rows(out, "step")
    assert [row["teacher"] for row in steps] == [row["teacher"] for row in rows(tmp_path / "whole", "step")]
    first, last = (load_tensors(path)[0] for path in sorted((out / "checkpoints").glob("*.safetensors")))
    learned = {name for name, value in last.items() if "regression" in name and not value.equal(first[name])}
    assert ("model.regression.weight" in learned) == (what == "features")
    # It falls with every step: the last one but a quarter of an epoch before the end.
    share = (steps[-1]["loss"] - steps[-1]["scene"]) / steps[-1]["teacher"]
    assert share == pytest.approx(1 / len(steps), rel=1e-3)


class FirstOfTwo(Ranks):
    """The first of two processes, the other of which has no part in any batch."""

    def __init__(self) -> None:
        super().__init__(0, 2)

    def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def broadcast_module(self, model: torch.nn.Module) -> None:
        pass


def test_relations_are_for_one_process(store: Path, joint: Path, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run", run={"teacher": str(joint)}, teacher={"what": "relations"})
    with pytest.raises(UserError, match=r"relations compares the videos of a whole batch, .* train in one process"):
        run(config, ranks=FirstOfTwo())
    run(config)
    assert all(row["teacher"] > 0 for row in rows(tmp_path / "run", "step"))


def test_a_student_that_reads_its_own_words_and_rewards_has_a_teacher(store: Path, joint: Path, tmp_path: Path) -> None:
    run(
        settings(
            store,
            tmp_path / "run",
            model={"decoder": "attention_lstm"},
            optim={"scheduled_sampling": 2.0, "epochs": 1},
            reward={"weight": 0.5, "from_epoch": 0, "samples": 2, "baseline": "leave_one_out"},
            run={"teacher": str(joint)},
        )
    )
    for row in rows(tmp_path / "run", "step"):
        taught = row["scene"] + row["teacher"]
        assert row["loss"] == pytest.approx(0.5 * taught + 0.5 * row["reward_loss"], rel=1e-4)


def test_an_object_student_and_its_teacher_read_edges_of_their_own(store: Path, joint: Path, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run", model={"branches": "object"}, run={"teacher": str(joint)})
    seen: list[tuple[set[int], set[int]]] = []
    loss = Teacher.loss

    def watched(self: Teacher, batch: Any, *args: Any) -> Any:
        assert batch.teacher_graphs is not None
        seen.append((set(batch.graphs.edge_type.tolist()), set(batch.teacher_graphs.edge_type.tolist())))
        return loss(self, batch, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teacher, "loss", watched)
        run(config)
    assert seen
    assert all(student == {0, 1} and teacher == {0} for student, teacher in seen)


def test_the_score_of_a_run_is_its_best_and_must_be_there(scene: Path, tmp_path: Path) -> None:
    found = [row["cider"] for row in rows(scene, "validation")]
    assert best_validation(RunFolder(scene)) == ("CIDEr", max(found))
    with pytest.raises(UserError, match=r"has no validation in metrics.jsonl"):
        best_validation(RunFolder(tmp_path))
