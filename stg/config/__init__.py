"""All that can be set: frozen dataclasses, one file a concern. No torch.

Names are imported when they are first asked for, so that a command reads its own options alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stg.config.bench import BenchConfig
    from stg.config.captioning import CaptionConfig
    from stg.config.data import DataConfig, WorldConfig
    from stg.config.evaluation import EvaluateConfig
    from stg.config.extraction import ExecutionConfig, ExtractConfig, ImportConfig, NetworkConfig, SamplingConfig
    from stg.config.model import AttentionLSTMConfig, GraphConfig, ModelConfig, STaTSConfig, STConfig, TSConfig
    from stg.config.probe import ProbeConfig
    from stg.config.report import ReportConfig
    from stg.config.results import CompareConfig, PredictionsConfig, WordsConfig
    from stg.config.retrieval import EmbedConfig, EmbeddingConfig, FuseConfig, MatchingConfig
    from stg.config.search import SearchConfig
    from stg.config.shipping import ModelsConfig, ShipConfig
    from stg.config.store import EdgeConfig, StoreConfig, TrackConfig
    from stg.config.training import FitConfig, LossConfig, OptimConfig, RewardConfig, RunConfig, TeacherConfig

__all__ = [
    "AttentionLSTMConfig",
    "BenchConfig",
    "CaptionConfig",
    "CompareConfig",
    "DataConfig",
    "EdgeConfig",
    "EmbedConfig",
    "EmbeddingConfig",
    "EvaluateConfig",
    "ExecutionConfig",
    "ExtractConfig",
    "FitConfig",
    "FuseConfig",
    "GraphConfig",
    "ImportConfig",
    "LossConfig",
    "MatchingConfig",
    "ModelConfig",
    "ModelsConfig",
    "NetworkConfig",
    "OptimConfig",
    "PredictionsConfig",
    "ProbeConfig",
    "ReportConfig",
    "RewardConfig",
    "RunConfig",
    "STConfig",
    "STaTSConfig",
    "SamplingConfig",
    "SearchConfig",
    "ShipConfig",
    "StoreConfig",
    "TSConfig",
    "TeacherConfig",
    "TrackConfig",
    "WordsConfig",
    "WorldConfig",
]

_HOMES = {
    "bench": ("BenchConfig",),
    "captioning": ("CaptionConfig",),
    "data": (
        "DataConfig",
        "WorldConfig",
    ),
    "evaluation": ("EvaluateConfig",),
    "extraction": (
        "NetworkConfig",
        "SamplingConfig",
        "ExecutionConfig",
        "ExtractConfig",
        "ImportConfig",
    ),
    "model": (
        "GraphConfig",
        "STConfig",
        "TSConfig",
        "STaTSConfig",
        "AttentionLSTMConfig",
        "ModelConfig",
    ),
    "probe": ("ProbeConfig",),
    "report": ("ReportConfig",),
    "results": (
        "CompareConfig",
        "PredictionsConfig",
        "WordsConfig",
    ),
    "retrieval": (
        "EmbeddingConfig",
        "MatchingConfig",
        "EmbedConfig",
        "FuseConfig",
    ),
    "search": ("SearchConfig",),
    "shipping": (
        "ModelsConfig",
        "ShipConfig",
    ),
    "store": (
        "EdgeConfig",
        "StoreConfig",
        "TrackConfig",
    ),
    "training": (
        "LossConfig",
        "TeacherConfig",
        "OptimConfig",
        "RewardConfig",
        "RunConfig",
        "FitConfig",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"stg.config.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
