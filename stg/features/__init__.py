"""Clips -> features -> stores."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.features.extraction import extract
    from stg.features.extractor import Extractor
    from stg.features.ingestion import IngestReport, ingest
    from stg.features.rebuild import FeaturePlan, plan_features

__all__ = ["Extractor", "FeaturePlan", "IngestReport", "extract", "ingest", "plan_features"]

__getattr__ = lazy_names(
    __name__,
    extraction="extract",
    extractor="Extractor",
    ingestion="IngestReport ingest",
    rebuild="FeaturePlan plan_features",
)
