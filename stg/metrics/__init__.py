"""Scores of captions."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.metrics.bleu import SentenceBleu
    from stg.metrics.cider import CiderD
    from stg.metrics.measures import METRICS, Metric, MetricSettings, Unavailable
    from stg.metrics.rouge import RougeL
    from stg.metrics.scorer import Scorer, Scores

__all__ = ["METRICS", "CiderD", "Metric", "MetricSettings", "RougeL", "Scorer", "Scores", "SentenceBleu", "Unavailable"]

__getattr__ = lazy_names(
    __name__,
    bleu="SentenceBleu",
    cider="CiderD",
    measures="METRICS Metric MetricSettings Unavailable",
    rouge="RougeL",
    scorer="Scorer Scores",
)
