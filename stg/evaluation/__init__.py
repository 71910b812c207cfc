"""From runs to scores."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.evaluation.comparison import compare
    from stg.evaluation.loaded_run import LoadedRun, load_run
    from stg.evaluation.scoring import evaluate

__all__ = ["LoadedRun", "compare", "evaluate", "load_run"]

__getattr__ = lazy_names(__name__, comparison="compare", loaded_run="LoadedRun load_run", scoring="evaluate")
