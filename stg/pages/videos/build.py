"""A video and its models as values for a page."""

from collections.abc import Mapping, Sequence

from graphs import GraphData
from stg.explain import ExplainedModel
from stg.features.extractor import size_of
from stg.pages.videos.pictures import blank, edges_of, from_sample, nodes_of
from stg.pages.videos.views import Film, ModelCaption, VideoView
from stg.runtime.provenance import provenance
from stg.video.decoding import SampledFrames

Facts = tuple[tuple[str, str], ...]


def video_view(
    video: str,
    batch: GraphData,
    sample: SampledFrames | None,
    captions: Sequence[ModelCaption],
    *,
    references: Sequence[str] = (),
    notes: Sequence[str] = (),
    film: Film | None = None,
) -> VideoView:
    """What a page shows of a video.

    Args:
        batch: its graph, with the edges to draw.
        sample: its sampled frames; None if they are not at hand.
        film: the clip.
    """
    return VideoView(
        video=video,
        size=_size_of(batch) if sample is None else size_of(sample),
        pictures=blank(batch) if sample is None else from_sample(sample),
        nodes=nodes_of(batch),
        edges=edges_of(batch),
        captions=tuple(captions),
        references=tuple(references),
        notes=tuple(notes),
        film=film,
    )


def model_facts(name: str, model: ExplainedModel) -> Facts:
    """The model, its graph and its features, without a path of the machine."""
    # With the object branch where the run kept it: the graph on the page is what that branch reads.
    bundle, features = model.largest, model.largest.features
    entries = {part: features.get(part) for part in ("backbone", "detector", "motion")}
    named = ", ".join(
        f"{part}: {entry.get('name') or entry.get('weights')}"
        for part, entry in entries.items()
        if isinstance(entry, Mapping)
    )
    edges = f"{bundle.graph.variant}, {bundle.graph.layers} convolutions"
    return (
        (f"{name}: model", f"{bundle.model.decoder} decoder, branches {bundle.model.branches}"),
        (f"{name}: weights that caption", f"{model.trained.num_weights / 1e6:.2f} million"),
        (f"{name}: graph", edges if bundle.captioner.objects is not None else "not read"),
        (f"{name}: features", named or "not known"),
    )


def page_facts(models: Sequence[tuple[str, ExplainedModel]] = ()) -> Facts:
    """What a reader may need to know of a page: its models with their names, and what made it."""
    return (*(fact for name, model in models for fact in model_facts(name, model)), ("made by", provenance()))


def _size_of(graph: GraphData) -> tuple[int, int]:
    """Height and width of the pictures; if the graph does not say, so large that they hold every box."""
    if "size" in graph:
        height, width = graph["size"][0].tolist()
        return height, width
    if not len(graph.boxes):
        return 1, 1
    right, bottom = graph.boxes[:, 2:].amax(0).ceil().int().tolist()
    return max(bottom, 1), max(right, 1)
