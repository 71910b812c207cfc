"""Caption a split, score it, write both down."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from stg.config.data import ALL
from stg.config.evaluation import EvaluateConfig
from stg.config.schema import to_dict
from stg.config.search import SearchConfig
from stg.data.batches import BatchSource, controlled
from stg.evaluation.calibrating import calibrate, measure, read_features, write_calibration
from stg.evaluation.loaded_run import LoadedRun, batch_source, load_run, load_run_as
from stg.evaluation.predictions import read_predicted, write_predictions
from stg.metrics.columns import heading, reason_lines
from stg.metrics.measures import METRICS
from stg.metrics.scorer import Scorer, Scores
from stg.models.generation import Caption, generate
from stg.runs.calibration import Calibration, Curve, calibration_file, read_calibration
from stg.runs.evaluations import file_stem, read_scores
from stg.runs.folder import RunFolder
from stg.runs.model_file import MODEL_FILE
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import fingerprint, remove_leftovers, sha256_file, write_atomic
from stg.runtime.locks import lock_folder
from stg.runtime.progress import advance_by
from stg.runtime.reporter import SILENT, Reporter
from stg.text.words import broken_endings

SEARCHES = (SearchConfig("greedy"), SearchConfig(beam=5))


@dataclass(frozen=True)
class SearchResult:
    """What one search found on a split.

    Attributes:
        captions: the best caption of each video.
        broken: how many of them break off.
        scores: None where the captions of the split are withheld.
        folder: where both are kept; None where they could not be.
        calibration: what confidence is worth, fitted here to ``val``, or earlier where another split is scored.
        curves: reliability of confidence and of calibrated chance, on these videos.
    """

    captions: Mapping[str, str]
    broken: int
    scores: Scores | None
    folder: Path | None = None
    calibration: Calibration | None = None
    curves: tuple[Curve, Curve] | None = None


def evaluate(
    run: str | Path | LoadedRun,
    split: str = "val",
    *,
    searches: Sequence[SearchConfig] = SEARCHES,
    metrics: Sequence[str] | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    dataset: str | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, Scores]:
    """Caption and score a split; captions and scores are written into the run's folder, too, where it can be written.

    Args:
        run: folder of ``stg.fit``, or the same loaded, with its store elsewhere for instance (:func:`load_run`).
        out: another folder for captions and scores.
        metrics: of ``stg.metrics.METRICS``; None: all.
        device: where a folder's model runs; a loaded run stays where it is.
        dataset: of a folder, see :func:`load_run`; what a loaded run has open is given.

    Returns:
        The scores of each search by name: ``greedy``, ``beam 5``, ``greedy, no class``, ...; none where the captions
        of the split are withheld.

    Raises:
        Preempted: the reporter said so.
        UserError: no such run or split, features made otherwise than in training, or classes that the model does not
            know.
    """
    if not isinstance(run, LoadedRun):
        run = load_run(run, device=device, splits=(split,), dataset=dataset, reporter=reporter)
    return scores_of(caption_and_score(run, split, searches, metrics=metrics, out=out, reporter=reporter))


def scores_of(found: Mapping[str, SearchResult]) -> dict[str, Scores]:
    """The scores of each search that has any."""
    return {name: result.scores for name, result in found.items() if result.scores is not None}


def evaluate_as(config: EvaluateConfig, *, reporter: Reporter = SILENT) -> tuple[LoadedRun, dict[str, SearchResult]]:
    """What :func:`evaluate` does, with the settings of the command; returns the run, and what each search found.

    Raises:
        Preempted, UserError: as :func:`evaluate`.
    """
    run = load_run_as(config, config.split, reporter=reporter)
    found = caption_and_score(
        run,
        config.split,
        config.searches(),
        metrics=config.chosen_metrics(METRICS),
        reference=config.reference,
        spice=config.spice,
        out=config.out,
        reporter=reporter,
    )
    return run, found


def caption_and_score(
    run: LoadedRun,
    split: str,
    searches: Sequence[SearchConfig],
    *,
    metrics: Sequence[str] | None = None,
    reference: bool = False,
    spice: str | None = None,
    out: str | Path | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, SearchResult]:
    """What :func:`evaluate` does, with the captions of each search; first that with the classes of videos, if any.

    Scores that were recorded of the same captions stay in the file, where they are not computed again.

    Args:
        reference, spice: see :class:`stg.metrics.scorer.Scorer`.
    """
    run.require_split(split)
    dataset, withheld = run.dataset, split in run.dataset.unlabelled
    videos = videos_of(run, split)
    sources = _sources(run, videos, reporter)
    # One scorer for all searches: the references are tokenised once.
    scoring: AbstractContextManager[Scorer | None] = nullcontext()
    digest = None
    if not withheld:
        texts = {video: dataset.captions[video] for video in videos}
        digest = fingerprint(texts)
        scoring = Scorer(texts, tokenizer="java" if reference else "python", reference=reference, spice=spice)
    results: dict[str, SearchResult] = {}
    measured = _Measured(run, next(iter(sources.values())), videos)
    with scoring as scorer, _results_folder(run, out, split, reporter) as folder:
        for search, (suffix, source) in product(searches, sources.items()):
            name = search.name + suffix
            stem = None if folder is None else folder / file_stem(split, name)
            found = _captions(run, source, videos, search, name, reporter)
            captions = {video: candidates[0].text for video, candidates in found.items()}
            # Before the scoring: captions that took hours survive a failure of Java.
            kept = None if stem is None else _ScoreFile(stem, captions, digest)
            if stem is not None:
                _write_captions(stem, captions, found, search)
            results[name] = SearchResult(captions, broken_endings(captions.values()), None, folder)
            if scorer is None:
                continue
            with reporter.bar(f"scoring, {name}") as progress:
                progress(0, len(videos))
                scores = scorer.score(captions, metrics=metrics)
            results[name] = _calibrated(replace(results[name], scores=scores), measured, split, name, found)
            about = {
                "split": split,
                "beam": 1 if search.greedy else search.beam,
                "search": to_dict(search),
                "control": run.settings.run.control,
                "category": source.category is not None,
                "broken_endings": results[name].broken,
            }
            if kept is not None:
                kept.write(scores, about, reporter)
    return results


class _Measured:
    """What the calibrations of all searches read of a model and its videos, once and where it is needed."""

    def __init__(self, run: LoadedRun, source: BatchSource, videos: Sequence[str]) -> None:
        self.run, self.source, self.videos = run, source, videos

    @cached_property
    def sha256(self) -> str:
        return sha256_file(self.run.folder / MODEL_FILE)

    @cached_property
    def features(self) -> tuple[str, Any]:
        return read_features(self.run.trained.captioner, self.source, self.videos) or ("", None)


def _calibrated(
    result: SearchResult, measured: _Measured, split: str, name: str, found: Mapping[str, Sequence[Caption]]
) -> SearchResult:
    """Calibrate the confidence of a search on ``val``; on other splits measure what that calibration is worth there."""
    best = {video: found[video][0] for video in measured.videos}
    captions = measured.run.dataset.captions
    if split != "val":
        # That of all data sets is the one that clips are captioned with; the folder may be that of one of them.
        places = [] if result.folder is None else [result.folder / ALL, result.folder.parent / ALL, result.folder]
        known = [path for place in places if (path := calibration_file(place, name)).exists()]
        calibration = next((one for one in map(read_calibration, known) if one.model == measured.sha256), None)
        if calibration is None:
            return result
        return replace(result, calibration=calibration, curves=measure(calibration, best, captions))
    feature, features = measured.features
    calibration = calibrate(best, captions, search=name, model=measured.sha256, features=features, feature=feature)
    if calibration is None:
        return result
    if result.folder is not None:
        write_calibration(calibration_file(result.folder, name), calibration)
    return replace(result, calibration=calibration, curves=(calibration.before, calibration.after))


@contextmanager
def _results_folder(run: LoadedRun, out: str | Path | None, split: str, reporter: Reporter) -> Iterator[Path | None]:
    """Where captions and scores go, which nobody else writes meanwhile; None where a run can only be read.

    Raises:
        UserError: another process evaluates this split; ``out`` cannot be written to; the folder of a run is a link.
    """
    kept = RunFolder(run.folder)
    inside = kept.evaluation_of(run.part).relative_to(kept.evaluation)
    folder, name = (Path(out) if out else kept.evaluation) / inside, f".{split}.lock"
    if out is None and (kept.evaluation.is_symlink() or folder.is_symlink()):
        raise UserError(f"{folder} is a link, and what it leads to would be overwritten: remove it, or give --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if out is None and not writable:
        reporter.say(f"{folder} cannot be written to: captions and scores are not kept; give --out FOLDER to keep them")
        yield None
        return
    with lock_folder(folder, name):
        if out is None:
            remove_leftovers(folder)
        yield folder


def report_lines(run: LoadedRun, split: str, found: Mapping[str, SearchResult], show: int) -> list[str]:
    """What there is to say of an evaluation, next to its scores.

    Args:
        show: how many videos to list, with the caption of the last search.
    """
    dataset, videos = run.dataset, videos_of(run, split)
    folder = next((result.folder for result in found.values()), None)
    # A metric is missing for the same reason in all searches: it is said once.
    scored = next(iter(scores_of(found).values()), None)
    lines = reason_lines(scored.unavailable) if scored else []
    broken = ", ".join(f"{name} {result.broken}" for name, result in found.items())
    lines.append(f"captions that end in a word such as a, the, with: {broken} of {len(videos)}")
    lines += [confidence_line(name, split, result) for name, result in found.items() if result.curves is not None]
    # The captions shown are those of the last search; with the classes of videos, where they were read.
    named = [name for name in found if not name.endswith(", no class")] or list(found)
    withheld = split in dataset.unlabelled
    for video in videos[:show]:
        reference = "" if withheld else f"   (a reference: {dataset.captions[video][0]})"
        lines.append(f"  {video}: {found[named[-1]].captions[video]}{reference}")
    if withheld:
        lines.append(f"the captions of {split} are withheld: nothing is scored")
    if folder is not None:
        lines.append(f"{'captions alone' if withheld else 'captions and scores'} are in {folder}")
    return lines


def confidence_line(name: str, split: str, result: SearchResult) -> str:
    """How well confidence is calibrated, on one line: before, and after."""
    assert result.calibration is not None
    assert result.curves is not None
    before, after = result.curves
    how = f", by {result.calibration.videos} captions, each by a fit to others" if split == "val" else " on val"
    total = sum(after.captions)
    right = sum(share * count for share, count in zip(after.right, after.captions, strict=True)) / total
    bins = "  ".join(f"{p:.2f}: {share:.2f}" for p, share in zip(after.confidence, after.right, strict=True))
    return (
        f"confidence, {name}: every content word is in a reference of {100 * right:.0f} % of the captions; expected "
        f"calibration error {before.error:.3f}, calibrated{how} {after.error:.3f} (chance: right  {bins})"
    )


def videos_of(run: LoadedRun, split: str) -> list[str]:
    """The videos of a split that are captioned: all of a split whose captions are withheld, else those with one."""
    dataset = run.dataset
    withheld = split in dataset.unlabelled
    return [video for video in dataset.splits[split] if withheld or dataset.captions.get(video)]


def _sources(run: LoadedRun, videos: Sequence[str], reporter: Reporter) -> dict[str, BatchSource]:
    """What the model reads, by what is added to the names of searches: with classes and without, where it reads any."""
    control = run.settings.run
    # A control is scored as it was trained: on the features of other videos, or on edges of other objects.
    source = batch_source(run.trained, run.store, run.dataset)
    source = controlled(source, control.control, run.dataset.groups(videos), control.seed)
    if "category" not in run.trained.captioner.decoder.reads:
        return {"": source}
    # Scored without as well, since clips of one's own have no class.
    without = {", no class": replace(source, category=None)}
    if run.dataset.category:
        return {"": source, **without}
    reporter.say(f"{run.dataset.name} has no classes, which this model reads: it is scored as for clips without one")
    return without


def _captions(
    run: LoadedRun, source: BatchSource, videos: Sequence[str], search: SearchConfig, name: str, reporter: Reporter
) -> dict[str, list[Caption]]:
    with reporter.bar(f"captioning, {name}") as progress:

        def advance(done: int, total: int) -> None:
            progress(done, total)
            if reporter.should_stop():
                raise Preempted(f"stopped while {run.folder} was evaluated: the same command evaluates it again")

        return generate(
            run.trained.captioner,
            source,
            videos,
            run.trained.vocabulary,
            search=search,
            device=run.device,
            advance=advance_by(advance, len(videos)),
        )


def _write_captions(
    stem: Path, captions: Mapping[str, str], found: Mapping[str, Sequence[Caption]], search: SearchConfig
) -> None:
    write_predictions(Path(f"{stem}.json"), captions)
    if search.n_best > 1:
        _write_candidates(Path(f"{stem}-nbest.json"), found)


def _write_candidates(path: Path, found: Mapping[str, Sequence[Caption]]) -> None:

    record = {
        video: {
            "captions": [caption.text for caption in candidates],
            "log_probs": [caption.log_prob for caption in candidates],
            "scores": [caption.score for caption in candidates],
        }
        for video, candidates in found.items()
    }
    write_atomic(path, json.dumps(record, ensure_ascii=False, indent=1))


class _ScoreFile:
    """The recorded scores of a search, which is scored again.

    Args:
        stem: what the names of the search's files begin with.
        captions: of today, before they are written.
        references: hash of those of today; None: there are none.
    """

    def __init__(self, stem: Path, captions: Mapping[str, str], references: str | None) -> None:
        self.path = Path(f"{stem}-scores.json")
        self.references = references
        try:
            self.before = {"unavailable": {}, **read_scores(self.path)}
            self.same = read_predicted(f"{stem}.json") == captions
        except UserError:
            self.before, self.same = {"scores": {}, "unavailable": {}}, False
        if references is not None:
            self.same = self.same and self.before.get("references", references) == references
        # Before the captions are replaced: nobody may find scores next to captions that they are not of.
        if not self.same:
            self.path.unlink(missing_ok=True)

    def write(self, scores: Scores, about: Mapping[str, Any], reporter: Reporter) -> None:
        """Write scores, with the recorded ones that are of the same captions and references."""
        values, unavailable = scores.values, scores.unavailable
        if self.same:
            values = {**self.before["scores"], **values}
            reasons = {**self.before["unavailable"], **unavailable}
            # A reason of today does not outweigh a score that was computed where Java was at hand.
            unavailable = {metric: reason for metric, reason in reasons.items() if metric not in values}
        elif lost := [heading(name) for name in self.before["scores"] if name not in values]:
            reporter.say(
                f"{self.path} no longer holds {', '.join(lost)}, which were of other captions or references and are "
                "not computed now"
            )
        record = {**about, "references": self.references, "videos": scores.videos}
        record |= {"scores": values, "unavailable": unavailable}
        write_atomic(self.path, json.dumps(record, ensure_ascii=False, indent=1))
