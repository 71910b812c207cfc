"""From video files to captions, with a trained model and the networks it was trained with."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphs import GraphData, GraphsInMemory
from stg.captioning.confidence import calibration_of, chance_of, unlike_training
from stg.config.captioning import cut_of
from stg.config.extraction import ExecutionConfig
from stg.config.search import SearchConfig, as_usual, with_candidates, with_shorthands
from stg.data.batches import BatchSource
from stg.data.edges import graph_as_recorded
from stg.data.feature_check import versions_note, versions_now
from stg.datasets.world.extractor import WORLD_BUILDERS, is_world, unlike_world
from stg.features.extractor import Extractor
from stg.features.rebuild import FeaturePlan, WeightSearch, features_read, plan_features
from stg.models.generation import Caption, generate, require_words
from stg.runs.bundle import CaptionerBundle
from stg.runs.calibration import Level, run_calibrations
from stg.runs.model_file import model_header
from stg.runs.pretrained import find_model
from stg.runs.shipped import model_and_places
from stg.runtime.device import pick_device
from stg.runtime.errors import UserError
from stg.video.clip import ClipPart, ClipRequest
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers
from stg.video.stretches import by_stretch
from stg.vision.registry import ExecutionSettings, execution_for


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a caption was made of, for pages that show it: the file, the graph, the sampled frames, and the models."""

    clip: Path
    graph: GraphData
    sample: SampledFrames
    captioner: "VideoCaptioner"


WORLD_KNOWS = (
    "the detector of the built-in world knows its videos by their ids, and no files; python -m stg.report shows them "
    "with their graphs"
)


class UnlikeTraining(UserWarning):
    """A clip is unlike all that its model was trained on."""


@dataclass(frozen=True)
class ClipCaption:
    """What the model says of one clip.

    Attributes:
        video: the clip, as it was given.
        start, end: what of the clip was captioned, in seconds from its first picture; the end is None where the file
            does not say how long it is, and where there was an error.
        caption: the words; empty where there was an error.
        confidence: geometric mean of the words' probabilities, in 0..1; not calibrated.
        chance: calibrated: the chance that each content word of the caption is one that a person would use of the clip;
            None where the search was not calibrated (``stg.evaluate --split val``).
        level: ``chance`` in a word: high, middle or low.
        log_prob: sum of the words' log-probabilities.
        seconds: wall time from turning to the clip until its caption; in :meth:`VideoCaptioner.describe_many` what had
            been read ahead of that by then is not counted.
        truncated: the file was cut short, and only what is there was seen.
        error: why there is no caption; None where there is one.
        warning: why the caption may say little: the clip is unlike the training data; else None.
        candidates: what the search found, best first; the first is the caption.
        seen: what it was made of, where there is a caption; it holds the sampled frames.
    """

    video: str
    caption: str = ""
    confidence: float = 0.0
    log_prob: float = 0.0
    seconds: float = 0.0
    truncated: bool = False
    error: str | None = None
    warning: str | None = None
    candidates: tuple[Caption, ...] = ()
    seen: Evidence | None = field(default=None, repr=False, compare=False)
    start: float = 0.0
    end: float | None = None
    chance: float | None = None
    level: Level | None = None

    @property
    def times(self) -> str:
        """When it begins and ends, in hours, minutes and seconds."""
        both = map(round, (self.start, self.start if self.end is None else self.end))
        return "-".join(f"{at // 3600}:{at // 60 % 60:02d}:{at % 60:02d}" for at in both)


