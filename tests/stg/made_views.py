"""Views of made videos for the tests of pages: weights drawn at random, pictures only where they are given."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from stg.explain import Attribution, Deletion, Explanation
from stg.models.generation import Caption
from stg.pages.videos.views import Edge, Film, ModelCaption, Node, Picture, VideosPage, VideoView

NAMES = ("person", "dog", "bicycle", "ball", "kite", "car")
HOSTILE = (
    "</script></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;<!--nav-->\u202e\u2067{{ 7 * 7 }}"
    f"{'very' * 60}long"
)

WORDS = ("a", "man", "is", "riding", "a", "horse", "in", "the", "field")


def made_jpeg(seed: int, *, width: int = 320, height: int = 240, grain: float = 0.0) -> bytes:
    """A JPEG of soft colours; ``grain`` makes it pack worse, as real pictures do."""
    random = np.random.default_rng(seed)
    small = random.integers(40, 220, (4, 5, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    noisy = (pixels + grain * random.normal(size=pixels.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def made_graph(
    random: np.random.Generator, *, frames: int, per_frame: int, size: tuple[int, int]
) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    """Boxes that drift from frame to frame, and every spatial and temporal edge between them."""
    height, width = size
    start = random.uniform(0.05, 0.6, (per_frame, 2))
    step = random.uniform(-0.02, 0.03, (per_frame, 2))
    extent = random.uniform(0.15, 0.35, (per_frame, 2))
    nodes, edges = [], []
    for t in range(frames):
        for i in range(per_frame):
            x, y = (start[i] + t * step[i]).clip(0, 0.64)
            box = (x * width, y * height, (x + extent[i, 0]) * width, (y + extent[i, 1]) * height)
            score = float(random.uniform(0.3, 1))
            nodes.append(Node(frame=t, box=tuple(map(float, box)), score=score, name=NAMES[i % len(NAMES)]))
    for t in range(frames):
        for kind, source in (("spatial", t), ("temporal", t + 1)):
            if source == frames:
                continue
            weights = random.dirichlet(np.full(per_frame, 2.0), per_frame)
            edges += [
                Edge(source * per_frame + j, t * per_frame + i, kind, float(weights[i, j]))
                for i in range(per_frame)
                for j in range(per_frame)
            ]
    return tuple(nodes), tuple(edges)


def blobs(random: np.random.Generator, words: int, frames: int, grid: tuple[int, int]) -> np.ndarray:
    """For each word and frame a soft spot that drifts over time, summing to 1."""
    down, across = np.mgrid[0 : grid[0], 0 : grid[1]] / max(grid)
    centre = random.uniform(0.2, 0.8, (words, 1, 2)) + np.cumsum(random.normal(0, 0.06, (words, frames, 2)), axis=1)
    far = (down - centre[..., :1, None]) ** 2 + (across - centre[..., 1:, None]) ** 2
    spots = np.exp(-far / 0.04) + 0.02
    return spots / spots.sum(axis=(2, 3), keepdims=True)


def made_attributions(
    random: np.random.Generator, words: int, frames: int, nodes: Sequence[Node], edges: int, grid: tuple[int, int]
) -> tuple[Attribution, ...]:
    """One attribution to frames and places, one to boxes, one of the whole caption."""
    share = random.dirichlet(np.full(frames, 0.5), words)
    places = blobs(random, words, frames, grid)
    over_nodes = random.dirichlet(np.full(max(len(nodes), 1), 0.2), words)[:, : len(nodes)]
    note = "This is made at random for a test. It is not what a model looked at."
    attributions = [Attribution("ts", "Frames, then places in them", note, frames=share, places=places)]
    if nodes:
        attributions.append(Attribution("regions", "Boxes", note, nodes=over_nodes))
        attributions.append(
            Attribution("importance", "Importance of boxes and edges for the whole caption", note,
                 nodes=over_nodes[:1], edges=random.random((1, edges)), whole=True)
        )  # fmt: skip
    attributions.append(Attribution("gradcam", "Grad-CAM of the whole caption", note, places=places[:1], whole=True))
    return tuple(attributions)


def made_view(
    video: str = "vid1",
    *,
    seed: int = 0,
    frames: int = 6,
    per_frame: int = 4,
    size: tuple[int, int] = (240, 320),
    jpegs: Sequence[bytes | None] | None = None,
    words: Sequence[str] = WORDS,
    models: Sequence[str] = ("Full",),
    gate: bool = True,
    grid: tuple[int, int] = (7, 7),
) -> VideoView:
    """A view of a video in which everything that a view can hold is there."""
    random = np.random.default_rng(seed)
    nodes, edges = made_graph(random, frames=frames, per_frame=per_frame, size=size)
    if jpegs is None:
        jpegs = [made_jpeg(seed * 100 + t, width=size[1], height=size[0]) for t in range(frames)]
    captions = []
    for model in models:
        probabilities = tuple(float(p) for p in random.uniform(0.2, 1, len(words)))
        explanation = Explanation(
            words=tuple(words),
            probabilities=probabilities,
            attributions=made_attributions(random, len(words), frames, nodes, len(edges), grid),
            gate=random.dirichlet((2.0, 2.0), len(words)) if gate else None,
            units=("ST", "TS") if gate else (),
        )
        candidates = (Caption(" ".join(words), -4.2, 9, 1.25), Caption("a person rides a horse", -5.125, 8, 0.9))
        captions.append(ModelCaption(model, explanation, candidates, {"CIDEr-D": 0.812, "BLEU-4": 0.41}))
    return VideoView(
        video=video,
        size=size,
        pictures=tuple(Picture(12 * t + 5, jpegs[t], round(0.48 * t + 0.2, 2)) for t in range(frames)),
        nodes=nodes,
        edges=edges,
        captions=tuple(captions),
        references=("a man rides a horse", "someone is riding"),
    )


def made_page(*videos: VideoView) -> VideosPage:
    """A page of videos with everything around it."""
    return VideosPage(
        title="Test videos",
        lead="The run full-seed0 on the split test, beam of 5.",
        videos=videos,
        deletions=(
            Deletion("ts", "frames", 120, 2, 0.84, (0.21, 0.25, 0.19)),
            Deletion("regions", "regions", 120, 1, 0.3, (0.1, 0.0, 0.1)),
        ),
        facts=(("model", "full, seed 0"), ("features", "ResNet-101")),
    )


def hostile(view: VideoView) -> VideoView:
    """The same view with a hostile string in every field that holds text."""

    def worse(text: str) -> str:
        return text + HOSTILE

    def worse_explanation(one: Explanation) -> Explanation:
        return dataclasses.replace(
            one,
            words=tuple(map(worse, one.words)),
            attributions=tuple(
                dataclasses.replace(k, name=worse(k.name), title=worse(k.title), note=worse(k.note))
                for k in one.attributions
            ),
            units=tuple(map(worse, one.units)),
        )

    captions = tuple(
        dataclasses.replace(
            one,
            model=worse(one.model),
            explanation=worse_explanation(one.explanation),
            candidates=tuple(dataclasses.replace(c, text=worse(c.text)) for c in one.candidates),
            scores={worse(name): value for name, value in one.scores.items()},
        )
        for one in view.captions
    )
    return dataclasses.replace(
        view,
        video=worse(view.video),
        nodes=tuple(dataclasses.replace(node, name=worse(node.name)) for node in view.nodes),
        captions=captions,
        references=tuple(map(worse, view.references)),
        notes=tuple(map(worse, view.notes)),
        error=None if view.error is None else worse(view.error),
    )


def hostile_page(page: VideosPage) -> VideosPage:
    """The same page with a hostile string in every field that holds text."""
    return dataclasses.replace(
        page,
        title=page.title + HOSTILE,
        lead=page.lead + HOSTILE,
        videos=tuple(map(hostile, page.videos)),
        deletions=tuple(
            dataclasses.replace(d, title=d.title + HOSTILE, hides=d.hides + HOSTILE) for d in page.deletions
        ),
        facts=tuple((a + HOSTILE, b + HOSTILE) for a, b in page.facts),
        others=tuple((a + HOSTILE, b + HOSTILE) for a, b in page.others),
    )


def everything() -> VideosPage:
    """A page on which every part of the template is drawn."""
    film = Film(np.frombuffer(b"no film", np.uint8), whole=False)
    view = dataclasses.replace(made_view(models=("Scene only", "Full")), notes=("no sound",), film=film)
    page = made_page(view, made_view("no pictures", jpegs=[None] * 6), VideoView("broken", error="cannot be read"))
    return dataclasses.replace(page, others=(("1", "a.html"), ("2", "b.html"), ("3", "c.html")), place=1)
