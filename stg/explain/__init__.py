"""Why a model said a word, as arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stg.explain.explain import DeletionTests, explain
from stg.explain.explained_model import ExplainedModel
from stg.explain.explainers import EXPLAINERS, Explainer
from stg.explain.explanation import Attribution, Deletion, Explanation

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    # PyG takes longer to import than a page takes to make, and pages of models without a graph do without it.
    if name != "GradientTimesInput":
        raise AttributeError(f"module 'stg.explain' has no attribute '{name}'")
    return import_module("stg.explain.graph_attribution").GradientTimesInput
