"""The videos of a split, captioned by a run and by others alongside: scored, chosen and explained one after another."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from graphs import GraphData
from stg.captioning.confidence import calibration_of, chance_of, unlike_training
from stg.config.extraction import ExecutionConfig
from stg.config.search import SearchConfig
from stg.config.training import FitConfig
from stg.data.batches import BatchSource
from stg.datasets.world.dataset import World
from stg.datasets.world.extractor import WORLD_BUILDERS
from stg.evaluation.loaded_run import LoadedRun, batch_source
from stg.explain import Deletion, DeletionTests, ExplainedModel, Explainer, explain
from stg.explain.explain import UNKNOWN
from stg.explain.explainers import USUAL
from stg.features.log import ExtractionLog, require_same_clip
from stg.features.rebuild import plan_features
from stg.metrics.columns import HEADINGS
from stg.metrics.scorer import Scorer
from stg.models.generation import Caption, generate
from stg.pages.videos.build import Facts, page_facts, video_view
from stg.pages.videos.clip_films import film_of
from stg.pages.videos.pictures import frames_of, sample_of_world
from stg.pages.videos.views import ModelCaption, VideoView
from stg.runs.bundle import CaptionerBundle
from stg.runs.calibration import Calibration, run_calibrations
from stg.runs.folder import load_config
from stg.runs.model_file import MODEL_FILE
from stg.runtime.errors import UserError
from stg.runtime.files import without_places
from stg.runtime.progress import advance_by
from stg.runtime.reading import Spellings, normal_id
from stg.runtime.reporter import SILENT, Reporter
from stg.video.clip import ClipPart, ClipRequest
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers
from stg.vision.backbones import Backbone, SceneMap
from stg.vision.registry import execution_for

Order = Literal["given", "best", "worst"]
SHOWN = ("cider", "bleu4", "rouge")
"""Scores that stand next to a caption."""


@dataclass(frozen=True)
class ReportedModel:
    """A model of a report, and what it says of the split: captions and scores of each video, its deletion tests.

    What its confidence is worth is in ``calibration``, by search.
    """

    name: str
    model: ExplainedModel
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    captions: dict[str, list[Caption]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    tests: DeletionTests = field(default_factory=DeletionTests)


class SplitReport:
    """Captions the videos of a split with a run, and with others alongside, and explains the captions.

    Args:
        run: open.
        split: whose videos.
        search: for captions; all that it finds is shown.
        beside: folders of other runs on the same features.
        clips: name of a video -> its file; the built-in world needs none.
        weights: files of the image network, and folders with them, for Grad-CAM.
        explainers: as in `stg.explain.explain`.
        reporter: receives what is not shown, and why.

    Raises:
        UserError: a run alongside that is none, or reads other features.
    """

    def __init__(
        self,
        run: LoadedRun,
        split: str,
        *,
        search: SearchConfig,
        beside: Sequence[str] = (),
        clips: Mapping[str, Path] | None = None,
        weights: Sequence[Path] = (),
        explainers: Sequence[str | Explainer] = USUAL,
        reporter: Reporter = SILENT,
    ) -> None:
        self.run, self.split, self.search, self.clips = run, split, search, dict(clips or {})
        self.explainers, self.reporter = explainers, reporter
        self.clip_rows = ExtractionLog(run.store.path).rows() if clips else {}
        _refuse_control(run.folder, run.settings)
        named = [(run_name(run.folder), ExplainedModel(run.trained, _whole(run.folder, run.device)))]
        named += [(run_name(folder), self._alongside(Path(folder))) for folder in beside]
        # One image network serves all models, which read features of the same store.
        backbone = self._backbone(weights, [model for _, model in named])
        self.models = [
            ReportedModel(name, replace(model, backbone=backbone), self._calibration(folder, model))
            for (name, model), folder in zip(named, [run.folder, *map(Path, beside)], strict=True)
        ]
        dataset = run.dataset
        # Challenges keep their test captions to themselves: such videos are shown, without references and scores.
        withheld = split in dataset.unlabelled
        self.videos = [video for video in dataset.splits[split] if withheld or dataset.captions.get(video)]
        self.references: dict[str, Sequence[str]] = (
            {} if withheld else {video: dataset.captions[video] for video in self.videos}
        )
        self.world = World.of(run.settings.world) if run.settings.data.dataset == "world" else None

    def caption(self) -> None:
        """Caption and score every video of the split with every model; CIDEr's idf is that of the whole split."""
        with self.reporter.bar("captioning") as progress:
            advance = advance_by(progress, len(self.videos) * len(self.models))
            for one in self.models:
                trained = one.model.trained
                captions = generate(
                    trained.captioner,
                    self._source(one.model),
                    self.videos,
                    trained.vocabulary,
                    search=self.search,
                    device=self.run.device,
                    advance=advance,
                )
                one.captions.update(captions)
                one.scores.update(self._scores(captions))

    def chosen(self, names: Sequence[str], order: Order, limit: int) -> list[str]:
        """The videos to show.

        Args:
            names: these, in this order; none: by ``order``.
            order: as the split lists them, or by the score of the first model's caption.
            limit: most videos; 0 for all.

        Raises:
            UserError: a name that is not one of the split's, or no references to score captions by.
        """
        first = self.models[0]
        names = list(map(Spellings(first.captions, f"the split {self.split!r}"), names))
        if unknown := [name for name in names if name not in first.captions]:
            raise UserError(
                f"the split {self.split!r} has no video {unknown[0]!r}: its names are such as {self.videos[0]!r}"
            )
        videos = list(dict.fromkeys(names)) or list(self.videos)
        if order != "given":
            if not self.references:
                raise UserError(
                    f"the captions of {self.split} are withheld: there is no best or worst, use --order given"
                )
            # CIDEr needs several videos; of one alone there is BLEU-4.
            judged = {video: scores.get("cider", scores["bleu4"]) for video, scores in first.scores.items()}
            videos.sort(key=judged.__getitem__, reverse=order == "best")
        # A limit of 0 is none.
        return videos[: limit or None]

    def views(self, videos: Sequence[str], readers: Readers) -> Iterator[VideoView]:
        """The videos one after another; what goes wrong with one is said in its place on the page, and reported.

        Args:
            videos: their names.
            readers: of :func:`stg.pages.videos.clip_films.page_readers`; they read the clips.
        """
        # Reported once, before the work, instead of once a video.
        absent = 0 if self.world is not None else sum(normal_id(video) not in self.clips for video in videos)
        if absent:
            self.reporter.say(f"no pictures of {absent} of {len(videos)} videos: their files are not among --clips")
        with self.reporter.bar("drawing") as progress:
            progress(0, len(videos))
            for done, video in enumerate(videos, start=1):
                try:
                    view = self._view(video, readers)
                # Also what libraries refuse: the other videos are shown.
                except (UserError, ValueError) as error:
                    self.reporter.say(f"{video} is not shown: {error}")
                    view = VideoView(video, error=without_places(error))
                yield view
                progress(done, len(videos))

    def deletions(self) -> tuple[Deletion, ...]:
        """The deletion tests over the videos that were explained, of each model."""
        if len(self.models) == 1:
            return self.models[0].tests.results()
        return tuple(
            replace(found, title=f"{one.name}: {found.title}") for one in self.models for found in one.tests.results()
        )

    def lead(self, shown: int, order: Order = "given") -> str:
        """What the page is of, in a sentence."""
        names = [one.name for one in self.models]
        chosen = "" if order == "given" else f", the {order} by the scores of {names[0]}"
        models = ", ".join(names)
        return f"{shown} of {len(self.videos)} videos{chosen}, captioned by {models}; search: {self.search.name}."

    def facts(self) -> Facts:
        """What a reader may need to know of the models."""
        return page_facts([(one.name, one.model) for one in self.models])

    def _view(self, video: str, readers: Readers) -> VideoView:
        first, notes = self.models[0].model, list[str]()
        batch = self.run.store.flat_batch([video], **first.edges).to(self.run.device)
        with closing(self._parts(video, batch, readers)) as parts:
            sample = self._sample(video, batch, parts, notes)
            image_map = first.image_map(batch, sample)
            captions = [self._caption(one, video, image_map) for one in self.models]
            # Last, as it is made meanwhile. Without pictures it is another clip, or cannot be read.
            film = None if sample is None or self.world else film_of(video, parts, notes, self.reporter)
        if far := unlike_training(self.models[0].calibration, self._source(first), video):
            notes.append(f"This video is {far}.")
        references = self.references.get(video, ())
        return video_view(video, batch, sample, captions, references=references, notes=notes, film=film)

    def _parts(self, video: str, graph: GraphData, readers: Readers) -> Generator[ClipPart]:
        """The frames that the graph was made from, then the film; nothing where the clip is not at hand."""
        if self.world is None and (path := self.clips.get(normal_id(video))) is not None:
            require_same_clip(self.clip_rows, video, path)
            yield from readers.one(path, ClipRequest(wanted=frames_of(graph, video)))

    def _caption(self, one: ReportedModel, video: str, image_map: SceneMap | None) -> ModelCaption:
        """What a model says of a video, explained; its deletion tests have one more video then."""
        model, candidates, source = one.model, one.captions[video], self._source(one.model)
        explanation = explain(
            model,
            self.run.store.flat_batch([video], **model.edges).to(self.run.device),
            candidates[0],
            image_map=image_map,
            category=(source.category or {}).get(video, UNKNOWN),
            explainers=self.explainers,
            tests=one.tests,
        )
        # The page draws the edges of the first model, and knows no others.
        if model.edges != self.models[0].model.edges:
            without = tuple(replace(found, edges=None) for found in explanation.attributions)
            explanation = replace(explanation, attributions=without)
        scores = {HEADINGS[name]: value for name, value in one.scores.get(video, {}).items() if name in SHOWN}
        calibration = calibration_of(one.calibration, self.search, classes=source.category is not None)
        chance = chance_of(calibration, candidates[0])
        return ModelCaption(one.name, explanation, tuple(candidates), scores, chance)

    def _sample(
        self, video: str, graph: GraphData, parts: Iterator[ClipPart], notes: list[str]
    ) -> SampledFrames | None:
        if self.world is not None:
            return sample_of_world(self.world, video, graph)
        if normal_id(video) not in self.clips:
            missing = "is not among --clips" if self.clips else "was not given (--clips)"
            notes.append(f"No pictures: the file of this video {missing}.")
            return None
        try:
            return next(part for part in parts if isinstance(part, SampledFrames))
        # A clip that cannot be read costs the pictures; captions and attributions are still worth showing.
        except VideoError as error:
            self.reporter.say(f"no pictures of {video}: {error}")
            notes.append(f"No pictures: {without_places(error)}")
            return None

    def _backbone(self, weights: Sequence[Path], models: Sequence[ExplainedModel]) -> Backbone | None:
        """The image network of the scene features, which are the same for all models; None if no model reads them."""
        if not any("scene" in model.trained.captioner.reads for model in models):
            return None
        features = self.run.trained.features
        execution = execution_for(ExecutionConfig(device=str(self.run.device)), int(features.get("num_frames", 10)))
        try:
            return plan_features(features, ["scene"], weights, WORLD_BUILDERS).build(execution).backbone
        # Only Grad-CAM needs the network's weights: without them the rest of the report is made.
        except UserError as error:
            self.reporter.say(f"no Grad-CAM: {error}")
            return None

    def _calibration(self, folder: Path, model: ExplainedModel) -> dict[str, Calibration]:
        found, notes = run_calibrations(folder / MODEL_FILE)
        for note in notes:
            self.reporter.say(note)
        return {**model.trained.calibration, **found}

    def _alongside(self, folder: Path) -> ExplainedModel:
        settings, trained = load_config(folder), CaptionerBundle.load(folder / MODEL_FILE)
        _refuse_control(folder, settings)
        shown = self.run.settings.data.only(self.run.part).sets
        if not shown.keys() <= settings.data.sets.keys() or settings.world != self.run.settings.world:
            raise UserError(
                f"{folder} was trained on other videos than {self.run.folder}: put runs of one data set side by side"
            )
        # It is asked about features of this store, so they must be what it was trained on.
        trained.check(self.run.store)
        trained.captioner.to(self.run.device)
        return ExplainedModel(trained, _whole(folder, self.run.device))

    def _source(self, model: ExplainedModel) -> BatchSource:
        return batch_source(model.trained, self.run.store, self.run.dataset)

    def _scores(self, captions: Mapping[str, Sequence[Caption]]) -> dict[str, dict[str, float]]:
        if not self.references:
            return {}
        with Scorer(self.references) as scorer:
            texts = {video: found[0].text for video, found in captions.items()}
            return scorer.score(texts, metrics=("bleu", "rouge", "cider")).per_video


def run_name(run: str | Path) -> str:
    """Name of a run folder, or of the model in one, on a page."""
    place = Path(run).resolve()
    return (place if place.is_dir() else place.parent).name


def _refuse_control(folder: Path, settings: FitConfig) -> None:
    if settings.run.control != "none":
        raise UserError(
            f"{folder} is a control ({settings.run.control}): it saw other videos than those that it captions, and "
            "nothing that a page could show"
        )


def _whole(folder: Path, device: torch.device) -> CaptionerBundle | None:
    whole = CaptionerBundle.load_training_model(folder)
    if whole is not None:
        whole.captioner.to(device)
    return whole
