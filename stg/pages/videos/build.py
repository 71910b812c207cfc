"""What a model said of a video and where it looked, put together for a page."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graphs import GraphsInMemory
from stg.captioning.pipeline import ClipCaption, Evidence, VideoCaptioner
from stg.explain.explain import (
    MODEL,
    DeletionTests,
    Narrator,
    scene_map_of,
    tell,
)
from stg.features.extractor import size_of
from stg.pages.videos.pictures import edges_of, from_sample, nodes_of
from stg.pages.videos.views import VideoView
from stg.runtime.errors import UserError
from stg.runtime.files import without_places
from stg.runtime.provenance import commit


def narrator_of(captioner: VideoCaptioner, name: str = MODEL) -> Narrator:
    """The model of a captioner, as a page shows it."""
    return Narrator(name, captioner.trained, captioner.whole, captioner.extractor.backbone)


def view_of_clip(found: ClipCaption, name: str = MODEL, *, tests: DeletionTests | None = None) -> VideoView:
    """What a page shows of a clip that `stg.captioning.pipeline.VideoCaptioner` has captioned.

    Args:
        found: with all that was seen.
        name: of the model on the page.
        tests: take part in these, too.

    Raises:
        ValueError: what was seen was not kept.
    """
    video = Path(found.video).name
    if found.error is not None:
        return VideoView(video, error=without_places(found.error))
    if found.seen is None:
        raise ValueError(f"of {found.video!r} only the caption was kept: ask describe_many for keep_seen=True")
    try:
        return _clip_view(video, found.seen, found, name, tests)
    except (UserError, ValueError) as error:  # one clip of many: the others go on
        return VideoView(video, error=without_places(error))


def _clip_view(video: str, seen: Evidence, found: ClipCaption, name: str, tests: DeletionTests | None) -> VideoView:

    captioner, sample = seen.captioner, seen.sample
    narrator = narrator_of(captioner, name)
    batch = (
        GraphsInMemory({found.video: seen.graph}, captioner.trained.features_dtype)
        .batch([found.video], **narrator.edges)
        .to(captioner.device)
    )
    scene = scene_map_of(narrator, batch, sample)
    notes = [*map(without_places, captioner.notes)]
    if found.truncated:
        notes.append("The file is cut short: this is what there is of it.")
    return VideoView(
        video=video,
        size=size_of(sample),
        pictures=from_sample(sample),
        nodes=nodes_of(batch),
        edges=edges_of(batch),
        told=(tell(narrator, batch, found.candidates, seen=scene, tests=tests),),
        notes=tuple(notes),
    )


def facts_of(narrator: Narrator) -> tuple[tuple[str, str], ...]:
    """The model, its graph and its features, without a path of the machine."""
    trained, graph = narrator.shown, narrator.shown.graph
    features = trained.features
    made = {part: features.get(part) for part in ("backbone", "detector", "motion")}
    named = ", ".join(
        f"{part}: {entry.get('name') or entry.get('weights')}"
        for part, entry in made.items()
        if isinstance(entry, Mapping)
    )
    weights = sum(weight.numel() for weight in narrator.trained.captioner.parameters()) / 1e6
    drawn = f"{graph.variant}, {graph.layers} convolutions" if trained.captioner.objects is not None else "not read"
    return (
        (f"{narrator.name}: model", f"{trained.model.decoder} decoder, branches {trained.model.branches}"),
        (f"{narrator.name}: weights that caption", f"{weights:.2f} million"),
        (f"{narrator.name}: graph", drawn),
        (f"{narrator.name}: features", named or "not told"),
    )


def made_by() -> tuple[tuple[str, str], ...]:
    """The version of this package, and its commit where it is known, as a fact of a page."""
    try:
        name = f"stg-video {version('stg-video')}"
    except PackageNotFoundError:  # run from its source, not installed
        name = "stg-video"
    known = commit()
    return (("made by", name + (f", commit {known}" if known else "")),)
