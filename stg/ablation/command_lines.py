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
    """``python -m stg.fit`` with all that is not its default, and with the branches where that is the run alone."""
    options = _changed(FitConfig(), config)
    # With options of the run alone, stg.fit takes the preset of the built-in world.
    if all(key.startswith("run.") for key in options):
        options = {"model.branches": config.model.branches} | options
    return _written_out("fit", [], options, *_plugins(config))


def embed_command(config: EmbedConfig) -> str:
    """``python -m stg.embed`` with all that is not its default."""
    return _written_out("embed", [], _changed(EmbedConfig(), config), *_plugins(config))


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


def _changed(default: FitConfig | EmbedConfig, config: FitConfig | EmbedConfig) -> dict[str, Any]:
    changed = differences(to_dict(default), to_dict(config))
    return {key: value for key, (_, value) in changed.items() if not key.startswith("plugin")}


def _plugins(config: FitConfig | EmbedConfig) -> list[str]:
    return [f"--plugin {shlex.quote(plugin)}" for plugin in config.plugin]


def _written_out(name: str, words: Sequence[str], options: Mapping[str, Any], *first: str) -> str:
    given = [f"--{key} {shlex.quote(_written(value))}" for key, value in options.items()]
    return " ".join([f"python -m stg.{name}", *map(shlex.quote, words), *first, *given])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
