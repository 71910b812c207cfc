"""The videos of a split as a run tells them: captioned, scored, chosen, and looked at one after another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from torch_geometric.data import Data

from stg.config.extraction import ExecutionConfig
from stg.config.search import SearchConfig
from stg.config.training import FitConfig
from stg.datasets.world.dataset import World
from stg.evaluation.loaded_run import LoadedRun
from stg.explain.explain import UNKNOWN, DeletionTests, Narrator, scene_map_of, tell
from stg.explain.explanation import Deletion, Told
from stg.features.rebuild import recorded_extractor
from stg.metrics.scorer import Scorer
from stg.models.generation import Caption, generate
from stg.models.statistics import classes_read
from stg.pages.videos.build import facts_of, made_by
from stg.pages.videos.pictures import blank, edges_of, from_sample, nodes_of, sample_of_clip, sample_of_world
from stg.pages.videos.views import VideoView
from stg.runs.bundle import CaptionerBundle
from stg.runs.folder import load_config
from stg.runs.model_file import MODEL_FILE
from stg.runtime.errors import UserError
from stg.runtime.files import without_places
from stg.runtime.progress import advance_by
from stg.video.decoding import SampledFrames, VideoError
from stg.vision.backbones import Backbone, SceneMap
from stg.vision.registry import running

Progress = Callable[[int, int], None]
Order = Literal["given", "best", "worst"]
SHOWN = {"cider": "CIDEr", "bleu4": "BLEU-4", "rouge": "ROUGE-L"}
"""Scores that stand beside a caption."""


class Narration:
    """Captions the videos of a split with a run, and with others beside it, and shows them.

    Args:
        run: open.
        split: whose videos.
        search: for captions; all that it finds is shown.
        beside: folders of other runs on the same features.
        clips: name of a video -> its file; the built-in world needs none.
        weights: files of the image network, and folders with them, for Grad-CAM.
        explainer: steps of GNNExplainer for each video; 0: none.
        tell: called with lines for the user.

    Raises:
        UserError: a run beside it that is none, or reads other features.
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
        explainer: int = 0,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.run, self.split, self.search, self.clips, self.say = run, split, search, dict(clips or {}), tell
        self.explainer = explainer
        _refuse_control(run.folder, run.settings)
        own = Narrator(called(run.folder), run.trained, _whole(run.folder, run.device))
        narrators = [own, *(self._beside(Path(folder)) for folder in beside)]
        backbone = self._backbone(weights, narrators)
        self.narrators = [replace(narrator, backbone=backbone) for narrator in narrators]
        dataset = run.dataset
        withheld = split in dataset.unlabelled
        self.videos = [video for video in dataset.splits[split] if withheld or dataset.captions.get(video)]
        self.references: dict[str, Sequence[str]] = (
            {} if withheld else {video: dataset.captions[video] for video in self.videos}
        )
        self.captions: list[dict[str, list[Caption]]] = []
        self.scores: list[dict[str, dict[str, float]]] = []
        self.world = World(**asdict(run.settings.world)) if run.settings.data.dataset == "world" else None
        self._deletions = [DeletionTests() for _ in self.narrators]

    def caption(self, progress: Progress = lambda done, total: None) -> None:
        """Caption and score every video of the split with every model; CIDEr's idf is that of the whole split."""
        advance = advance_by(progress, len(self.videos) * len(self.narrators))
        self.captions, self.scores = [], []
        for narrator in self.narrators:
            self.captions.append(
                generate(
                    narrator.trained.captioner,
                    self.run.store,
                    self.videos,
                    narrator.trained.vocabulary,
                    search=self.search,
                    category=self._category(narrator),
                    device=self.run.device,
                    advance=advance,
                    variant=narrator.trained.graph.variant,
                    time_flow=narrator.trained.graph.time_flow,
                )
            )
            self.scores.append(self._scored(self.captions[-1]))

    def chosen(self, names: Sequence[str], order: Order, limit: int) -> list[str]:
        """The videos to show.

        Args:
            names: these, in this order; none: by ``order``.
            order: as the split lists them, or by the score of the first model's caption.
            limit: most videos; 0 for all.

        Raises:
            UserError: a name that is not one of the split's, or no references to tell good from bad by.
        """
        if unknown := [name for name in names if name not in self.captions[0]]:
            raise UserError(
                f"the split {self.split!r} has no video {unknown[0]!r}: its names are such as {self.videos[0]!r}"
            )
        videos = list(dict.fromkeys(names)) or list(self.videos)
        if order != "given":
            if not self.references:
                raise UserError(
                    f"the captions of {self.split} are withheld: there is no best or worst, use --order given"
                )
            judged = {video: scores.get("cider", scores["bleu4"]) for video, scores in self.scores[0].items()}
            videos.sort(key=judged.__getitem__, reverse=order == "best")
        return videos[: limit or None]

    def views(self, videos: Sequence[str], progress: Progress = lambda done, total: None) -> Iterator[VideoView]:
        """The videos one after another; what goes wrong with one is said on its place of the page, and told."""
        absent = 0 if self.world is not None else sum(video not in self.clips for video in videos)
        if absent:
            self.say(f"no pictures of {absent} of {len(videos)} videos: their files are not among --clips")
        progress(0, len(videos))
        for done, video in enumerate(videos, start=1):
            try:
                view = self._view(video)
            except (UserError, ValueError) as error:  # what libraries underneath refuse, too: the other videos go on
                self.say(f"{video} is not shown: {error}")
                view = VideoView(video, error=without_places(error))
            yield view
            progress(done, len(videos))

    def deletions(self) -> tuple[Deletion, ...]:
        """The deletion tests over the videos that were looked at, of each model."""
        found = [
            (narrator.name, tests.results()) for narrator, tests in zip(self.narrators, self._deletions, strict=True)
        ]
        if len(found) == 1:
            return found[0][1]
        return tuple(replace(one, look=f"{name}: {one.look}") for name, results in found for one in results)

    def lead(self, shown: int, order: Order = "given") -> str:
        """What the page is of, in a sentence."""
        models = ", ".join(narrator.name for narrator in self.narrators)
        chosen = "" if order == "given" else f", the {order} by the scores of {self.narrators[0].name}"
        return f"{shown} of {len(self.videos)} videos{chosen}, captioned by {models}; search: {self.search.name}."

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What a reader may need to know of the models."""
        return (*(fact for narrator in self.narrators for fact in facts_of(narrator)), *made_by())

    def _view(self, video: str) -> VideoView:
        own, graphs = self.narrators[0], self.run.store
        batch = graphs.batch([video], **own.edges).to(self.run.device)
        notes: list[str] = []
        sample = self._sample(video, batch, notes)
        seen = scene_map_of(own, batch, sample)
        told = [self._told(place, video, seen) for place in range(len(self.narrators))]
        height, width = batch["size"][0].tolist() if "size" in batch else _reach(batch)
        return VideoView(
            video=video,
            size=(height, width),
            pictures=blank(batch) if sample is None else from_sample(sample),
            nodes=nodes_of(batch),
            edges=edges_of(batch),
            told=tuple(told),
            references=tuple(self.references.get(video, ())),
            notes=tuple(notes),
        )

    def _told(self, place: int, video: str, seen: SceneMap | None) -> Told:
        """What the model at this place says; its deletion test has one more video then."""
        narrator, captions = self.narrators[place], self.captions[place][video]
        batch = self.run.store.batch([video], **narrator.edges).to(self.run.device)
        category = (self._category(narrator) or {}).get(video, UNKNOWN)
        found = self.scores[place].get(video, {})
        scores = {SHOWN[name]: value for name, value in found.items() if name in SHOWN}
        told = tell(
            narrator,
            batch,
            captions,
            seen=seen,
            scores=scores,
            category=category,
            explainer=self.explainer,
            tests=self._deletions[place],
        )
        if narrator.edges == self.narrators[0].edges:
            return told
        # The page draws the edges of the first model, and knows no others.
        return replace(told, looks=tuple(replace(look, edges=None) for look in told.looks))

    def _sample(self, video: str, graph: Data, notes: list[str]) -> SampledFrames | None:
        if self.world is not None:
            return sample_of_world(self.world, video, graph)
        if (path := self.clips.get(video)) is None:
            missing = "is not among --clips" if self.clips else "was not given (--clips)"
            notes.append(f"No pictures: the file of this video {missing}.")
            return None
        try:
            return sample_of_clip(path, graph)
        except VideoError as error:
            self.say(f"no pictures of {video}: {error}")
            notes.append(f"No pictures: {without_places(error)}")
            return None

    def _backbone(self, weights: Sequence[Path], narrators: Sequence[Narrator]) -> Backbone | None:
        """The image network of the scene features, which are the same for all models; None where none reads them."""
        if not any("scene" in narrator.trained.captioner.reads for narrator in narrators):
            return None
        features = self.run.trained.features
        how = running(ExecutionConfig(device=str(self.run.device)), int(features.get("num_frames", 10)))
        try:
            return recorded_extractor(features, ["scene"], how, weights).backbone
        except UserError as error:
            self.say(f"no Grad-CAM: {error}")
            return None

    def _beside(self, folder: Path) -> Narrator:
        settings, trained = load_config(folder), CaptionerBundle.load(folder / MODEL_FILE)
        _refuse_control(folder, settings)
        if (settings.data.dataset, settings.world) != (self.run.settings.data.dataset, self.run.settings.world):
            raise UserError(
                f"{folder} was trained on other videos than {self.run.folder}: put runs of one data set side by side"
            )
        trained.check(self.run.store)
        trained.captioner.to(self.run.device)
        return Narrator(called(folder), trained, _whole(folder, self.run.device))

    def _category(self, narrator: Narrator) -> Mapping[str, int] | None:
        if "category" not in narrator.trained.captioner.decoder.reads or not self.run.dataset.category:
            return None
        return classes_read(narrator.trained.captioner, self.run.dataset, narrator.trained.model.stats.categories)

    def _scored(self, captions: Mapping[str, Sequence[Caption]]) -> dict[str, dict[str, float]]:
        if not self.references:
            return {}
        with Scorer(self.references) as scorer:
            texts = {video: found[0].text for video, found in captions.items()}
            return scorer.score(texts, metrics=("bleu", "rouge", "cider")).per_video


def called(run: str | Path) -> str:
    """What a run folder, or the model in one, is called on a page."""
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


def _reach(graph: Data) -> tuple[int, int]:
    """A size of pictures that holds every box, where the graph does not tell it."""
    if not len(graph.boxes):
        return 1, 1
    right, bottom = graph.boxes[:, 2:].amax(0).ceil().int().tolist()
    return max(bottom, 1), max(right, 1)