class VideoCaptioner:
    """A trained model and its networks; made by :func:`stg.load`.

    Args:
        trained: the model.
        extractor: makes features as the model was trained on.
        beam: width of the search, 1 is greedy.
        device: where the model runs.
        search: all that can be set of the search; ``beam`` is short for its width. What is not set is as the model is
            usually searched, if it says how.
        whole: the model with its object branch, where that only taught the part that captions; for pages.
        notes: what pages will lack, and why; which versions are not those of the training.

    Raises:
        UserError: the width is below 1, or ``beam`` and ``search`` say two.
    """

    def __init__(
        self,
        trained: CaptionerBundle,
        extractor: Extractor,
        *,
        beam: int = 5,
        device: str = "cpu",
        search: SearchConfig | None = None,
        whole: CaptionerBundle | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        try:
            # A beam that does not fit is refused as bad input, like an option of a command.
            self.search = as_usual(with_shorthands(search or SearchConfig(), beam=beam), trained.search)
            require_words(self.search, trained.captioner.words is not None)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.trained, self.extractor, self.device = trained, extractor, device
        self.whole, self.notes = whole, tuple(notes)
        trained.captioner.to(device)
        if whole is not None:
            whole.captioner.to(device)

    @classmethod
    def from_pretrained(cls, model: str | Path, **options: Any) -> "VideoCaptioner":
        """What :func:`load` makes of a folder of `save_pretrained`, or of a model on a hub; takes its options."""
        return load(model, **options)

    def save_pretrained(self, folder: str | Path, *, about: str = "") -> None:
        """See :meth:`stg.runs.bundle.CaptionerBundle.save_pretrained`; the networks are not copied."""
        self.trained.save_pretrained(folder, about=about)

    def push_to_hub(self, model: str, *, private: bool | None = None, about: str = "") -> str:
        """See :meth:`stg.runs.bundle.CaptionerBundle.push_to_hub`."""
        return self.trained.push_to_hub(model, private=private, about=about)

    def request(self, segments: str | None = None) -> ClipRequest:
        """What is read of a clip, or of each of its ``segments``: ``scenes``, or each so many seconds (``10s``).

        Raises:
            UserError: segments that cannot be.
        """
        try:
            return replace(self.extractor.request(), cut=cut_of(segments))
        except ValueError as error:
            raise UserError(str(error)) from error

    def caption(self, path: str | Path) -> str:
        """The caption of one video file.

        Raises:
            VideoError: the file cannot be used.

        Warns:
            UnlikeTraining: the clip is unlike the training data (:meth:`describe` has this as a field instead).
        """
        found = self.describe(path)
        if found.warning:
            warnings.warn(f"{path} is {found.warning}", UnlikeTraining, stacklevel=2)
        return found.caption

    def describe(self, path: str | Path) -> ClipCaption:
        """The caption of one video file, with how sure the model is, and how long it took.

        Raises:
            VideoError: the file cannot be used.
        """
        return self._describe(str(path), Path(path), read_clip(path, self.request()), time.perf_counter())

    def describe_segments(self, path: str | Path, segments: str = "scenes") -> Iterator[ClipCaption]:
        """The captions of a long video with their times, each as soon as it is there; equal neighbours are one.

        Args:
            path: of the video file.
            segments: ``scenes``, which end where the picture changes at once, or each so many seconds, as ``10s``.

        Raises:
            UserError: segments that cannot be.
            VideoError: the file cannot be used; may come after some captions.
        """
        return self._describe_segments(str(path), Path(path), read_clip(path, self.request(segments)))

    def describe_many(
        self,
        clips: Mapping[str, Path],
        readers: Readers,
        progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        keep_seen: bool = False,
    ) -> Iterator[ClipCaption]:
        """The captions of many clips in order, the next ones being read meanwhile; a clip that fails has an ``error``.

        With readers of ``request(segments)`` a clip has several captions, as `describe_segments` gives them; an error
        comes after those that could be made.

        Args:
            clips: name -> file.
            readers: open, with the :meth:`request` of this captioner.
            progress: called with (done, all) clips, or of a single clip in segments, with seconds of it.
            keep_seen: results hold what they were made of (`ClipCaption.seen`), the frames included.
        """
        progress(0, len(clips))
        for done, (name, parts) in enumerate(readers.open(clips), start=1):
            # From here, as reading goes on while earlier clips are captioned: what is timed is the work, not the wait.
            start = time.perf_counter()
            try:
                if readers.request.cut is None:
                    captions = iter([self._describe(name, clips[name], parts, start)])
                else:
                    captions = self._describe_segments(name, clips[name], parts, progress if len(clips) == 1 else None)
                for found in captions:
                    yield found if keep_seen else replace(found, seen=None)
            except (VideoError, ValueError) as error:  # ValueError: features that are not finite, for instance
                yield ClipCaption(name, error=str(error), seconds=time.perf_counter() - start)
            progress(done, len(clips))

    def _describe_segments(
        self,
        name: str,
        path: Path,
        parts: Iterator[ClipPart],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[ClipCaption]:
        held: ClipCaption | None = None
        try:
            for stretch in by_stretch(parts):
                found = self._describe(name, path, stretch, time.perf_counter())
                if held is not None and held.caption == found.caption:
                    held = joined(held, found)
                else:
                    if held is not None:
                        yield held
                    held = found
                if progress is not None and found.seen is not None:
                    progress(int(found.end or 0), int(found.seen.sample.whole or 0))
        # What is done is not lost with the rest of the clip.
        except (VideoError, ValueError, KeyboardInterrupt):
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held

    def source(self, graph: GraphData, video: str) -> BatchSource:
        """What the model reads of a clip.

        Args:
            graph: of the clip (`stg.data.edges.graph_as_recorded`).
            video: its id.
        """
        # Through the dtype of the store: the model was trained on features rounded to it.
        graphs = GraphsInMemory({video: graph}, self.trained.features_dtype)
        return BatchSource(graphs, self.trained.graph.variant, self.trained.graph.time_flow)

    def _describe(self, name: str, path: Path, parts: Iterator[ClipPart], start: float) -> ClipCaption:
        clip = self.extractor.run_clip(parts)
        # With the edges and tracks of the training's graphs, which need not be the paper's.
        graph = graph_as_recorded(self.extractor(clip), self.trained.features)
        video = clip.sample.video
        source = self.source(graph, video)
        candidates = generate(
            self.trained.captioner,
            source,
            [video],
            self.trained.vocabulary,
            search=self.search,
            device=self.device,
        )[video]
        seconds = time.perf_counter() - start
        found, cut = candidates[0], clip.sample.truncated
        # A clip has no class: of a model that reads one, the captions without it count.
        calibrated = chance_of(calibration_of(self.trained.calibration, self.search), found)
        seen = Evidence(path, graph, clip.sample, self)
        return ClipCaption(
            name,
            found.text,
            found.confidence,
            found.log_prob,
            seconds,
            cut,
            warning=unlike_world(self.trained.features, clip.sample)
            or unlike_training(self.trained.calibration, source, video),
            candidates=tuple(candidates),
            seen=seen,
            start=clip.sample.start,
            end=None if clip.sample.duration is None else clip.sample.start + clip.sample.duration,
            chance=calibrated and calibrated[0],
            level=calibrated and calibrated[1],
        )


def joined(one: ClipCaption, other: ClipCaption) -> ClipCaption:
    """Two segments with one caption as one: with all that belongs to the more certain of the two."""
    surer = max(one, other, key=lambda found: found.confidence)
    return replace(surer, start=one.start, end=other.end, seconds=one.seconds + other.seconds)


def load(
    run: str | Path | None = None,
    *,
    weights: str | Path | Sequence[str | Path] = (),
    beam: int = 5,
    device: str = "auto",
    threads: int = 0,
    search: SearchConfig | None = None,
    graph: bool = False,
    download: bool = False,
    plan: FeaturePlan | None = None,
) -> VideoCaptioner:
    """Open a trained run for captioning video files.

    The manifest that the model carries says which networks made its training features; the same are opened here, and
    anything else is refused. Only what the model reads is made (`stg.models.captioner.Captioner.reads`): no detector is
    opened or needed for Pan's model, whose scene branch stands alone, and sound is decoded for models that hear alone.

    Args:
        run: a run folder of ``stg.fit``, a folder of ``save_pretrained``, or the ``model.safetensors`` in one; or
            ``owner/name`` of a model on a hub; or the name of a captioner that comes with the installation (``stg
            models`` lists them), with its networks; None: the default one of these.
        weights: files, and folders with files, of the networks' weights; torch's cache is searched too.
        beam: width of the search, 1 is greedy.
        device: auto, cpu, cuda, ...
        threads: of ONNX networks; 0 for all cores.
        search: all that can be set of the search; ``beam`` is short for its width. What is not set is as the model is
            usually searched, if it says how.
        graph: for pages: also look for objects where captioning does without (Pan's model), or say why that cannot be,
            and keep the candidates of the beam.
        download: fetch models of a hub of which there is no copy here: the captioner, and its networks.
        plan: the networks and their files, where these were found before; ``weights`` do not count then.

    Raises:
        UserError: settings of the search that cannot be, no such run, weights that are not there, features that are not
            made for new clips, or networks that make other features (differences named).
    """
    given = [weights] if isinstance(weights, str | Path) else weights
    model, places = model_and_places(run, [Path(place) for place in given])
    path = find_model(model, download=download)
    trained = CaptionerBundle.load(path)
    # That of a run is as new as its last evaluation; a captioner that was passed on has it in its file.
    calibration, notes = run_calibrations(path)
    trained = replace(trained, calibration={**trained.calibration, **calibration})
    where = str(pick_device(device))
    search_in = WeightSearch(places, download)
    plan = plan or plan_features(trained.features, features_read(model_header(path)), search_in, WORLD_BUILDERS)
    # Batches of the networks are sized by the frames of a clip.
    how = execution_for(ExecutionConfig(device=where, threads=threads), int(trained.features.get("num_frames", 10)))
    whole = CaptionerBundle.load_training_model(path.parent) if graph else None
    extractor = _with_objects(plan, how, notes) if graph else None
    if extractor is None:
        extractor = plan.build(how)
    what = f"{model} was trained on features made with other versions than are installed here"
    if trained.made_with and (note := versions_note(trained.made_with, [versions_now(extractor.manifest())], what)):
        notes.append(note)
    captioner = VideoCaptioner(trained, extractor, beam=beam, device=where, search=search, whole=whole, notes=notes)
    if graph:
        captioner.search = with_candidates(captioner.search)
    return captioner


def _with_objects(plan: FeaturePlan, how: ExecutionSettings, notes: list[str]) -> Extractor | None:
    """The extractor that also looks for objects; None where it cannot be, with the reason among the notes."""
    try:
        return plan.including("objects").build(how)
    except UserError as error:
        # A page without boxes is still of use: the reason becomes a note on it.
        reason = WORLD_KNOWS if is_world(plan.manifest.values) else str(error)
        notes.append(f"No boxes and no edges: {reason}")
        return None
