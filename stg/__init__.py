"""Spatio-temporal object graphs for video captioning.

>>> run = stg.fit(optim={"epochs": 10}, run={"out": "runs/mine"})
>>> stg.evaluate(run, "test")["greedy"].values["cider"]
>>> stg.load(run, weights="weights").caption("clip.mp4")

Nothing here imports torch before it is called. The names are functions even where a command has the same one: nobody
imports ``stg.fit`` or ``stg.evaluate`` as modules, they are run (``python -m stg.fit``).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg.runtime.errors import StgError, UserError
from stg.runtime.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from stg.captioning.pipeline import ClipCaption, VideoCaptioner
    from stg.config.training import FitConfig
    from stg.features.ingestion import IngestReport
    from stg.metrics.scorer import Scores
    from stg.pages.notebook import Shown
    from stg.training.trackers import Tracker

__all__ = ["StgError", "UserError", "__version__", "evaluate", "extract", "fit", "load", "show"]

try:
    __version__ = version("stg-video")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0"

Plugins = str | Path | Sequence[str | Path]
"""One plugin, a file or the name of a module, or several."""

# torch-scatter and torch-geometric still decorate with torch.jit.script: nothing that a user could act on.
_OF_LIBRARIES = ".*torch.jit.script.*"


def _check_options(call: str, function: Callable[..., Any], own: Sequence[str], options: dict[str, Any]) -> None:
    """Refuse keyword arguments that a call passes on to a function which does not take them.

    Args:
        own: the names of the arguments that the call has itself.

    Raises:
        TypeError: with the near name, and how to give it.
    """
    from stg.config.extraction import ExecutionConfig, NetworkConfig, SamplingConfig
    from stg.config.keywords import check_keywords
    from stg.config.search import SearchConfig

    several = {"searches": SearchConfig}
    one = {"networks": NetworkConfig, "sampling": SamplingConfig, "execution": ExecutionConfig, "search": SearchConfig}
    taken = signature(function).parameters
    configs = {name: config for name, config in (several | one).items() if name in taken}
    known = dict.fromkeys([*own, *taken, "plugin"])
    check_keywords(call, options, known, configs, "list" if "searches" in taken else "object")


def _load_plugins(plugin: Plugins) -> None:
    from stg.config.plugins import load_plugin

    # One name is one plugin, not as many as it has letters.
    for one in (plugin,) if isinstance(plugin, str | Path) else plugin:
        load_plugin(str(one))


def fit(
    config: "FitConfig | None" = None,
    *,
    reporter: Reporter = SILENT,
    trackers: "Sequence[Tracker]" = (),
    plugin: Plugins = (),
    **sections: Any,
) -> Path:
    """Train a captioner, or resume an unfinished run; returns the run folder.

    Args:
        config: all settings; or give its sections by name, as config objects or as dicts of what is not the default:
            ``fit(data={"dataset": "msvd", "root": "MSVD", "store": "stores/msvd"}, model={"branches": "scene"})``.
        reporter: receives lines and progress, and is asked whether to stop.
        trackers: objects with ``log(scalars, step)`` and ``close()`` (`stg.training.Tracker`), which receive losses and
            scores; those of the library are named instead: ``run={"trackers": "tensorboard,wandb"}``.
        plugin: files or modules that are imported first, as ``--plugin`` does; one, or several.

    Raises:
        TypeError: an argument that is no section; the near one, and how to give it, is named. An object that is no
            tracker.
        ValueError: settings that are unknown or cannot be.
        UserError: settings, data and run folder do not fit each other.
        Preempted: the reporter asked to stop; a checkpoint is saved.
    """
    from stg.config.keywords import check_keywords
    from stg.config.schema import from_dict, to_dict
    from stg.config.training import FitConfig

    _load_plugins(plugin)  # what they add may be named by the sections
    classes = {item.name: item.type for item in fields(FitConfig) if isinstance(item.type, type)}
    check_keywords("stg.fit", sections, ["config", "reporter", "trackers", "plugin", *classes], classes, "dict")
    if config is None:
        plain = {name: to_dict(value) if is_dataclass(value) else value for name, value in sections.items()}
        config = from_dict(FitConfig, plain)
    elif sections:
        raise ValueError(f"give a whole config or its sections ({', '.join(sections)}), not both")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_OF_LIBRARIES)
        from stg.training.loop import fit as train

    return train(config, reporter=reporter, trackers=trackers).path


def evaluate(
    run: str | Path,
    split: str = "val",
    *,
    reporter: Reporter = SILENT,
    plugin: Plugins = (),
    **options: Any,
) -> "dict[str, Scores]":
    """Caption a split with a trained run and score it; returns the scores of each search by its name.

    Captions and scores are also written to ``RUN/evaluation``.

    Args:
        run: the run folder.
        split: one that the run's data set has.
        reporter: receives lines and progress, and is asked whether to stop.
        plugin: files or modules that are imported first: those that the run was trained with.
        options: others of `stg.evaluation.evaluate`: ``searches``, ``metrics``, ``device``.

    Raises:
        UserError: no such run or split, or features made otherwise than in training.
    """
    _load_plugins(plugin)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_OF_LIBRARIES)
        from stg.evaluation.scoring import evaluate as score

    _check_options("stg.evaluate", score, ("run", "split"), options)
    return score(run, split, reporter=reporter, **options)


def extract(
    clips: "str | Path | Sequence[str | Path]",
    out: str | Path,
    *,
    plugin: Plugins = (),
    **options: Any,
) -> "IngestReport":
    """Turn video clips into a store of object graphs; the same call resumes a stopped one.

    Args:
        clips: files, or folders of them.
        out: the store.
        plugin: files or modules that are imported first, such as one with a network of one's own.
        options: of `stg.features.extract`: ``networks``, ``sampling`` (config objects), ``reporter``, ...

    Raises:
        UserError: clips, weights or networks that are not there.
    """
    _load_plugins(plugin)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_OF_LIBRARIES)
        from stg.features import extract as extract_clips

    _check_options("stg.extract", extract_clips, ("clips", "out"), options)
    given = (clips,) if isinstance(clips, str | Path) else tuple(clips)
    return extract_clips(given, out, **options)


def load(run: str | Path | None = None, *, plugin: Plugins = (), **options: Any) -> "VideoCaptioner":
    """Open a trained run for captioning video files: ``stg.load("runs/mine").caption("clip.mp4")``.

    Without a run: the captioner that comes with the installation; by its name another of these (``stg models``).

    The options are those of :func:`stg.captioning.pipeline.load`, above all ``weights``: files, or folders with files,
    of the networks that made the features of the training videos. ``plugin``: what the run was trained with, imported
    first.
    """
    _load_plugins(plugin)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_OF_LIBRARIES)
        from stg.captioning.pipeline import load as load_run

    _check_options("stg.load", load_run, ("run",), options)
    return load_run(run, **options)


def show(result: "ClipCaption | Sequence[ClipCaption]") -> "Shown":
    """A page of a captioned clip, or of several: its graph, its words, and the attention of each word.

    A notebook shows ``stg.show(model.describe("clip.mp4"))`` by itself; elsewhere ``.save("page.html")`` writes it.
    Give :func:`load` ``graph=True`` to see the graph of a model that captions without looking for objects.

    Args:
        result: of :meth:`stg.captioning.pipeline.VideoCaptioner.describe`.

    Raises:
        ValueError: there is nothing to show, or of a result only the caption was kept.
    """
    from stg.pages.notebook import show as show_page

    return show_page(result)
