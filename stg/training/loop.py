"""The training loop."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from stg.config.training import FitConfig
from stg.data.batches import CaptionBatch, Item, TrainingSet, load_share
from stg.data.prefetch import prefetch
from stg.metrics.java import JavaError, java
from stg.models.captioner import Captioner
from stg.runs.bundle import CaptionerBundle
from stg.runs.checkpoints import Checkpoints
from stg.runs.folder import RunFolder, default_folder
from stg.runs.tensors import remove_tensors
from stg.runs.training_run import TrainingRun
from stg.runtime.device import pick_device
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import StgError, UserError
from stg.runtime.files import fingerprint
from stg.runtime.reporter import SILENT, Reporter
from stg.training.averaging import average_of
from stg.training.objective import Objective
from stg.training.schedules import OPTIMISERS
from stg.training.setup import TrainingSetup, check_training, set_up
from stg.training.state import Position, TrainingState
from stg.training.step import OutOfMemory, StepResult, train_step
from stg.training.teacher_run import check_teacher, compare_with_teacher, open_teacher
from stg.training.trackers import Tracker, Tracking, check_trackers
from stg.training.validation import Validated


def fit(
    config: FitConfig,
    *,
    reporter: Reporter = SILENT,
    ranks: Ranks | None = None,
    trackers: Sequence[Tracker] = (),
) -> RunFolder:
    """Train as ``config`` says and return the run folder; an unfinished run in it is resumed.

    With ``ranks``, each of which calls this, all take part in each step: losses and gradients are those of one
    process with the whole batch, to rounding. What is drawn (dropout, a decoder's own words, captions to be rewarded)
    depends on their number. The first of them writes and reports. None: this process alone.

    Args:
        reporter: receives lines and steps; its ``should_stop`` is asked after each step.
        trackers: receive losses and scores, in addition to those that ``config.run.trackers`` names.

    Raises:
        Preempted: the reporter asked for a stop; a checkpoint is saved.
        UserError: settings, data and run folder do not fit each other.
        StgError: the loss is not finite `stg.training.state.NAN_LIMIT` times in a row.
        ProcessLost: another process has ended.
    """
    # Before the folder is touched: settings that are refused leave nothing behind.
    check_training(config)
    check_teacher(config)
    check_trackers(config, trackers)
    ranks = ranks or SINGLE
    folder = Path(config.run.out) if config.run.out else default_folder(config)
    with TrainingRun(folder, config, ranks.rank) as run:
        shown = run.reporter(reporter)
        with Tracking(config, trackers, rank=ranks.rank, warn=shown.say) as tracking:
            run.listeners.append(tracking.log)
            _train(config, run, shown, ranks, tracking)
    return run.folder


def _train(config: FitConfig, run: TrainingRun, reporter: Reporter, ranks: Ranks, tracking: Tracking) -> None:
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    device = pick_device(config.run.device)
    # Before the model is made: its first weights are drawn from this seed.
    torch.manual_seed(config.run.seed)
    setup = set_up(config, device, reporter=reporter, ranks=ranks)
    # Short names: the loop below is read more often than this line.
    model, data, validate, reward = setup.trained.captioner, setup.data, setup.validation, config.reward
    teacher = open_teacher(config, setup, device, ranks=ranks, reporter=reporter)
    # A layer that only the teacher's loss needs is trained and saved along with the model, and exported with none.
    trained = model if teacher is None else teacher.trained_along(model)
    optimiser = OPTIMISERS[config.optim.algorithm](list(trained.parameters()), config.optim)
    average = None if config.optim.ema is None else average_of(model, config.optim.ema)
    # What is validated and exported.
    judged = setup.trained if average is None else replace(setup.trained, captioner=cast(Captioner, average.module))
    state = TrainingState(
        Checkpoints(run.folder.checkpoints),
        trained if average is None else nn.ModuleDict({"trained": trained, "average": average}),
        optimiser,
        # A checkpoint of other words or features has weights that mean something else: it is refused.
        made_of={
            "vocabulary": setup.trained.vocabulary.fingerprint,
            "features": fingerprint(setup.store.manifest),
            # The same words may stand in other captions, or belong to other videos.
            "captions": fingerprint([list(setup.dataset.references(split).items()) for split in ("train", "val")]),
            **({"teacher": teacher.sha256} if teacher is not None else {}),
        },
        epochs=config.optim.epochs,
        patience=config.optim.patience,
        export=lambda: _export(judged, run.folder),
        ranks=ranks,
    )
    # Before anything is written: a run that is refused, or finished, stays as it is.
    _restore(state, run, setup, reporter)
    if state.finished:
        reporter.say(f"{run.folder} is finished: {_best(state.at, setup.validation.videos)}")
        return
    _begin(state, config, run, setup, reporter)
    if average is not None and not int(average.n_averaged):
        average.update_parameters(model)  # with the weights that it begins with
    tracking.open(run.folder, state.at.step)
    if config.run.start and not state.at.step:
        # What it begins with is judged too: training that only makes it worse leaves it as the best.
        found = validate(judged.captioner, device, ranks=ranks, reporter=reporter)
        if found is None:
            state.interrupt(run.set_state)
        run.log(kind="start", step=0, **found.scores.values, broken_endings=found.broken)
        reporter.say(f"at the start  {found}  {found.endings}")
        state.save_best(found.judged)

    model.train()
    with (
        Objective(
            config, setup.captions, setup.trained.vocabulary, device=device, teacher=teacher, ranks=ranks
        ) as objective,
        reporter.training_bar(config.optim.epochs) as show,
    ):
        while not state.finished:
            # Temperature, the decoder's own words, rewards and their step size.
            if objective.start_epoch(state.at.epoch, model, optimiser):
                reporter.say(f"learning from rewards from epoch {state.at.epoch + 1} on, share {reward.weight:g}")
            batches = data.epoch(state.at.epoch)
            # A resumed epoch draws the same batches again and begins where the checkpoint was saved.
            for items, batch in _loaded(data, batches[state.at.batch :], ranks):
                objective.start_step(state.at.epoch + state.at.batch / len(batches), optimiser)
                with _checkpoint_in_trouble(state):
                    result = train_step(
                        model,
                        batch.to(device, non_blocking=True),
                        optimiser,
                        objective,
                        ranks=ranks,
                        clip_norm=config.optim.clip_norm,
                    )
                if average is not None and result.finite:
                    average.update_parameters(model)
                # Count first: the log and a checkpoint must name the same step.
                state.advance(result)
                _log_step(state, result, items, run, reporter)
                state.require_finite(run.folder.metrics_file)
                show(state.at.epoch, state.at.batch, len(batches), result.losses)
                state.save_if_due(config.run.save_minutes, stop=reporter.should_stop(), record=run.set_state)

            found = validate(judged.captioner, device, ranks=ranks, reporter=reporter)
            if found is None:
                state.interrupt(run.set_state)
            # Of the epoch that ends here.
            loss, epoch = state.loss, state.at.epoch
            # Patience must not end the run before its rewards have begun.
            improved = state.end_epoch(found.judged, patience_from=reward.from_epoch if reward.weight else 0)
            samples = {video: found.texts[video] for video in validate.videos[: config.run.samples]}
            _log_validation(run, state.at.step, epoch, loss, found, samples)
            # The model is on disk before the checkpoint says so: a kill in between only repeats work.
            if improved:
                state.save_best(found.judged)
            state.save()
            run.set_state("running", step=state.at.step, epoch=state.at.epoch, best=state.at.best)
            # Broken endings are a matter of rewards: shown from the last epoch before them on.
            endings = bool(reward.weight) and state.at.epoch >= reward.from_epoch
            _report_validation(reporter, state.at.epoch, loss, found, improved=improved, endings=endings)
            for video, text in samples.items():
                reporter.say(f"    {video}: {text}   (a reference: {setup.dataset.captions[video][0]})")
            # All processes stop at the same place: one that went on alone would wait for the others.
            if any(ranks.any(reporter.should_stop())):
                state.interrupt(run.set_state)

    run.set_state("finished", step=state.at.step, epoch=state.at.epoch, best=state.at.best)
    if teacher is not None:
        reporter.say(compare_with_teacher(config, state.at.best))
    reporter.say(f"{_best(state.at, setup.validation.videos)}. Next: python -m stg.evaluate {run.folder}")


def _restore(state: TrainingState, run: TrainingRun, setup: TrainingSetup, reporter: Reporter) -> None:
    """Take up the last checkpoint, unless the run was started with something else."""
    changed = state.restore(warn=reporter.say)
    # Processes that read different folders would average the gradients of different models.
    if not state.ranks.agree(state.at.step, state.model):
        raise UserError(
            f"the run folder {run.folder} is not the same for all processes: it must lie where all of them see it"
        )
    # Refused by name, since what the user has to change differs.
    if "vocabulary" in changed:
        raise UserError(
            f"the captions have changed since {run.folder} was started (other vocabulary): use another --run.out"
        )
    if "captions" in changed:
        raise UserError(
            f"the captions, or the videos that have any, have changed since {run.folder} was started: use another "
            "--run.out"
        )
    if "teacher" in changed:
        raise UserError(
            f"the model of the teacher {run.config.run.teacher} is another than the one that {run.folder} was started "
            "with: give the one of then by --run.teacher, or another --run.out"
        )
    if "features" in changed:
        raise UserError(
            f"the features in {setup.store.path} were made otherwise than those that {run.folder} was started with: "
            "give the store of then, or another --run.out"
        )


def _begin(state: TrainingState, config: FitConfig, run: TrainingRun, setup: TrainingSetup, reporter: Reporter) -> None:
    """Open the run folder for writing, now that nothing is left to refuse, and say what is trained."""
    ranks, step = state.ranks, state.at.step
    if config.reward.weight and config.reward.meteor:
        java()  # or it would be missed only when its epoch comes
    ranks.barrier()  # so that all have read the folder before one writes
    run.begin()
    # Steps logged after the last checkpoint are made again: their lines would be there twice.
    run.rewind(step, validated=state.at.batch == 0)
    run.set_state("running", step=step)
    # A checkpoint of before the first step holds these weights, and the random numbers that follow.
    if config.run.start and not state.header:
        fresh = setup.trained.initialise_from(config.run.start)
        reporter.say(
            f"beginning with the weights of {config.run.start}" + (f"; {fresh:,} others are new" if fresh else "")
        )
    if state.header and state.saved_by != ranks.world_size:
        reporter.say(
            f"the last checkpoint is that of {state.saved_by} processes, {ranks.world_size} resume: same samples, "
            "other draws"
        )
    # A process that had no part in the checkpoint must not draw what another one draws.
    if ranks.rank >= state.saved_by:
        ranks.seed_per_rank(config.run.seed, step)
    size = sum(weight.numel() for group in state.optimiser.param_groups for weight in group["params"]) / 1e6
    device = next(state.model.parameters()).device
    reporter.say(
        f"{run.folder}: {setup.dataset.name}, {len(setup.data.captions)} training videos, "
        f"{len(setup.trained.vocabulary)} words, {size:.2f}M weights, {device}"
        + (f"; resuming at step {step}" if step else "")
    )


def _loaded(
    data: TrainingSet, batches: Sequence[tuple[Item, ...]], ranks: Ranks
) -> Iterator[tuple[tuple[Item, ...], CaptionBatch]]:
    """Each batch with this process's share of it, read while the step before runs."""
    return zip(batches, prefetch(lambda items: load_share(data.load, items, ranks), batches), strict=True)


@contextmanager
def _checkpoint_in_trouble(state: TrainingState) -> Iterator[None]:
    """Save what is learned where a step fails for want of memory, or of METEOR."""
    try:
        yield
    except OutOfMemory as error:
        kept = state.save_in_trouble()
        raise StgError(
            f"out of memory at step {state.at.step} with {error.batch} ({kept}): lower --optim.batch_videos"
        ) from error
    except JavaError:
        state.save_in_trouble()
        raise


def _log_step(
    state: TrainingState, result: StepResult, items: Sequence[Item], run: TrainingRun, reporter: Reporter
) -> None:
    step, epoch = state.at.step, state.at.epoch
    if result.finite:
        run.log(kind="step", step=step, epoch=epoch, norm=result.norm, **result.losses)
        return
    # The videos are named: a broken feature is the likeliest cause.
    videos = [item.video for item in items]
    run.log(kind="broken", step=step, epoch=epoch, videos=videos)
    reporter.say(f"step {step}: loss or gradient is not finite, step not applied; videos: {', '.join(videos[:4])} ...")


def _log_validation(
    run: TrainingRun, step: int, epoch: int, loss: float, found: Validated, samples: Mapping[str, str]
) -> None:
    scores, broken = found.scores.values, found.broken
    run.log(kind="validation", step=step, epoch=epoch, loss=loss, **scores, broken_endings=broken, samples=samples)


def _report_validation(
    reporter: Reporter, epoch: int, loss: float, found: Validated, *, improved: bool, endings: bool
) -> None:
    line = f"epoch {epoch:3d}  loss {loss:.3f}  {found}" + (f"  {found.endings}" if endings else "")
    reporter.say(line + ("  best so far" if improved else ""))


def _export(trained: CaptionerBundle, folder: RunFolder) -> None:
    """Write the model that captions, and with it the whole one if it has parts that only training needs."""
    # The small file is what other commands open; the whole one is for training that starts from it.
    trained.save(folder.model_file)
    if trained.captioner.for_captioning() is not trained.captioner:
        trained.save(folder.whole_file, whole=True)
    else:
        # Of a version that wrote one for models like this: it would be taken for the best.
        remove_tensors(folder.whole_file)


def _best(at: Position, videos: Sequence[str]) -> str:
    # What the model was chosen by: a single video has no CIDEr.
    name = "CIDEr" if len(videos) > 1 else "BLEU-4"
    when = f"epoch {at.best_epoch + 1}" if at.best_epoch >= 0 else "at the start"
    return f"best validation {name} {at.best:.3f} ({when})"
