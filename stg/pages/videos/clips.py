"""Captioned clips, explained, as a page shows them."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from graphs import GraphsInMemory
from stg.captioning.pipeline import ClipCaption, Evidence, VideoCaptioner
from stg.explain import DeletionTests, ExplainedModel, explain
from stg.pages.videos.build import video_view
from stg.pages.videos.clip_films import film_of
from stg.pages.videos.views import ModelCaption, VideoView
from stg.runtime.errors import UserError
from stg.runtime.files import without_places
from stg.runtime.reporter import SILENT, Reporter
from stg.video.readers import Readers

MODEL = "the model"
"""Name of a model that is shown alone."""


def explained_model(captioner: VideoCaptioner) -> ExplainedModel:
    """The model of a captioner, with all that it has to explain its captions."""
    return ExplainedModel(captioner.trained, captioner.whole, captioner.extractor.backbone)


def view_of_clip(
    found: ClipCaption,
    readers: Readers | None,
    name: str = MODEL,
    *,
    tests: DeletionTests | None = None,
    reporter: Reporter = SILENT,
) -> VideoView:
    """What a page shows of a clip that `stg.captioning.pipeline.VideoCaptioner` has captioned.

    Args:
        found: with its evidence.
        readers: of :func:`stg.pages.videos.clip_films.page_readers`; they make the film. None: there is none.
        name: of the model on the page.
        tests: take part in these, too.
        reporter: receives why there is no film.

    Raises:
        ValueError: the evidence was not kept.
    """
    video = Path(found.video).name
    if found.seen is not None and found.seen.sample.whole is not None:
        video = f"{video} {found.times}"
    if found.error is not None:
        return VideoView(video, error=without_places(found.error))
    if found.seen is None:
        raise ValueError(f"of {found.video!r} only the caption was kept: ask describe_many for keep_seen=True")
    try:
        view = _view(video, found.seen, found, name, tests)
    except (UserError, ValueError) as error:  # one clip of many: the others are shown
        return VideoView(video, error=without_places(error))
    # Of a segment the frames are enough: a film would be cut out of a file of hours.
    if readers is None or found.seen.sample.whole is not None:
        return view
    notes = [*view.notes]
    with closing(readers.one(found.seen.clip)) as parts:
        film = film_of(found.video, parts, notes, reporter)
    return replace(view, notes=tuple(notes), film=film)


def _view(video: str, evidence: Evidence, found: ClipCaption, name: str, tests: DeletionTests | None) -> VideoView:
    captioner, sample = evidence.captioner, evidence.sample
    model = explained_model(captioner)
    # By way of a record, as from a store, so that features are rounded as they were when the caption was written.
    graphs = GraphsInMemory({found.video: evidence.graph}, captioner.trained.features_dtype)
    batch = graphs.flat_batch([found.video], **model.edges).to(captioner.device)
    image_map = model.image_map(batch, sample)
    explanation = explain(model, batch, found.candidates[0], image_map=image_map, tests=tests)
    notes = [*map(without_places, captioner.notes)]
    if found.warning:
        notes.append(f"This clip is {found.warning}.")
    if found.truncated:
        notes.append("The file is cut short: this is what there is of it.")
    chance = (found.chance, found.level) if found.chance is not None and found.level is not None else None
    shown = [ModelCaption(name, explanation, found.candidates, chance=chance)]
    return video_view(video, batch, sample, shown, notes=notes)
