"""The training loop."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import torch
from rich.console import Console

from stg.config.training import FitConfig
from stg.data.batches import load_share
from stg.data.prefetch import read_ahead
from stg.metrics.java import JavaError, java
from stg.runs.checkpoints import Checkpoints, random_states
from stg.runs.folder import default_folder
from stg.runs.training_run import TrainingRun, logger
from stg.runtime.device import autocast, pick_device
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.files import printable
from stg.runtime.progress import progress_bar, training
from stg.runtime.signals import until_stopped
from stg.training.losses import captioning_losses
from stg.training.reinforce import mixed, reward_losses
from stg.training.rewards import Rewards
from stg.training.schedules import OPTIMISERS, annealed, given_words
from stg.training.setup import check_training, set_up
from stg.training.state import Position

pass


NAN_LIMIT = 3


def fit(
    config: FitConfig,
    *,
    console: Console,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> int:
    """Train as ``config`` says; ``stop`` is asked after each step.

    With ``ranks``, each of which calls this, all take part in each step: losses and gradients are those of one
    process with the whole batch, to rounding. What is drawn (dropout, a decoder's own words, captions to be rewarded)
    depends on their number. The first of them writes and prints. None: this process alone.

    Raises:
        Preempted: ``stop`` said so; a checkpoint is saved.
        UserError: settings, data and run folder do not fit each other.
        StgError: the loss is not finite `NAN_LIMIT` times in a row.
        ProcessLost: another process does not go on.
    """

    check_training(config)
    folder = Path(config.run.out) if config.run.out else default_folder(config)
    ranks = ranks or SINGLE
    with TrainingRun(folder, config, ranks.rank) as run:
        return _train(config, run, console, stop, ranks)


def _train(config: FitConfig, run: Any, console: Console, stop: Callable[[], bool], ranks: Ranks) -> int:

    if not ranks.is_main:
        console = Console(quiet=True, force_terminal=False)

    def tell(line: str) -> None:
        if not ranks.is_main:
            return
        line = printable(line)
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        logger.info(line)

    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    device = pick_device(config.run.device)
    torch.manual_seed(config.run.seed)

    with progress_bar(console, "making the videos' graphs") as progress:
        setup = set_up(config, device, progress=until_stopped(progress, stop), tell=tell, ranks=ranks)
    dataset, store, captions, data = setup.dataset, setup.store, setup.captions, setup.data
    trained, validate = setup.trained, setup.validation
    model, vocabulary = trained.captioner, trained.vocabulary
    optimiser = OPTIMISERS[config.optim.algorithm](list(model.parameters()), config.optim)
    features = hashlib.sha256(json.dumps(store.manifest, sort_keys=True).encode()).hexdigest()
    checkpoints = Checkpoints(run.folder.checkpoints)
    header = checkpoints.restore(model, optimiser, warn=tell, rank=ranks.rank)
    at = Position(**header["position"]) if header else Position()
    if not ranks.agree(at.step, model):
        raise UserError(
            f"the run folder {run.folder} is not the same for all processes: it must lie where all of them see it"
        )
    if header and header["vocabulary"] != vocabulary.fingerprint:
        raise UserError(
            f"the captions have changed since {run.folder} was started (other vocabulary): use another --run.out"
        )
    if header and header.get("features") not in (None, features):
        raise UserError(
            f"the features in {store.path} were made otherwise than those that {run.folder} was started with: give the "
            "store of then, or another --run.out"
        )
    if at.epoch >= config.optim.epochs or at.stale >= config.optim.patience:
        tell(f"{run.folder} is finished: best validation CIDEr {at.best:.3f} ({_when(at.best_epoch)})")
        return 0
    if config.reward.weight and config.reward.meteor:
        java()  # or it would be missed only when its epoch comes
    ranks.barrier()  # so that all have looked before one writes
    run.begin()
    run.rewind(at.step, validated=at.batch == 0)
    run.set_state("running", step=at.step)
    if config.run.start and not at.step:
        trained.initialise_from(config.run.start)
        tell(f"beginning with the weights of {config.run.start}")
    saved_by = header.get("processes", 1) if header else 1
    if header and saved_by != ranks.world_size:
        tell(
            f"the last checkpoint is that of {saved_by} processes, {ranks.world_size} go on: same samples, other draws"
        )
    if ranks.rank >= saved_by:
        ranks.seed_per_rank(config.run.seed, at.step)
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    tell(
        f"{run.folder}: {dataset.name}, {len(data.captions)} training videos, {len(vocabulary)} words, "
        f"{size:.2f}M weights, {device}" + (f"; going on at step {at.step}" if at.step else "")
    )

    def save() -> None:
        position = dataclasses.asdict(at)
        told = {"position": position, "vocabulary": vocabulary.fingerprint, "features": features}
        states = ranks.gather_tensors(random_states())
        if ranks.is_main:
            checkpoints.save(at.step, model, optimiser, {**told, "processes": ranks.world_size}, states[1:])

    def save_in_trouble() -> str:
        # Of several processes the others are elsewhere in the step and cannot take part.
        if ranks.is_distributed:
            return "the last checkpoint holds" if any(run.folder.checkpoints.glob("step-*")) else "no checkpoint yet"
        save()
        return "checkpoint saved"

    def give_way() -> NoReturn:
        save()
        run.set_state("preempted", step=at.step)
        ranks.barrier()  # so that none leaves, and has the others ended, before all is written
        raise Preempted(
            f"stopped at step {at.step} with a checkpoint in {run.folder}: the same command goes on from there"
        )

    eta, cold = config.optim.scheduled_sampling, config.model.stats.ts
    loss_settings = {**dataclasses.asdict(config.loss), "own_word": config.optim.own_word}
    saved_at = time.monotonic()
    reward = config.reward
    rewards: Rewards | None = None

    def load(items: Any) -> Any:
        return load_share(data.load, items, ranks)

    def keep(score: float, epoch: int) -> None:
        at.best, at.best_epoch = score, epoch
        if not ranks.is_main:
            return
        trained.save(run.folder.model_file)
        if model.for_captioning() is not model:
            trained.save(run.folder.whole_file, whole=True)

    if config.run.start and not at.step:
        # What it begins with is judged too: training that only makes it worse leaves it as the best.
        found = validate(model, device, ranks=ranks, stop=stop)
        if found is None:
            give_way()
        run.log(kind="start", step=0, **found.scores.values, broken_endings=found.broken)
        tell(f"at the start  {found}  {found.endings}")
        keep(ranks.broadcast_value(found.judged), -1)
    model.train()
    with (
        ExitStack() as open_rewards,
        training(console, config.optim.epochs) as show,
    ):
        while at.epoch < config.optim.epochs and at.stale < config.optim.patience:
            batches = data.epoch(at.epoch)
            if reward.weight and at.epoch >= reward.from_epoch and rewards is None:
                made = Rewards(captions, vocabulary, cider=reward.cider, bleu4=reward.bleu4, meteor=reward.meteor)
                rewards = open_rewards.enter_context(made)
                for group in optimiser.param_groups:
                    group["lr"] = reward.lr or config.optim.lr
                tell(f"learning from rewards from epoch {at.epoch + 1} on, share {reward.weight:g}")
            own_words = 1 - given_words(eta, at.epoch) if eta else 0.0
            if cold.anneal_from is not None:
                model.anneal(annealed(cold.anneal_from, cold.temperature, at.epoch, config.optim.epochs))
            waiting = batches[at.batch :]
            for items, batch in zip(waiting, read_ahead(load, waiting), strict=True):
                batch = batch.to(device, non_blocking=True)
                optimiser.zero_grad()
                try:
                    with autocast(config.optim.precision, device):
                        losses = captioning_losses(model, batch, own_words=own_words, ranks=ranks, **loss_settings)
                    if rewards is not None:
                        told = reward_losses(
                            model,
                            batch,
                            rewards,
                            baseline=reward.baseline,
                            samples=reward.samples,
                            dropout=reward.dropout,
                            max_length=vocabulary.max_words + 1,
                            ranks=ranks,
                        )
                        losses = mixed(losses, told, reward.weight)
                    losses["loss"].backward()
                except torch.OutOfMemoryError as error:
                    kept = save_in_trouble()
                    raise StgError(
                        f"out of memory at step {at.step} with {len(batch.words)} captions of "
                        f"{len(batch.items)} videos ({kept}): lower --optim.batch_videos"
                    ) from error
                except JavaError:
                    save_in_trouble()
                    raise
                ranks.add_gradients(model.parameters())
                values = ranks.add_values(losses)
                norm = torch.nn.utils.get_total_norm([w.grad for w in model.parameters() if w.grad is not None])
                if config.optim.clip_norm:
                    torch.nn.utils.clip_grads_with_norm_(model.parameters(), config.optim.clip_norm, norm)
                finite = torch.isfinite(norm).item() and math.isfinite(values["loss"])
                at.batch += 1
                at.step += 1
                if finite:
                    at.broken = 0
                    at.loss_sum, at.loss_count = at.loss_sum + values["loss"], at.loss_count + 1
                    optimiser.step()
                    run.log(kind="step", step=at.step, epoch=at.epoch, norm=norm.item(), **values)
                else:
                    at.broken += 1
                    videos = [item.video for item in items]
                    run.log(kind="broken", step=at.step, epoch=at.epoch, videos=videos)
                    tell(
                        f"step {at.step}: loss or gradient is not finite, step not applied; "
                        f"videos: {', '.join(videos[:4])} ..."
                    )
                    if at.broken == NAN_LIMIT:
                        raise StgError(
                            f"loss or gradient not finite {NAN_LIMIT} times in a row (step {at.step}); the videos are "
                            f"in {run.folder.metrics_file}, the checkpoints before are intact: "
                            "lower --optim.lr or check the store"
                        )
                show(at.epoch, at.batch, len(batches), values)
                stops, due = ranks.any(stop(), time.monotonic() - saved_at > 60 * config.run.save_minutes)
                if stops:
                    give_way()
                if due:
                    save()
                    saved_at = time.monotonic()

            found = validate(model, device, ranks=ranks, stop=stop)
            if found is None:
                give_way()
            judged = ranks.broadcast_value(found.judged)
            improved = judged > at.best
            loss = at.loss_sum / max(at.loss_count, 1)
            at.epoch, at.batch, at.loss_sum, at.loss_count = at.epoch + 1, 0, 0.0, 0
            # Patience must not end the run before its rewards have begun.
            early = reward.weight and at.epoch <= reward.from_epoch
            at.stale = 0 if improved or early else at.stale + 1
            samples = {video: found.texts[video] for video in validate.videos[: config.run.samples]}
            run.log(
                kind="validation",
                step=at.step,
                epoch=at.epoch - 1,
                loss=loss,
                **found.scores.values,
                broken_endings=found.broken,
                samples=samples,
            )
            if improved:
                keep(judged, at.epoch - 1)
            save()
            saved_at = time.monotonic()
            run.set_state("running", step=at.step, epoch=at.epoch, best=at.best)
            line = f"epoch {at.epoch:3d}  loss {loss:.3f}  {found}"
            if rewards is not None or (at.epoch == reward.from_epoch and reward.weight):
                line += f"  {found.endings}"
            tell(line + ("  best so far" if improved else ""))
            for video, text in samples.items():
                tell(f"    {video}: {text}   (a reference: {dataset.captions[video][0]})")
            if any(ranks.any(stop())):
                give_way()

    run.set_state("finished", step=at.step, epoch=at.epoch, best=at.best)
    tell(f"best validation CIDEr {at.best:.3f} ({_when(at.best_epoch)}). Next: python -m stg.evaluate {run.folder}")
    return 0


def _when(epoch: int) -> str:
    return f"epoch {epoch + 1}" if epoch >= 0 else "at the start"
