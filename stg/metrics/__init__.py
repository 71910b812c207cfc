"""Scores of captions."""

from typing import TYPE_CHECKING

from stg.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from stg.metrics.bleu import SentenceBleu
    from stg.metrics.cider import CiderD
    from stg.metrics.rouge import RougeL
    from stg.metrics.scorer import METRICS, Scorer, Scores

__all__ = ["METRICS", "CiderD", "RougeL", "Scorer", "Scores", "SentenceBleu"]

__getattr__ = lazy_names(__name__, bleu="SentenceBleu", cider="CiderD", rouge="RougeL", scorer="METRICS Scorer Scores")
