"""Clips -> features -> stores. Names are resolved when they are used: importing this package imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stg.features.extraction import extract
    from stg.features.extractor import Extractor
    from stg.features.ingestion import IngestReport, ingest
    from stg.features.rebuild import FeaturePlan, plan_features

__all__ = ["Extractor", "FeaturePlan", "IngestReport", "extract", "ingest", "plan_features"]

_HOMES = {
    "Extractor": "extractor",
    "FeaturePlan": "rebuild",
    "IngestReport": "ingestion",
    "extract": "extraction",
    "ingest": "ingestion",
    "plan_features": "rebuild",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"stg.features.{_HOMES[name]}"), name)
