"""The run of a teacher: whether it may teach another run, its model, and what it reads."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from stg.config.schema import describe, differences, to_dict
from stg.config.training import FitConfig
from stg.data.feature_check import check_features, compare_versions
from stg.models.statistics import classes_read
from stg.runs.bundle import CaptionerBundle
from stg.runs.folder import RunFolder
from stg.runs.model_file import model_file
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.runtime.reading import number
from stg.runtime.reporter import SILENT, Reporter
from stg.training.setup import TrainingSetup
from stg.training.teacher import Teacher


def check_teacher(config: FitConfig) -> None:
    """Refuse a teacher before anything is made: by its settings, and by its scores on validation.

    The teacher must beat ``teacher.baseline``, or ``run.start``, in the validation score that their runs have recorded.
    Without either there is nothing to compare with before the training: see `compare_with_teacher`.

    Raises:
        UserError: naming both runs, what differs, and what to do.
    """
    if config.run.teacher is None:
        return
    model_file(config.run.teacher)
    teacher = RunFolder(config.run.teacher)
    if config.run.out is not None and Path(config.run.out).resolve() == teacher.path.resolve():
        raise UserError(f"{teacher} cannot teach itself: choose another --run.out")
    _require_same_data(teacher, config, "teacher")
    if teacher.config.run.control != config.run.control:
        raise UserError(
            f"the teacher {teacher} was trained with run.control {teacher.config.run.control}, and this run has "
            f"{config.run.control}: a control learns from a control; train such a teacher"
        )
    if (baseline := _baseline(config)) is None:
        return
    _require_same_data(baseline, config, "baseline")
    (name, best), (_, compared) = best_validation(teacher), best_validation(baseline)
    if best <= compared:
        option = "teacher.baseline" if config.teacher.baseline is not None else "run.start"
        raise UserError(
            f"the teacher {teacher} reaches {name} {best:.3f} on validation, and {baseline} (--{option}) "
            f"{compared:.3f}: a teacher must be better than its student; give another by --run.teacher"
        )


def open_teacher(
    config: FitConfig,
    setup: TrainingSetup,
    device: torch.device,
    *,
    ranks: Ranks = SINGLE,
    reporter: Reporter = SILENT,
) -> Teacher | None:
    """The teacher of a run, on ``device``; ``setup.data`` then also reads the edges that it needs. None without one.

    The generators of torch are left as they were: a run draws the same numbers with a teacher and without.

    Raises:
        UserError: other words or features than this run's, or a lesson that several processes cannot have.
    """
    if config.run.teacher is None:
        return None
    folder = RunFolder(config.run.teacher)
    if config.teacher.what == "relations" and ranks.is_distributed:
        raise UserError(
            "teacher.what relations compares the videos of a whole batch, of which each process of torchrun has a "
            "part: train in one process, or take logits or features"
        )
    regression = None
    with torch.random.fork_rng(devices=[]):
        theirs = folder.bundle()
        if config.teacher.what == "features":
            regression = nn.Linear(config.model.channels, theirs.model.channels).to(device)
            ranks.broadcast_module(regression)
    _require_fitting(theirs, folder, setup, reporter)
    theirs.captioner.to(device)
    _read_for(theirs, setup)
    name, best = best_validation(folder)
    sha256 = sha256_file(folder.model_file)
    reporter.say(f"teacher {folder} (sha256 {sha256[:12]}): best validation {name} {best:.3f}")
    return Teacher(
        theirs.captioner,
        what=config.teacher.what,
        where=config.teacher.where,
        settings=config.loss,
        regression=regression,
        sha256=sha256,
    )


def compare_with_teacher(config: FitConfig, best: float) -> str:
    """One line on the validation scores of a run that has ended, its teacher and its baseline.

    Args:
        best: validation score of the run.
    """
    assert config.run.teacher is not None
    name, taught = best_validation(RunFolder(config.run.teacher))
    line = f"validation {name}: teacher {taught:.3f}, student {best:.3f}"
    if (baseline := _baseline(config)) is not None:
        return f"{line}, {baseline} {best_validation(baseline)[1]:.3f}"
    if best >= taught:
        return (
            f"{line}: the teacher is not better than its student, and may have taught it nothing; compare with a run "
            "without it (--teacher.baseline)"
        )
    return f"{line}; what the teacher adds, a run without it shows (--teacher.baseline)"


def best_validation(run: RunFolder) -> tuple[str, float]:
    """The score by which the model of a run was chosen, and its name: CIDEr, or BLEU-4 of a single video.

    Raises:
        UserError: the run has recorded none.
    """
    rows = [row for kind in ("start", "validation") for row in run.metrics.of_kind(kind)]
    for key, name in (("cider", "CIDEr"), ("bleu4", "BLEU-4")):
        scores = [score for row in rows if (score := number(row.get(key))) is not None]
        if scores:
            return name, max(scores)
    raise UserError(f"{run} has no validation in {run.metrics_file.name}: a teacher is compared by it; train it again")


def _baseline(config: FitConfig) -> RunFolder | None:
    path = config.teacher.baseline or config.run.start
    return RunFolder(path) if path is not None else None


def _require_same_data(run: RunFolder, config: FitConfig, role: str) -> None:
    def described(settings: FitConfig) -> dict[str, object]:
        world = {"world": to_dict(settings.world)} if settings.data.dataset == "world" else {}
        _, *others = settings.data.sets
        return {"data": {"dataset": settings.data.dataset, "more": ", ".join(others)}, **world}

    if changed := differences(described(run.config), described(config)):
        listed = describe(changed, "{old!r} there, {new!r} here")
        raise UserError(
            f"the {role} {run} was trained on other videos than this run ({listed}): give one that was trained on "
            "these, or the settings of then"
        )


def _require_fitting(theirs: CaptionerBundle, folder: RunFolder, setup: TrainingSetup, reporter: Reporter) -> None:
    """Refuse a teacher whose words mean others, or whose features were made otherwise."""
    words = setup.trained.vocabulary
    if theirs.vocabulary.fingerprint != words.fingerprint:
        raise UserError(
            f"the teacher {folder} has other words ({len(theirs.vocabulary)}, cut at {theirs.vocabulary.max_words} a "
            f"caption) than this run ({len(words)}, cut at {words.max_words}): take the same captions, data.min_count "
            "and data.max_words for both"
        )
    check_features(theirs.features, setup.store, f"teacher {folder}")
    compare_versions(theirs.made_with, setup.store, str(folder), reporter)


def _read_for(theirs: CaptionerBundle, setup: TrainingSetup) -> None:
    """Let the batches of a training hold what the teacher reads: in the student's graphs, or in graphs of its own."""
    data, source = setup.data, setup.data.source
    classes = classes_read(theirs.captioner, setup.dataset.category, theirs.model.stats.categories, setup.dataset.name)
    graph = theirs.graph if theirs.captioner.objects is not None else source
    needed = replace(
        source,
        variant=graph.variant,
        time_flow=graph.time_flow,
        category=source.category if classes is None else classes,
    )
    # A student that reads no graph does not mind whose edges there are: each video is read once.
    if setup.trained.captioner.objects is None:
        source = replace(source, variant=needed.variant, time_flow=needed.time_flow)
    if source == needed:
        data.source = source
    else:
        data.teacher_source = needed
