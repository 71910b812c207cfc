"""Why a model said a word, as arrays."""

from stg.explain.explain import DeletionTests, explain
from stg.explain.explained_model import ExplainedModel
from stg.explain.explainers import EXPLAINERS, Explainer
from stg.explain.explanation import Attribution, Deletion, Explanation
from stg.explain.graph_attribution import GradientTimesInput

__all__ = [
    "EXPLAINERS",
    "Attribution",
    "Deletion",
    "DeletionTests",
    "ExplainedModel",
    "Explainer",
    "Explanation",
    "GradientTimesInput",
    "explain",
]
