"""The commands that do by hand what an ablation does with a cell."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from stg.config.evaluation import EvaluateConfig
from stg.config.retrieval import EmbedConfig, FuseConfig
from stg.config.schema import differences, to_dict
from stg.config.training import FitConfig


def fit_command(config: FitConfig) -> str:
    """``python -m stg.fit`` with all that is not its default."""
    return _trained(FitConfig(), config, "fit")


def embed_command(config: EmbedConfig) -> str:
    """``python -m stg.embed`` with all that is not its default."""
    return _trained(EmbedConfig(), config, "embed")


def evaluate_command(config: EvaluateConfig) -> str:
    """``python -m stg.evaluate`` with all that is not its default."""
    default = EvaluateConfig(run=config.run)
    changed = {
        item.name: getattr(config, item.name)
        for item in fields(config)
        if getattr(config, item.name) != getattr(default, item.name)
    }
    return _written_out("evaluate", [config.run], changed)


def fuse_command(config: FuseConfig) -> str:
    """``python -m stg.fuse`` with all that is not its default."""
    default = FuseConfig(runs=config.runs, out="", embedding=config.embedding)
    changed = {key: value for key, (_, value) in differences(to_dict(default), to_dict(config)).items()}
    flags = [key for key, value in changed.items() if value is True]
    options = {"embedding": config.embedding, **{key: value for key, value in changed.items() if key not in flags}}
    return " ".join([_written_out("fuse", config.runs, options), *(f"--{flag}" for flag in flags)])


def _trained(default: FitConfig | EmbedConfig, config: FitConfig | EmbedConfig, name: str) -> str:
    changed = differences(to_dict(default), to_dict(config))
    plugins = [f"--plugin {shlex.quote(plugin)}" for plugin in config.plugin]
    options = {key: value for key, (_, value) in changed.items() if not key.startswith("plugin")}
    return _written_out(name, [], options, *plugins)


def _written_out(name: str, words: Sequence[str], options: Mapping[str, Any], *first: str) -> str:
    given = [f"--{key} {shlex.quote(_written(value))}" for key, value in options.items()]
    return " ".join([f"python -m stg.{name}", *map(shlex.quote, words), *first, *given])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
