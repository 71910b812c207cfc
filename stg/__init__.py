"""Spatio-temporal object graphs for video captioning."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stg.captioning.pipeline import ClipCaption, VideoCaptioner
    from stg.pages.notebook import Shown

__all__ = ["load", "show"]


def load(run: str | Path, **options: Any) -> "VideoCaptioner":
    """Open a trained run for captioning video files: ``stg.load("runs/mine").caption("clip.mp4")``.

    The options are those of :func:`stg.captioning.pipeline.load`, above all ``weights``: files, or folders with files,
    of the networks that made the features of the training videos.
    """
    with warnings.catch_warnings():
        # torch-scatter and torch-geometric still decorate with torch.jit.script: nothing that a user could act on.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        from stg.captioning.pipeline import load as load_run

    return load_run(run, **options)


def show(result: "ClipCaption | Sequence[ClipCaption]") -> "Shown":
    """A page of a captioned clip, or of several: its graph, its words, and where each word looked.

    A notebook shows ``stg.show(model.describe("clip.mp4"))`` by itself; elsewhere ``.save("page.html")`` writes it.
    Give :func:`load` ``graph=True`` to see the graph of a model that captions without looking for objects.

    Args:
        result: of :meth:`stg.captioning.pipeline.VideoCaptioner.describe`.

    Raises:
        ValueError: there is nothing to show, or of a result only the caption was kept.
    """
    from stg.pages.notebook import show as show_page

    return show_page(result)
